// The demo page in headless Chromium, on another origin than the API. SCREENSHOTS=folder keeps pictures of it.

import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { chromium, type Browser, type Page } from "playwright-core";
import { serveDemo } from "./support/demo-server.js";
import { startTarget, type Target } from "./support/target.js";

const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/snap/bin/chromium"];
const FLAGS = [
  ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];
const executablePath = process.env.CHROMIUM ?? BROWSERS.find(existsSync);
const skip = executablePath || process.env.CI ? false : "no Chromium: install it, or set CHROMIUM to its path";

describe("the demo page", { skip }, () => {
  let target: Target;
  let demo: Awaited<ReturnType<typeof serveDemo>>;
  let browser: Browser;
  let page: Page;
  const wrong: string[] = [];

  before(async () => {
    target = await startTarget();
    demo = await serveDemo(target.url);
    browser = await chromium.launch({ executablePath: executablePath ?? "chromium", args: FLAGS });
    page = await browser.newPage({ viewport: { width: 1100, height: 760 } });
    page.on("pageerror", (error) => wrong.push(`${error}`));
    page.on("console", (message) => {
      // the browser's own line for every 429
      if (message.type() === "error" && !message.text().includes("429")) wrong.push(message.text());
    });
    await page.goto(demo.url);
  });
  after(async () => {
    await browser?.close();
    await demo?.stop();
    await target?.stop();
  });

  const disabled = () => page.locator("#one").isDisabled();
  const picture = async (name: string, scheme: "light" | "dark" = "light", width = 1100) => {
    const folder = process.env.SCREENSHOTS;
    if (!folder) return;
    mkdirSync(folder, { recursive: true });
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize({ width, height: 760 });
    await page.screenshot({ path: join(folder, `${name}.png`) });
  };

  it("is on another origin than the API", () => assert.notEqual(new URL(demo.url).origin, new URL(target.url).origin));

  it("reads the quota across origins", async () => {
    await page.locator("#one").click();
    await page.waitForFunction(() => document.getElementById("left-text")?.textContent === "7 of 8");
    assert.equal(await disabled(), false);
    assert.equal(await page.locator("#toast").isVisible(), false);
  });

  it("disables its buttons and shows a toast while it is limited", async () => {
    await picture("before");
    await page.locator("#many").click();
    await page.locator("#toast").waitFor({ state: "visible", timeout: 10_000 });
    assert.equal(await disabled(), true);
    assert.equal(await page.locator("#many").isDisabled(), true);
    assert.match(await page.locator("#toast").innerText(), /calls? waits?/);
    assert.match((await page.locator("#events").innerText()) ?? "", /limited/);
    await picture("limited-wide-light");
    await picture("limited-wide-dark", "dark");
    await picture("limited-narrow-light", "light", 390);
    await picture("limited-narrow-dark", "dark", 390);
  });

  it("recovers: all calls are done, the buttons work, the toast is gone", async () => {
    await page.locator("#toast").waitFor({ state: "hidden", timeout: 40_000 });
    await page.waitForFunction(() => document.getElementById("done")?.textContent === "21");
    assert.equal(await disabled(), false);
    assert.match(await page.locator("#events li").first().innerText(), /recovered/);
    await picture("recovered");
  });

  it("does the same when the server refuses because of other callers", async () => {
    const caller = crypto.randomUUID();
    await page.goto(`${demo.url}&caller=${caller}`);
    const others = Array.from({ length: 8 }, () => fetch(target.url, { headers: { "x-demo": caller } }));
    await Promise.all(others);
    await page.locator("#one").click();
    await page.locator("#toast").waitFor({ state: "visible", timeout: 10_000 });
    assert.equal(await disabled(), true);
    assert.match(await page.locator("#toast").innerText(), /Too many calls/);
    assert.match(await page.locator("#events").innerText(), /refused with 429/);
    assert.equal(await page.locator("#refused").innerText(), "1");
    await picture("refused-dark", "dark");
    await page.locator("#toast").waitFor({ state: "hidden", timeout: 20_000 });
    assert.equal(await page.locator("#done").innerText(), "1");
    assert.equal(await disabled(), false);
  });

  it("gives an old answer from the Cache API, marked, when limits persist", async () => {
    const answers = await page.evaluate(async (api) => {
      const module = "./headgate-fetch/index.js";
      const { cacheApi, createRateLimitFetch, isStale } = (await import(module)) as typeof import("../src/index.js");
      const call = createRateLimitFetch({ cache: cacheApi("test"), staleAfter: 200 });
      const answers: string[] = [];
      const headers = { "x-long": crypto.randomUUID() }; // spent for a minute, however slow the machine is
      for (let i = 0; i < 3; i++) {
        const response = await call(api, { headers });
        answers.push(`${response.status} ${isStale(response)} ${(await response.text()).length}`);
        // kept in the background
        for (let n = 0; n < 500 && !(await caches.match(api)); n++) await new Promise((resolve) => setTimeout(resolve, 20));
        await Promise.all(Array.from({ length: 5 }, () => fetch(api, { headers })));
      }
      return answers;
    }, target.url);
    assert.deepEqual(answers, ["200 false 14", "200 true 14", "200 true 14"]);
  });

  it("has thrown nothing", () => assert.deepEqual(wrong, []));
});
