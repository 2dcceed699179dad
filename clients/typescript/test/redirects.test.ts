// Which origin an answer counts for, and what is recognised as a Request.

import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import { after, before, describe, it } from "node:test";
import * as undici from "undici";
import { createRateLimitFetch, QuotaWaitError, type RateLimitFetchOptions } from "../src/index.js";
import { FakeClock, ok, refuse, type Sent } from "./support/fake.js";
import { left, okWith, world } from "./support/world.js";

const A = "https://a.example.com";
const B = "https://b.example.com";

/** An answer from another URL than was called: Response has no other way to set it. */
const from = (url: string, answer: (sent: Sent) => Response | Promise<Response>) => async (sent: Sent) =>
  Object.defineProperty(await answer(sent), "url", { value: url });

describe("a refusal after a redirect", () => {
  for (const [form, headers] of Object.entries({ "with figures": left(0, 9, 20), "without figures": {} })) {
    it(`counts for the origin that refused, ${form}`, async () => {
      const { clock, fetch, sent, events } = world([from(`${B}/new`, refuse(429, "20", headers)), ok], { retry: false });
      assert.equal((await fetch(`${A}/old`)).status, 429);
      assert.deepEqual(events.map(({ type, detail }) => [type, detail.origin]), [["limited", B]]);
      assert.equal(await clock.until(fetch(`${A}/old`)), 0);
      assert.equal(await clock.until(fetch(`${A}/other`)), 0);
      assert.equal(await clock.until(fetch(`${B}/new`)), 20_000);
      assert.equal(sent.length, 4);
    });
  }
  it("is retried no earlier than it said", async () => {
    const { clock, fetch, events } = world([from(`${B}/new`, refuse(429, "3")), from(`${B}/new`, ok)]);
    const call = fetch(`${A}/old`);
    assert.equal(await clock.until(call), 3_250);
    assert.equal((await call).status, 200);
    assert.deepEqual(events.map(({ type, detail }) => [type, detail.origin]), ["limited", "retrying", "recovered"].map((type) => [type, B]));
  });
  it("opens the circuit of the origin that refused", async () => {
    const { clock, fetch, eventTypes } = world([from(`${B}/x`, refuse(503)), from(`${B}/y`, refuse(503)), ok], { retry: false, circuit: { failures: 2 } });
    for (const path of ["/x", "/y"]) await clock.until(fetch(A + path));
    assert.ok(eventTypes().includes("circuit-open"));
    assert.equal((await fetch(A)).status, 200);
    await assert.rejects(fetch(B), /keeps refusing/);
  });
  it("ends with an event, though that origin was never called", async () => {
    const { clock, fetch, events } = world([from(`${B}/new`, refuse(429, "3"))], { retry: false });
    await fetch(`${A}/old`);
    await clock.advance(3_000);
    assert.deepEqual(events.map(({ type, detail }) => [type, detail.origin]), [["limited", B], ["recovered", B]]);
  });
  it("to another path holds back both paths", async () => {
    const { clock, fetch, sent } = world([from(`${A}/new`, refuse(429, "20")), ok], { retry: false });
    await fetch(`${A}/old`);
    const calls = ["/new", "/old"].map((path) => fetch(A + path));
    await clock.advance(19_999);
    assert.equal(sent.length, 1);
    await clock.until(Promise.all(calls));
  });
  it("from http to https or to www counts for later calls at once", async () => {
    for (const moved of ["https://example.com", "https://www.example.com"]) {
      const { clock, fetch, sent } = world([from(`${moved}/x`, refuse(429, "50")), from(`${moved}/x`, ok)]);
      await fetch("http://example.com/x");
      await assert.rejects(fetch("http://example.com/x"), QuotaWaitError);
      await clock.advance(50_000);
      assert.equal((await fetch("http://example.com/x")).status, 200);
      assert.equal(sent.length, 2);
    }
  });
  it("leaves the figures of an answer to whom they belong", async () => {
    const { clock, fetch } = world([from(`${B}/new`, okWith(left(0, 100, 60))), ok], { pacing: { maxDelay: 9_000 } });
    await fetch(`${A}/old`);
    assert.equal(await clock.until(fetch(`${A}/old`)), 0);
    assert.ok((await clock.until(fetch(`${B}/new`))) > 1_000);
  });
  it("is read from an answer that has no URL, or none that parses", async () => {
    for (const url of ["", "about:blank", "no url"]) {
      const { fetch, events } = world([from(url, refuse(429, "50"))]);
      await fetch(A);
      assert.equal(events[0]?.detail.origin, A);
    }
  });
});

describe("with real redirects", () => {
  const servers: Server[] = [];
  const listen = async (answer: (path: string) => [number, Record<string, string>]) => {
    const server = createServer(({ url }, response) => void response.writeHead(...answer(url ?? "")).end("x"));
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  };
  let asked = 0;
  let refusing = "";
  let redirecting = "";
  before(async () => {
    refusing = await listen(() => (asked++, [429, { "retry-after": "40" }]));
    redirecting = await listen((path) => (path === "/old" ? [307, { location: `${refusing}/new` }] : [200, {}]));
  });
  after(() => servers.forEach((server) => (server.closeAllConnections(), server.close())));

  it("the origin that refused is held back", async () => {
    const fetch = createRateLimitFetch();
    assert.equal((await fetch(`${redirecting}/old`, { method: "POST", body: "x" })).status, 429);
    await assert.rejects(fetch(`${refusing}/new`, { method: "POST" }), QuotaWaitError);
    assert.equal((await fetch(redirecting)).status, 200);
    assert.equal(asked, 1);
  });
});

describe("a Request", () => {
  /** undici's fetch takes undici's Request only, and undici's Request is no global Request. */
  const wrap = (answers: number[], options: RateLimitFetchOptions = {}) => {
    const clock = new FakeClock();
    const sent: { url: string; method: string; body: string }[] = [];
    const fetch = async (input: undici.Request, init?: undici.RequestInit) => {
      const request = new undici.Request(input, init);
      sent.push({ url: request.url, method: request.method, body: await request.text() });
      return new undici.Response("x", { status: answers.shift() ?? 200, headers: { "retry-after": "1" } });
    };
    return { clock, sent, fetch: createRateLimitFetch({ fetch: fetch as unknown as typeof globalThis.fetch, clock, ...options }) };
  };
  const undicis = (url: string, init?: undici.RequestInit) => new undici.Request(url, init) as unknown as Request;

  it("of undici is recognised by its shape, with method, body and URL", async () => {
    const { clock, fetch, sent } = wrap([429, 503]);
    assert.ok(!(undicis(A) instanceof Request));
    const call = fetch(undicis(`${A}/x`, { method: "PUT", body: "hello" }));
    await clock.until(call);
    assert.equal((await call).status, 200);
    assert.deepEqual(sent, Array(3).fill({ url: `${A}/x`, method: "PUT", body: "hello" }));
  });
  it("of undici is not sent again where its method forbids it", async () => {
    const { clock, fetch, sent } = wrap([503]);
    await clock.until(fetch(undicis(A, { method: "POST", body: "x" })));
    assert.equal(sent.length, 1);
  });
  it("of undici has its own signal", async () => {
    const { fetch, sent } = wrap([]);
    const stop = new Error("stop");
    await assert.rejects(fetch(undicis(A, { signal: AbortSignal.abort(stop) })), stop);
    assert.equal(sent.length, 0);
  });
  it("of undici is known to the cache by URL and headers", async () => {
    const kept: string[] = [];
    const cache = {
      match: async (request: Request) => new Response(`old ${request.url} ${request.headers.get("accept")}`),
      put: async (request: Request) => void kept.push(request.url),
    };
    const { clock, fetch } = wrap([200, 429], { cache, retry: false });
    await fetch(undicis(A));
    const call = fetch(undicis(`${A}/x`, { headers: { accept: "text/x" } }));
    await clock.until(call);
    assert.equal(await (await call).text(), `old ${A}/x text/x`);
    assert.deepEqual(kept, [`${A}/`]);
  });
  it("against a real server, with undici's own fetch", async () => {
    const server = createServer((request, response) => void request.pipe(response));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const url = `http://127.0.0.1:${(server.address() as { port: number }).port}/`;
      const fetch = createRateLimitFetch({ fetch: undici.fetch as unknown as typeof globalThis.fetch });
      assert.equal(await (await fetch(undicis(url, { method: "POST", body: "hello" }))).text(), "hello");
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
  it("is not recognised without url, method and clone: a URL, or an object that is text", async () => {
    const urls: string[] = [];
    const fetch = createRateLimitFetch({ fetch: async (input) => (urls.push(String(input)), new Response()) });
    await fetch(new URL(A));
    await fetch({ url: "https://wrong.example.com/", toString: () => B } as unknown as string);
    assert.deepEqual(urls, [`${A}/`, B]);
  });
});
