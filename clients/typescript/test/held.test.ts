// A wait longer than the cap: calls fail at once, none goes before Retry-After. And which calls are not held at all.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { CircuitOpenError, QuotaWaitError, RateLimitError, type StaleCache } from "../src/index.js";
import { ok, refuse } from "./support/fake.js";
import { left, okWith, URL_, world } from "./support/world.js";

const failed = (call: Promise<Response>) => call.then((answer) => assert.fail(`answered ${answer.status}`), (error: unknown) => error);

describe("a wait longer than maxWait", () => {
  for (const [form, headers] of Object.entries({ "with figures": left(0, 100, 56), "without figures": {} })) {
    it(`fails at once with an error that says when, ${form}`, async () => {
      const { clock, fetch, sent } = world([refuse(429, "56", headers), ok]);
      const first = fetch(URL_);
      assert.equal(await clock.until(first), 0);
      assert.equal((await first).status, 429);
      await clock.advance(6_000);
      const call = failed(fetch(URL_));
      assert.equal(await clock.until(call), 0);
      const error = await call;
      assert.ok(error instanceof QuotaWaitError && error instanceof RateLimitError);
      assert.deepEqual([error.name, error.url, error.delay], ["QuotaWaitError", URL_, 50_000]);
      assert.equal(error.retryAt.getTime(), clock.wall() + 50_000);
      assert.match(error.message, /next try in 50000 ms/);
      assert.equal(sent.length, 1);
      await clock.advance(20_001); // what is left fits into maxWait
      const later = fetch(URL_);
      assert.equal(await clock.until(later), 29_999);
      assert.equal((await later).status, 200);
    });
  }
  it("of exactly maxWait is waited for", async () => {
    const { clock, fetch } = world([refuse(429, "30"), ok], { retry: false });
    await clock.until(fetch(URL_));
    const call = fetch(URL_);
    assert.equal(await clock.until(call), 30_000);
    assert.equal((await call).status, 200);
  });
  it("fails those that wait already, as soon as it is known", async () => {
    const { clock, fetch } = world([refuse(429, "5"), refuse(429, "90"), ok], { retry: false });
    await clock.until(fetch(URL_));
    const calls = [fetch(URL_), failed(fetch(URL_)), failed(fetch(URL_))] as const;
    assert.equal(await clock.until(Promise.all(calls)), 5_000);
    assert.equal((await calls[0]).status, 429);
    for (const call of calls.slice(1)) assert.ok((await call) instanceof QuotaWaitError);
  });
  it("of a quota that is spent, without Retry-After, fails as well", async () => {
    const { clock, fetch } = world([refuse(429, undefined, left(0, 100, 3_600)), ok]);
    await clock.until(fetch(URL_));
    const error = await failed(fetch(URL_));
    assert.equal((error as QuotaWaitError).delay, 3_600_000);
  });
  it("gives an old answer at once, if there is a cache", async () => {
    const cache: StaleCache = { match: async () => new Response("old"), put: async () => undefined };
    const { clock, fetch } = world([refuse(429, "99"), ok], { cache });
    await clock.until(fetch(URL_));
    const call = fetch(URL_);
    assert.equal(await clock.until(call), 0);
    assert.equal(await (await call).text(), "old");
  });
  it("of a year is kept, and holds back no other path", async () => {
    const { clock, fetch, sent } = world([refuse(429, "31536000", left(0, 5, 31_536_000)), okWith(left(9, 10, 60))]);
    await clock.until(fetch(`${URL_}/a`));
    assert.equal((await fetch(`${URL_}/b`)).status, 200);
    await clock.advance(31_000_000_000);
    assert.ok((await failed(fetch(`${URL_}/a`))) instanceof QuotaWaitError);
    assert.equal(sent.length, 2);
  });
  it("keeps the circuit open, whose probe comes no earlier", async () => {
    const { clock, fetch, sent } = world([refuse(503, "300")], { retry: false, circuit: { failures: 2, maxCooldown: 60_000 } });
    for (const path of ["/a", "/b"]) await clock.until(fetch(URL_ + path));
    await clock.advance(299_000);
    const error = await failed(fetch(`${URL_}/c`));
    assert.ok(error instanceof CircuitOpenError && error.delay > 0 && error.delay <= 1_000);
    assert.equal(error.retryAt.getTime(), clock.wall() + error.delay);
    assert.equal(sent.length, 2);
  });
  it("never ends in a call before Retry-After, whatever comes", async () => {
    const step = fc.tuple(fc.nat({ max: 40_000 }), fc.constantFrom(undefined, "3", "20", "56", "400.5"), fc.boolean());
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), fc.integer({ min: 0, max: 60_000 }), async (steps, maxWait) => {
        const answers = steps.map(([, after, figures]) => (after ? refuse(429, after, figures ? left(0, 9, Number(after)) : {}) : ok));
        const { clock, fetch, sent } = world([...answers, ok], { maxWait, circuit: false });
        const calls: Promise<unknown>[] = [];
        for (const [pause] of steps) {
          calls.push(fetch(URL_).catch((error: unknown) => assert.ok(error instanceof QuotaWaitError, `${error}`)));
          await clock.advance(pause);
        }
        await clock.until(Promise.all(calls));
        for (const [i, { at }] of sent.entries()) {
          for (const [j, before] of sent.slice(0, i).entries()) {
            const floor = Number(steps[j]?.[1] ?? 0) * 1_000;
            const together = at === before.at; // sent before the other one's answer
            assert.ok(together || at >= before.at + floor, `call ${i} at ${at}, after ${before.at} and ${floor}`);
          }
        }
      }),
      { numRuns: 150 },
    );
  });
});

describe("while more than half of a quota is left", () => {
  const sequence = async (limit: number, first: number, reset: number, calls: number) => {
    let remaining = first;
    const { clock, fetch } = world([() => new Response("", { headers: left(remaining--, limit, reset) })]);
    const waits: number[] = [];
    for (let i = 0; i < calls; i++) waits.push(await clock.until(fetch(URL_)));
    return waits;
  };

  it("one call after the other is not held, as after a reload", async () => {
    for (const [limit, first] of [[100, 70], [100, 99], [5, 4], [3, 2], [1_000, 501], [10, 6]] as const) {
      const free = first - Math.floor(limit / 2) + 1; // the last one's answer says that half is left
      assert.deepEqual(await sequence(limit, first, 60, free), Array(free).fill(0), `${first} of ${limit}`);
    }
  });
  it("whatever limit, reset and figures are", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 2, max: 10_000 }), fc.nat({ max: 86_400 }), fc.double({ min: 0, max: 1, noNaN: true }), async (limit, reset, part) => {
        const least = Math.floor(limit / 2) + 1;
        const first = least + Math.floor((limit - 1 - least) * part);
        if (first < least) return;
        assert.deepEqual(await sequence(limit, first, reset, 2), [0, 0], `${first} of ${limit}, ${reset} s`);
      }),
      { numRuns: 100 },
    );
  });
  it("also with pauses between the calls", async () => {
    const pauses = fc.array(fc.nat({ max: 2_000 }), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 30, max: 10_000 }), pauses, async (limit, pauses) => {
        let remaining = Math.floor(limit * 0.8);
        const { clock, fetch } = world([() => new Response("", { headers: left(remaining--, limit, 60) })]);
        for (const pause of pauses) {
          assert.equal(await clock.until(fetch(URL_)), 0);
          await clock.advance(pause);
        }
      }),
      { numRuns: 100 },
    );
  });
  it("nor are calls on other paths, or of policies by name", async () => {
    const headers = { "ratelimit-policy": '"a";q=100;w=60', ratelimit: '"a";r=51;t=60' };
    const { clock, fetch } = world([okWith(headers)]);
    for (const path of ["/a", "/a", "/b", "/c"]) assert.equal(await clock.until(fetch(URL_ + path)), 0);
  });
});
