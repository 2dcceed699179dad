// The page of `make dashboard`, in headless Chromium, over a real Prometheus, Envoy and Redis with some traffic.
// Pictures of it are kept in target/dashboard/.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { callers, launch, ROOT, startEnvironment } from "./environment.js";

const PICTURES = join(ROOT, "target/dashboard");
const file = JSON.parse(readFileSync(join(ROOT, "dashboards/headgate.json"), "utf8"));
const inOrder = file.panels.toSorted((a, b) => a.gridPos.y - b.gridPos.y || a.gridPos.x - b.gridPos.x);
const PATIENCE = { timeout: 45_000 };

describe("the page of make dashboard", { timeout: 150_000 }, () => {
  let environment, browser, page, stopCallers;
  const wrong = [];
  const elsewhere = [];

  before(async () => {
    [environment, browser] = await Promise.all([startEnvironment(), launch()]);
    page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
    page.on("pageerror", (error) => wrong.push(`${error}`));
    page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
    page.on("request", (request) => {
      if (!request.url().startsWith(environment.prometheus) && !request.url().startsWith("data:")) elsewhere.push(request.url());
    });
  });
  after(async () => {
    stopCallers?.();
    await browser?.close();
    environment?.stop();
  });

  const status = (state) => page.locator(`#status[data-state="${state}"]`).waitFor(PATIENCE);
  const panel = (title) => page.locator(".panel").filter({ has: page.getByRole("heading", { name: title, exact: true }) });

  it("is not started without an Envoy, with one line that explains it", async () => {
    const { code, stderr } = await environment.run("dashboard");
    assert.deepEqual([code, stderr], [1, "run: Envoy does not run; start it with: make run\n"]);
  });

  it("can be started twice, and prints its address", async () => {
    const started = await environment.run("start");
    assert.equal(started.code, 0, started.stderr);
    stopCallers = callers(environment.api);
    for (const _ of [1, 2]) {
      const { code, stdout, stderr } = await environment.run("dashboard");
      assert.equal(code, 0, stderr);
      assert.ok(stdout.includes(`${environment.prometheus}/user/?range=15m&refresh=5s`), stdout);
    }
    await page.goto(`${environment.prometheus}/user/?range=5m&refresh=2s`);
  });

  it("has every panel of headgate.json, in its order, with its description", async () => {
    const words = (all) => all.map(({ title, description }) => [title, description]);
    const shown = await page.locator(".panel").evaluateAll((all) =>
      all.map((one) => ({
        title: one.querySelector("h2").textContent,
        description: one.querySelector(".description")?.textContent ?? "",
      })),
    );
    assert.deepEqual(words(shown), words(inOrder));
  });

  it("shows figures in every panel", async () => {
    const without = () =>
      page.locator(".panel:not([data-state='data'])").evaluateAll((all) => all.map((one) => one.innerText));
    await page.waitForFunction(
      () => document.querySelectorAll(".panel:not([data-state='data'])").length === 0, null, PATIENCE,
    ).catch(async () => assert.deepEqual(await without(), []));
    await status("live");
    assert.equal(await page.locator("#banner").isVisible(), false);

    assert.match(await panel("Requests").locator(".value").innerText(), /^[1-9][\d.]* req\/s$/);
    const denied = panel("Decisions by limit").locator(".legend button", { hasText: "per-client denied" });
    assert.match(await denied.locator(".number").innerText(), /^[\d.]+ req\/s$/);
    assert.ok(await denied.evaluate((key) => !key.parentElement.classList.contains("zero")));
    assert.match(await panel("Latency added").locator(".legend").innerText(), /p50\s+[\d.]+ [mµ]s[^]*p99\s+[\d.]+ [mµ]?s/);
    assert.match(await panel("Most rejected").locator(".bars").innerText(), /per-client: client other.*\s+[1-9]/);
    assert.match(await panel("Alerts").locator("tbody").innerText(), /HeadgateManyDenials\s+(pending|firing)\s+warning/);
    assert.equal(await panel("Circuit breakers open").locator(".value").innerText(), "0");
  });

  it("draws its lines", async () => {
    await page.waitForFunction((id) => {
      const canvas = document.querySelector(`[aria-labelledby="panel-${id}"] canvas`);
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const pixels = Array.from({ length: data.length / 4 }, (_, at) => data.subarray(4 * at, 4 * at + 4));
      // axes and their figures are nearly grey
      return pixels.filter(([r, g, b, a]) => a > 100 && Math.max(r, g, b) - Math.min(r, g, b) > 90).length > 50;
    }, file.panels.find(({ title }) => title === "Decisions by limit").id, PATIENCE);
  });

  it("reads figures by the keyboard", async () => {
    const chart = panel("Decisions by limit").locator(".chart");
    await chart.focus();
    await page.keyboard.press("ArrowLeft");
    assert.match(await chart.locator(".tooltip").innerText(), /\d\d:\d\d:\d\d[^]*per-client allowed\s+[\d.]+ req\/s/);
    await page.keyboard.press("Escape");
    assert.equal(await chart.locator(".tooltip").isVisible(), false);
    const key = panel("Decisions by limit").locator(".legend button").first();
    for (const pressed of ["false", "true"]) {
      await key.focus();
      await page.keyboard.press("Enter");
      assert.equal(await key.getAttribute("aria-pressed"), pressed);
    }
  });

  it("queries the chosen range, and keeps it in its address", async () => {
    const ranges = new Set();
    page.on("request", (request) => {
      const { pathname, searchParams } = new URL(request.url());
      if (pathname.endsWith("query_range")) ranges.add(searchParams.get("end") - searchParams.get("start"));
    });
    await page.getByLabel("Range").selectOption("1h");
    await page.waitForRequest((request) => request.url().includes("query_range"));
    await status("live");
    assert.ok(ranges.has(3600), `${[...ranges]}`);
    assert.match(page.url(), /range=1h/);
    await page.getByLabel("Refresh", { exact: true }).selectOption("off");
    await page.getByLabel("Range").selectOption("5m");
    await status("live");
  });

  for (const scheme of ["light", "dark"]) {
    for (const [width, name] of [[1400, "wide"], [390, "narrow"]]) {
      it(`fits a ${name} window, ${scheme}, with contrast`, async () => {
        await page.emulateMedia({ colorScheme: scheme });
        await page.setViewportSize({ width, height: 900 });
        await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
        assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width);
        assert.deepEqual(await page.evaluate(lowContrasts), []);
        assert.match(await panel("Share of 429").locator(".legend .number").innerText(), /%$/);
        mkdirSync(PICTURES, { recursive: true });
        await page.screenshot({ path: join(PICTURES, `${name}-${scheme}.png`), fullPage: true });
      });
    }
  }

  it("shows that there is no data yet", async () => {
    const nothing = { status: "success", data: { result: [] } };
    await page.route(/api\/v1\/query/, (route) => route.fulfill({ json: nothing }));
    await page.getByRole("button", { name: "Refresh now" }).click();
    await status("empty");
    assert.match(await page.locator("#banner").innerText(), /No data yet/);
    assert.match(await panel("Latency added").innerText(), /No data in this range/);
    assert.match(await panel("Alerts").innerText(), /No alert is pending or firing/);
    await page.unrouteAll();
  });

  it("shows a refused query in its own panel", async () => {
    const refused = { status: "error", error: "parse error: unexpected end" };
    await page.route(/api\/v1\/query_range.*near_limit/, (route) => route.fulfill({ json: refused }));
    await page.getByRole("button", { name: "Refresh now" }).click();
    await page.locator(".panel[data-state='error']").waitFor(PATIENCE);
    assert.match(await page.locator(".panel[data-state='error']").innerText(), /Near the limit[^]*unexpected end/);
    await page.unrouteAll();
  });

  it("shows why Prometheus cannot read Envoy's metrics", async () => {
    const down = { health: "down", lastError: "connection refused", scrapeInterval: "2s" };
    const answer = { status: "success", data: { activeTargets: [down] } };
    await page.route(/api\/v1\/targets/, (route) => route.fulfill({ json: answer }));
    await page.getByRole("button", { name: "Refresh now" }).click();
    await status("blind");
    assert.match(await page.locator("#banner").innerText(), /cannot read Envoy's metrics: connection refused/);
    await page.unrouteAll();
  });

  it("shows that Prometheus does not answer, and recovers", async () => {
    await page.getByLabel("Refresh", { exact: true }).selectOption("2s");
    await page.route(/api\/v1/, (route) => route.fulfill({ status: 502, body: "no" }));
    await page.getByRole("button", { name: "Refresh now" }).click();
    await status("unreachable");
    assert.match(await page.locator("#banner").innerText(), /does not answer on 127\.0\.0\.1:\d+.*What is shown is of \d\d:/);
    await page.screenshot({ path: join(PICTURES, "unreachable.png") });
    await page.unrouteAll();
    await status("live");
    assert.equal(await page.locator("#banner").isVisible(), false);
  });

  it("throws no errors and loads nothing from other origins", () => {
    assert.deepEqual(wrong.filter((text) => !text.includes("502")), []); // the browser's own line for that answer
    assert.deepEqual(elsewhere, []);
  });

  it("is stopped by make stop", async () => {
    assert.equal((await environment.run("stop")).code, 0);
    await assert.rejects(fetch(environment.prometheus));
  });
});

/** In the browser: text colours below 4.5:1 and line colours below 3:1, against what is behind them. */
function lowContrasts() {
  const read = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const luminance = (name) => {
    const parts = [1, 3, 5].map((at) => parseInt(read(name).slice(at, at + 2), 16) / 255);
    const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const texts = ["--ink", "--soft", "--bad", "--warm"].map((name) => [name, "--card", 4.5]);
  const others = [["--ink", "--page", 4.5], ["--soft", "--page", 4.5], ["--ink", "--warm-back", 4.5]];
  const lines = Array.from({ length: 8 }, (_, at) => [`--series-${at}`, "--card", 3]);
  return [...texts, ...others, ...lines].filter(([one, other, least]) => !(contrast(one, other) >= least));
}
