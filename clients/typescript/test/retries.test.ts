// What is sent again, when, and how often.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { QuotaWaitError } from "../src/index.js";
import { ok, refuse } from "./support/fake.js";
import { left, URL_, world } from "./support/world.js";

describe("retries", () => {
  it("waits for Retry-After and a spread, then gives the good answer", async () => {
    const { clock, fetch, sent } = world([refuse(429, "3"), ok]);
    const call = fetch(URL_);
    assert.equal(await clock.until(call), 3_000 + 0.5 * 500);
    assert.equal(await (await call).text(), "fine");
    assert.equal(sent.length, 2);
  });
  it("is never earlier than Retry-After nor later than maxWait", async () => {
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
  it("returns the refusal at once if Retry-After is 99999", async () => {
    const { clock, fetch, sent } = world([refuse(429, "99999")]);
    const call = fetch(URL_);
    assert.equal(await clock.until(call), 0);
    assert.equal((await call).status, 429);
    assert.equal(sent.length, 1);
  });
  it("nor do the calls after it: they fail at once until it is over", async () => {
    const { clock, fetch, sent } = world([refuse(429, "99999"), ok]);
    await clock.until(fetch(URL_));
    await assert.rejects(fetch(URL_), QuotaWaitError);
    await clock.advance(99_999_000);
    assert.equal(sent.length, 1);
    assert.equal((await fetch(URL_)).status, 200);
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
