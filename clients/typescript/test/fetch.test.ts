// One call's road, on a fake clock, against a server that answers by script.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  CircuitOpenError,
  QuotaWaitError,
  createRateLimitFetch,
  isStale,
  type RateLimitEvent,
  type RateLimitFetchOptions,
  type StaleCache,
} from "../src/index.js";
import { FakeClock, ok, refuse, script, settled } from "./support/fake.js";

const URL_ = "https://api.example.com/things";
type Answers = Parameters<typeof script> extends [unknown, ...infer Rest] ? Rest : never;

function world(answers: Answers, options: RateLimitFetchOptions = {}) {
  const clock = new FakeClock();
  const server = script(clock, ...answers);
  const events: RateLimitEvent[] = [];
  const fetch = createRateLimitFetch({
    fetch: server.fetch,
    clock,
    random: () => 0.5,
    onEvent: (event) => events.push(event),
    ...options,
  });
  return { clock, fetch, events, sent: server.sent, told: () => events.map(({ type }) => type) };
}

const left = (remaining: number, limit: number, reset: number) => ({
  "x-ratelimit-limit": `${limit}`,
  "x-ratelimit-remaining": `${remaining}`,
  "x-ratelimit-reset": `${reset}`,
});
const okWith = (headers: Record<string, string>) => () => new Response("fine", { headers });

describe("retries", () => {
  it("waits for Retry-After and a spread, then gives the good answer", async () => {
    const { clock, fetch, sent } = world([refuse(429, "3"), ok]);
    const call = fetch(URL_);
    assert.equal(await clock.until(call), 3_000 + 0.5 * 500);
    assert.equal(await (await call).text(), "fine");
    assert.equal(sent.length, 2);
  });
  it("is never earlier than Retry-After, whatever it is, and never waits beyond maxWait", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom(429, 503), fc.option(fc.nat({ max: 120 }), { nil: undefined })), { minLength: 1, maxLength: 6 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.integer({ min: 0, max: 60_000 }),
        async (answers, random, maxWait) => {
          const { clock, fetch, sent } = world(
            [...answers.map(([status, after]) => refuse(status, after?.toString())), ok],
            { maxWait, random: () => random },
          );
          const waited = await clock.until(fetch(URL_));
          assert.ok(waited <= maxWait, `waited ${waited} of ${maxWait}`);
          assert.ok(sent.length <= 4);
          for (const [i, { at }] of sent.slice(1).entries()) {
            const floor = (answers[i]?.[1] ?? 0) * 1000;
            assert.ok(at - (sent[i]?.at ?? 0) >= floor, `retry ${i} after ${at - (sent[i]?.at ?? 0)} ms, floor ${floor}`);
          }
        },
      ),
      { numRuns: 200 },
    );
  });
  it("does not hang on a Retry-After of 99999: the refusal comes back at once", async () => {
    const { clock, fetch, sent } = world([refuse(429, "99999")]);
    const call = fetch(URL_);
    assert.equal(await clock.until(call), 0);
    assert.equal((await call).status, 429);
    assert.equal(sent.length, 1);
  });
  it("nor do the calls after it: they try again within maxWait", async () => {
    const { clock, fetch } = world([refuse(429, "99999"), ok]);
    await clock.until(fetch(URL_));
    const second = fetch(URL_).catch((error: unknown) => error);
    assert.ok((await clock.until(second)) <= 30_000);
    const third = fetch(URL_);
    await clock.until(third);
    assert.equal((await third).status, 200);
  });
  it("gives up after three", async () => {
    const { clock, fetch, sent } = world([refuse(429, "1")], { circuit: false });
    const call = fetch(URL_);
    await clock.until(call);
    assert.equal((await call).status, 429);
    assert.equal(sent.length, 4);
  });
  it("waits until the reset where a refusal has no Retry-After", async () => {
    const { clock, fetch } = world([refuse(429, undefined, left(0, 5, 4)), ok]);
    assert.ok((await clock.until(fetch(URL_))) >= 4_000);
  });
  it("keeps retries to a share of the session's calls", async () => {
    const { clock, fetch, sent } = world([refuse(429, "0")], { circuit: false, retry: { share: 0.1, burst: 2 } });
    for (let i = 0; i < 40; i++) await clock.until(fetch(`${URL_}/${i}`));
    assert.ok(sent.length <= 40 + 2 + 4 && sent.length >= 40 + 4, `${sent.length}`);
  });
  it("makes none where they are turned off", async () => {
    const { clock, fetch, sent } = world([refuse(429, "1")], { retry: false });
    await clock.until(fetch(URL_));
    assert.equal(sent.length, 1);
  });
  it("leaves other failures to the caller", async () => {
    for (const status of [400, 401, 404, 500, 502, 504]) {
      const { clock, fetch, sent } = world([refuse(status, "1")]);
      const call = fetch(URL_);
      await clock.until(call);
      assert.equal((await call).status, status);
      assert.equal(sent.length, 1);
    }
    const down = world([() => Promise.reject(new TypeError("down"))]);
    await assert.rejects(down.fetch(URL_), /down/);
    assert.equal(down.sent.length, 1);
  });
});

describe("what can be sent again", () => {
  const bodies: [string, () => RequestInit["body"]][] = [
    ["text", () => "hello"],
    ["bytes", () => new TextEncoder().encode("hello")],
    ["a Blob", () => new Blob(["hello"])],
    ["URLSearchParams", () => new URLSearchParams("hello")],
    ["a form", () => new FormData()],
  ];
  for (const [name, body] of bodies) {
    it(`a POST with ${name}, on a 429`, async () => {
      const { clock, fetch, sent } = world([refuse(429, "1"), ok]);
      const call = fetch(URL_, { method: "POST", body: body() ?? null });
      await clock.until(call);
      assert.equal((await call).status, 200);
      assert.equal(sent.length, 2);
      // a form's boundary differs from one sending to the next
      const same = (text: string | undefined) => text?.replace(/-+formdata-[^\r]*/g, "boundary");
      assert.equal(same(sent[1]?.body), same(sent[0]?.body));
    });
  }
  it("a Request, body and all", async () => {
    const { clock, fetch, sent } = world([refuse(429, "1"), ok]);
    const call = fetch(new Request(URL_, { method: "POST", body: "hello" }));
    await clock.until(call);
    assert.deepEqual(sent.map(({ method, body }) => [method, body]), [["POST", "hello"], ["POST", "hello"]]);
  });
  it("not a stream", async () => {
    const { clock, fetch, sent } = world([refuse(429, "1"), ok]);
    const body = new Blob(["hello"]).stream();
    const call = fetch(URL_, { method: "POST", body, duplex: "half" } as RequestInit);
    await clock.until(call);
    assert.equal((await call).status, 429);
    assert.equal(sent.length, 1);
  });
  for (const method of ["POST", "PATCH"]) {
    it(`not a ${method} on a 503, which may have done half of it`, async () => {
      const { clock, fetch, sent } = world([refuse(503, "1"), ok]);
      const call = fetch(URL_, { method, body: "x" });
      await clock.until(call);
      assert.equal((await call).status, 503);
      assert.equal(sent.length, 1);
    });
  }
  for (const method of ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]) {
    it(`a ${method} on a 503`, async () => {
      const { clock, fetch, sent } = world([refuse(503, "1"), ok]);
      await clock.until(fetch(URL_, { method }));
      assert.equal(sent.length, 2);
    });
  }
});

describe("an abort", () => {
  const stop = new Error("stop");

  it("ends the wait for a retry at once", async () => {
    const { clock, fetch, sent } = world([refuse(429, "10"), ok]);
    const controller = new AbortController();
    const call = fetch(URL_, { signal: controller.signal }).catch((error: unknown) => error);
    await clock.advance(1_000);
    controller.abort(stop);
    assert.equal(await clock.until(call), 0);
    assert.equal(await call, stop);
    await clock.advance(60_000);
    assert.equal(sent.length, 1);
  });
  it("ends the wait for a turn at once, also where the signal is the Request's", async () => {
    const { clock, fetch, sent } = world([refuse(429, "10"), ok]);
    void fetch(URL_);
    await clock.advance(100);
    const controller = new AbortController();
    const call = fetch(new Request(URL_, { signal: controller.signal })).catch((error: unknown) => error);
    await clock.advance(100);
    controller.abort(stop);
    assert.equal(await clock.until(call), 0);
    assert.equal(await call, stop);
    assert.equal(sent.length, 1);
  });
  it("that came before sends nothing", async () => {
    const { fetch, sent } = world([ok]);
    await assert.rejects(fetch(URL_, { signal: AbortSignal.abort(stop) }), stop);
    assert.equal(sent.length, 0);
  });
  it("leaves nothing behind: no timer, no place in the queue", async () => {
    const { clock, fetch } = world([refuse(429, "10"), ok], { circuit: false });
    const controller = new AbortController();
    const calls = [1, 2, 3].map(() => fetch(URL_, { signal: controller.signal }).catch(() => undefined));
    await clock.advance(100);
    controller.abort(stop);
    await Promise.all(calls);
    await clock.advance(60_000);
    assert.equal(clock.pending, 0);
  });
});

describe("pacing", () => {
  it("holds other calls back after a refusal, and lets them go one first", async () => {
    const { clock, fetch, sent } = world([refuse(429, "5", left(0, 100, 10)), okWith(left(50, 100, 10))]);
    const first = fetch(URL_);
    await clock.advance(10);
    const others = [1, 2, 3].map(() => fetch(URL_));
    await clock.advance(4_900);
    assert.equal(sent.length, 1);
    await clock.until(Promise.all([first, ...others]));
    const [, second] = sent;
    assert.ok(second && second.at - 1_000 >= 5_000, `${second?.at}`);
  });
  it("spaces calls when little is left, before any is refused", async () => {
    let remaining = 50;
    const { clock, fetch, sent } = world([() => new Response("", { headers: left(remaining--, 100, 10) })]);
    await clock.until(Promise.all(Array.from({ length: 10 }, () => fetch(URL_)))); // nothing is known yet
    await clock.until(Promise.all(Array.from({ length: 10 }, () => fetch(URL_))));
    const gaps = sent.slice(11).map(({ at }, i) => at - (sent[i + 10]?.at ?? 0));
    assert.equal(sent.length, 20);
    assert.ok(Math.min(...gaps) >= 25, `${gaps}`);
    assert.ok(Math.max(...gaps) <= 1_000, `${gaps}`);
  });
  it("does not hold back a caller, after a reload say, while half is left", async () => {
    let remaining = 70;
    const { clock, fetch } = world([() => new Response("", { headers: left(remaining--, 100, 60) })]);
    for (let i = 0; i < 15; i++) assert.ok((await clock.until(fetch(URL_))) <= 1_500);
  });
  it("does nothing of the kind where it is turned off", async () => {
    const { clock, fetch } = world([okWith(left(1, 100, 10))], { pacing: false });
    await clock.until(fetch(URL_));
    assert.equal(await clock.until(Promise.all(Array.from({ length: 10 }, () => fetch(URL_)))), 0);
  });
  it("holds back one policy's calls, not another's", async () => {
    const limits = (name: string, r: number) => ({ "ratelimit-policy": `"${name}";q=5;w=60`, ratelimit: `"${name}";r=${r};t=60` });
    const { clock, fetch } = world([
      ({ url }) =>
        url.endsWith("/login")
          ? new Response("", { status: 429, headers: { ...limits("login", 0), "retry-after": "20" } })
          : new Response("", { headers: limits("general", 5) }),
    ]);
    for (const path of ["/a", "/b", "/c"]) await clock.until(fetch(URL_ + path));
    const login = fetch(`${URL_}/login`);
    await clock.advance(10);
    assert.equal(await clock.until(fetch(`${URL_}/a`)), 0);
    assert.equal(await clock.until(fetch(`${URL_}/never-seen`)), 0);
    assert.ok((await clock.until(login)) > 19_000);
  });
  it("holds back one origin's calls, not another's", async () => {
    const { clock, fetch } = world([({ url }) => (url.includes("other") ? new Response() : refuse(429, "20")({} as never))]);
    void fetch(URL_);
    await clock.advance(10);
    assert.equal(await clock.until(fetch("https://other.example.com/")), 0);
  });
  it("after a refusal without numbers: one call, then two, then four", async () => {
    const { clock, fetch, sent } = world([refuse(429, "2"), async () => (await clockTick(50), new Response())]);
    const clockTick = (ms: number) => new Promise<void>((resolve) => clock.setTimeout(resolve, ms));
    const calls = [fetch(URL_)];
    await clock.advance(10);
    for (let i = 0; i < 7; i++) calls.push(fetch(URL_));
    await clock.until(Promise.all(calls));
    const perMoment = new Map<number, number>();
    for (const { at } of sent.slice(1)) perMoment.set(at, (perMoment.get(at) ?? 0) + 1);
    const counts = [...perMoment.values()];
    assert.equal(counts[0], 1);
    assert.ok((counts[1] ?? 0) <= 2 && (counts[2] ?? 0) <= 4, `${counts}`);
  });
  it("tries one call after maxDelay, where only its own guess holds it back, and more often while that works", async () => {
    const { clock, fetch, sent } = world([okWith(left(0, 100, 3_600))], { pacing: { maxDelay: 4_000 } });
    await clock.until(fetch(URL_));
    const calls = Array.from({ length: 5 }, () => fetch(URL_));
    await clock.until(Promise.all(calls));
    const gaps = sent.slice(1).map(({ at }, i) => at - (sent[i]?.at ?? 0));
    assert.deepEqual(gaps, [4_000, 2_000, 1_000, 500, 250]);
  });
  it("but not more often where something is left, which others may be using", async () => {
    const { clock, fetch, sent } = world([okWith(left(1, 100, 3_600))], { pacing: { maxDelay: 4_000 } });
    await clock.until(fetch(URL_));
    await clock.until(Promise.all(Array.from({ length: 4 }, () => fetch(URL_))));
    const gaps = sent.slice(2).map(({ at }, i) => at - (sent[i + 1]?.at ?? 0));
    assert.deepEqual(gaps, [4_000, 4_000, 4_000]);
  });
  it("rejects with QuotaWaitError a call whose turn does not come within maxWait", async () => {
    const { clock, fetch, sent } = world([refuse(429, "30"), ok], { maxWait: 10_000 });
    await clock.until(fetch(URL_));
    const calls = Array.from({ length: 3 }, () => fetch(URL_).catch((error: unknown) => error));
    assert.ok((await clock.until(Promise.all(calls))) <= 10_000);
    const errors = (await Promise.all(calls)).filter((outcome) => outcome instanceof QuotaWaitError);
    assert.equal(errors.length + sent.length - 1, 3);
    assert.ok(errors.length > 0);
    assert.equal(errors[0]?.url, URL_);
  });
});

describe("the circuit", () => {
  const options: RateLimitFetchOptions = { retry: false, circuit: { failures: 3, cooldown: 1_000 }, random: () => 0.99 };

  it("fails fast with a typed error after refusals in a row, until a probe passes", async () => {
    const { clock, fetch, sent, told } = world([refuse(503), refuse(503), refuse(503), ok], options);
    for (let i = 0; i < 3; i++) await clock.until(fetch(URL_));
    await assert.rejects(fetch(URL_), (error: unknown) => {
      assert.ok(error instanceof CircuitOpenError);
      assert.equal(error.name, "CircuitOpenError");
      assert.equal(error.url, URL_);
      assert.ok(error.delay > 0 && error.delay <= 1_000);
      return true;
    });
    assert.equal(sent.length, 3);
    await clock.advance(1_000);
    const [probe, other] = [fetch(URL_), fetch(URL_).catch((error: unknown) => error)];
    assert.ok((await other) instanceof CircuitOpenError);
    assert.equal((await probe).status, 200);
    assert.equal((await fetch(URL_)).status, 200);
    assert.equal(told().filter((type) => type === "circuit-open").length, 1);
  });
  it("fails those that wait as well", async () => {
    const { clock, fetch } = world([refuse(503, "0"), refuse(503, "0"), refuse(503, "9")], options);
    for (let i = 0; i < 2; i++) await clock.until(fetch(URL_));
    const third = fetch(URL_);
    const waiting = fetch(`${URL_}?waiting`).catch((error: unknown) => error);
    await clock.until(third);
    await clock.until(waiting, 100);
    assert.ok((await waiting) instanceof CircuitOpenError);
    assert.equal(((await waiting) as CircuitOpenError).url, `${URL_}?waiting`);
  });
  it("takes the next call for the probe when one is aborted", async () => {
    const { clock, fetch } = world([refuse(503), refuse(503), refuse(503), ok], options);
    for (let i = 0; i < 3; i++) await clock.until(fetch(URL_));
    await clock.advance(1_000);
    await assert.rejects(fetch(URL_, { signal: AbortSignal.abort() }));
    assert.equal((await fetch(URL_)).status, 200);
  });
  it("is one origin's", async () => {
    const { clock, fetch } = world([refuse(503), refuse(503), refuse(503), ok], options);
    for (let i = 0; i < 3; i++) await clock.until(fetch(URL_));
    assert.equal((await fetch("https://other.example.com/")).status, 200);
  });
  it("never opens where it is turned off", async () => {
    const { clock, fetch, sent } = world([refuse(503)], { ...options, circuit: false });
    for (let i = 0; i < 20; i++) await clock.until(fetch(URL_));
    assert.equal(sent.length, 20);
  });
});

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
  it("tell of limited, retrying, recovered, with url, delay and what is left", async () => {
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
  it("tell once of calls that are held back for a second or more", async () => {
    const { clock, fetch, told } = world([okWith(left(0, 100, 10))], { pacing: { maxDelay: 5_000 } });
    await clock.until(fetch(URL_));
    await clock.until(Promise.all([1, 2, 3].map(() => fetch(URL_).catch(() => undefined))));
    assert.equal(told().filter((type) => type === "limited").length, 1);
    assert.equal(told().at(-1), "recovered");
  });
  it("tell of the wait's end also when nobody calls again", async () => {
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
  it("refuses options out of range, by name", () => {
    assert.throws(() => createRateLimitFetch({ maxWait: -1 }), /maxWait is -1/);
    assert.throws(() => createRateLimitFetch({ pacing: { below: 2 } }), /pacing\.below is 2/);
    assert.throws(() => createRateLimitFetch({ retry: { share: Number.NaN } }), /retry\.share is NaN/);
    assert.throws(() => createRateLimitFetch({ circuit: { failures: 0 } }), RangeError);
  });
  it("keeps no more than it must of very many origins", async () => {
    const { fetch } = world([ok]);
    for (let i = 0; i < 2_000; i++) await fetch(`https://host-${i}.example.com/`);
  });
});
