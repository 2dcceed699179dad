// What a caller and a page see: stale answers, events, and otherwise fetch.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { describe, it } from "node:test";
import { CircuitOpenError, createRateLimitFetch, isStale, type RateLimitEvent, type StaleCache } from "../src/index.js";
import { ok, refuse, settled } from "./support/fake.js";
import { left, okWith, URL_, world } from "./support/world.js";

describe("stale answers", () => {
  const cacheOf = (): StaleCache => {
    const kept = new Map<string, Response>();
    return {
      match: async (request) => kept.get(request.url)?.clone(),
      put: async (request, response) => void kept.set(request.url, response),
    };
  };

  it("come, and are marked, when limits persist", async () => {
    const { clock, fetch, sent } = world([() => new Response("old", { headers: { etag: "1" } }), refuse(429, "20")], { cache: cacheOf() });
    const fresh = await fetch(URL_);
    assert.equal(isStale(fresh), false);
    assert.equal(await fresh.text(), "old");
    const call = fetch(URL_);
    assert.ok((await clock.until(call)) <= 5_000);
    const stale = await call;
    assert.equal(isStale(stale), true);
    assert.equal(stale.status, 200);
    assert.equal(stale.headers.get("etag"), "1");
    assert.equal(await stale.text(), "old");
    assert.equal(sent.length, 2);
    const held = fetch(URL_); // waits for its turn, not for a retry
    assert.equal(await clock.until(held), 5_000);
    assert.equal(isStale(await held), true);
  });
  it("don't come where a short wait does", async () => {
    const { clock, fetch } = world([() => new Response("old"), refuse(429, "1"), () => new Response("new")], { cache: cacheOf() });
    await fetch(URL_);
    const call = fetch(URL_);
    await clock.until(call);
    assert.equal(await (await call).text(), "new");
  });
  it("come in place of a CircuitOpenError", async () => {
    const { clock, fetch } = world([ok, refuse(503)], { cache: cacheOf(), retry: false, circuit: { failures: 1 } });
    await fetch(URL_);
    await clock.until(fetch(URL_));
    assert.equal(isStale(await fetch(URL_)), true);
    await assert.rejects(fetch(`${URL_}/new`), CircuitOpenError);
  });
  it("are of GETs that may be stored", async () => {
    const kept: string[] = [];
    const cache: StaleCache = { match: async () => undefined, put: async (request) => void kept.push(request.url) };
    const { fetch } = world(
      [({ url }) => new Response("", { status: url.includes("missing") ? 404 : 200, headers: url.includes("secret") ? { "cache-control": "private, no-store" } : {} })],
      { cache },
    );
    await fetch(URL_);
    await fetch(`${URL_}/missing`);
    await fetch(`${URL_}/secret`);
    await fetch(`${URL_}/post`, { method: "POST" });
    await settled();
    assert.deepEqual(kept, [URL_]);
  });
  it("do no harm where the cache fails", async () => {
    const broken: StaleCache = { match: () => Promise.reject(new Error("broken")), put: () => Promise.reject(new Error("broken")) };
    const { clock, fetch } = world([ok, refuse(429, "99")], { cache: broken });
    assert.equal((await fetch(URL_)).status, 200);
    const call = fetch(URL_);
    await clock.until(call);
    assert.equal((await call).status, 429);
  });
});

describe("events", () => {
  it("are limited, retrying, recovered, with url, delay and quota", async () => {
    const { clock, fetch, events } = world([refuse(429, "3", left(0, 100, 10)), okWith(left(60, 100, 10))]);
    const seen: string[] = [];
    fetch.events.addEventListener("limited", (event) => seen.push(`${event.detail.reason} ${event.detail.status}`));
    await clock.until(fetch(URL_));
    assert.deepEqual(events.map(({ type }) => type), ["limited", "retrying", "recovered"]);
    const [limited, retrying, recovered] = events.map(({ detail }) => detail);
    const common = { url: URL_, origin: "https://api.example.com", limit: 100, policy: "limit 100" };
    assert.deepEqual(limited, { ...common, delay: 3_000, remaining: 0, reason: "denied", status: 429 });
    assert.deepEqual(retrying, { ...common, delay: 3_250, remaining: 0, attempt: 1 });
    assert.deepEqual(recovered, { ...common, delay: 0, remaining: 60, confirmed: true });
    assert.deepEqual(seen, ["denied 429"]);
  });
  it("report calls that are held back for a second or more once", async () => {
    const { clock, fetch, events, eventTypes } = world([okWith(left(0, 100, 10))], { pacing: { maxDelay: 5_000 } });
    await clock.until(fetch(URL_));
    await clock.until(Promise.all([1, 2, 3].map(() => fetch(URL_).catch(() => undefined))));
    const limited = events.filter((event) => event.type === "limited");
    assert.deepEqual(limited.map(({ detail }) => detail.reason), ["paced"]);
    assert.equal(eventTypes().at(-1), "recovered");
  });
  it("report the end of the wait also without another call", async () => {
    const { clock, fetch, events } = world([refuse(429, "3")], { retry: false });
    await clock.until(fetch(URL_));
    await clock.advance(2_900);
    assert.deepEqual(events.map(({ type }) => type), ["limited"]);
    await clock.advance(200);
    assert.equal(events[1]?.type, "recovered");
    assert.equal((events[1] as RateLimitEvent & { type: "recovered" }).detail.confirmed, false);
  });
  it("go to the EventTarget that is given", async () => {
    const events = new EventTarget();
    const heard: string[] = [];
    events.addEventListener("limited", () => heard.push("limited"));
    const { clock, fetch } = world([refuse(429, "1"), ok], { events });
    await clock.until(fetch(URL_));
    assert.equal(fetch.events, events);
    assert.deepEqual(heard, ["limited"]);
  });
});

describe("otherwise it is fetch", () => {
  it("hands on what it was given, and gives back the very answer", async () => {
    const answer = new Response("x");
    const given: unknown[] = [];
    const fetch = createRateLimitFetch({ fetch: async (...args) => (given.push(...args), answer) });
    const init = { headers: { a: "b" } };
    assert.equal(await fetch(URL_, init), answer);
    assert.deepEqual(given, [URL_, init]);
    assert.equal(await fetch(new URL(URL_)), answer);
  });
  it("lets through what no limit is about, and fails as fetch fails", async () => {
    const fetch = createRateLimitFetch();
    assert.equal(await (await fetch("data:,hello")).text(), "hello");
    await assert.rejects(fetch("http://"), TypeError);
    await assert.rejects(fetch("/relative"), TypeError);
  });
  it("looks the global fetch up with every call", async () => {
    const real = globalThis.fetch;
    const fetch = createRateLimitFetch();
    globalThis.fetch = async () => new Response("mocked");
    try {
      assert.equal(await (await fetch(URL_)).text(), "mocked");
    } finally {
      globalThis.fetch = real;
    }
  });
  it("keeps no program alive that is done", () => {
    const index = new URL("../src/index.js", import.meta.url);
    const program = `
      import { createRateLimitFetch } from "${index}";
      const fetch = async () => new Response("", { status: 429, headers: { "retry-after": "600" } });
      const { status } = await createRateLimitFetch({ fetch })("http://api.example.com/");
      console.log(status);`;
    const output = execFileSync(process.execPath, ["--input-type=module", "-e", program], { timeout: 20_000, encoding: "utf8" });
    assert.equal(output.trim(), "429");
  });
  it("refuses options out of range, by name", () => {
    assert.throws(() => createRateLimitFetch({ maxWait: -1 }), /maxWait is -1/);
    assert.throws(() => createRateLimitFetch({ pacing: { below: 2 } }), /pacing\.below is 2/);
    assert.throws(() => createRateLimitFetch({ retry: { share: Number.NaN } }), /retry\.share is NaN/);
    assert.throws(() => createRateLimitFetch({ circuit: { failures: 0 } }), RangeError);
  });
  it("evicts the least recently used of very many origins", async () => {
    const { clock, fetch } = world([okWith(left(0, 100, 3_600))]);
    await fetch(URL_);
    assert.ok((await clock.until(fetch(URL_))) > 1_000);
    for (let i = 0; i < 300; i++) await fetch(`https://host-${i}.example.com/`);
    assert.equal(await clock.until(fetch(URL_)), 0);
  });
});
