// What many wrappers do together that know nothing of each other, on a simulated clock; and the law of pacing alone.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { Pace } from "../src/pacing/pace.js";
import type { Algorithm } from "./support/limiter.js";
import { simulate, type Outcome, type Scene } from "./support/simulation.js";

const least = (outcomes: Outcome[]) => Math.min(...outcomes.map(({ used }) => used));
const most = (outcomes: Outcome[]) => Math.max(...outcomes.map(({ refused }) => refused));

async function all(scene: Partial<Scene>, seeds = 4): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (let seed = 1; seed <= seeds; seed++) outcomes.push(await simulate({ ...scene, seed: seed * 101 }));
  return outcomes;
}

async function holds(scene: Partial<Scene>, used: number, refused: number, seeds?: number): Promise<void> {
  const outcomes = await all(scene, seeds);
  const said = `${(least(outcomes) * 100).toFixed(1)}% used, ${(most(outcomes) * 100).toFixed(1)}% refused`;
  assert.ok(least(outcomes) >= used && most(outcomes) <= refused, said);
}

for (const saysWindow of [true, false]) {
  describe(`against 100 calls in 10 s, ${saysWindow ? "with" : "without"} the window's length in the answers`, () => {
    it("one client with 50 callers uses 95% and is refused under 2%", async () => {
      await holds({ clients: 1, callers: 50, saysWindow }, 0.95, 0.02);
      await holds({ clients: 1, callers: 50, duration: 120_000, saysWindow }, 0.95, 0.02, 2);
    });
    it("50 clients use 88% and are refused under 8%, in 20 s, whatever the seed", async () => {
      await holds({ lag: 5, saysWindow }, 0.88, 0.08, 20);
    });
    it("50 clients use 92% and are refused under 3%, in 120 s, whatever the seed", async () => {
      await holds({ duration: 120_000, lag: 20, saysWindow }, 0.92, 0.03, 10);
    });
    for (const algorithm of ["fixed", "counter", "gcra"] satisfies Algorithm[]) {
      it(`${algorithm}: one client and 50 are hardly refused, and use more than half`, async () => {
        await holds({ algorithm, duration: 60_000, saysWindow }, 0.5, 0.15, 3);
        await holds({ algorithm, duration: 60_000, saysWindow, clients: 1, callers: 50 }, 0.85, 0.02, 2);
      });
    }
  });
}

describe("under other limits, and for other numbers of clients", () => {
  it("holds for 2 and for 10", async () => {
    for (const clients of [2, 10]) await holds({ clients, lag: 5, duration: 60_000, saysWindow: false }, 0.8, 0.03);
  });
  it("uses the whole limit with as many clients as calls, or twice as many", async () => {
    await holds({ clients: 100, duration: 60_000, saysWindow: false }, 0.95, 1 / 3, 2);
    await holds({ clients: 200, duration: 60_000, saysWindow: false }, 0.95, 2 / 3, 2);
  });
  it("holds for 20 calls in a second", async () => {
    await holds({ limit: 20, window: 1_000, clients: 10, duration: 30_000, saysWindow: false }, 0.7, 0.1);
    await holds({ limit: 20, window: 1_000, clients: 1, callers: 10, duration: 30_000, saysWindow: false }, 0.9, 0.05);
  });
  it("holds for 1000 calls in a minute", async () => {
    await holds({ limit: 1_000, window: 60_000, clients: 200, duration: 180_000, saysWindow: false }, 0.88, 0.08, 2);
    await holds({ limit: 1_000, window: 60_000, duration: 180_000, saysWindow: false }, 0.88, 0.15, 2);
  });
});

describe("under other conditions", () => {
  it("holds over a slow network", () => holds({ latency: [100, 500], duration: 60_000 }, 0.88, 0.05));
  it("holds on a busy machine, where timers and answers come late and in any order", async () => {
    await holds({ lag: 100, saysWindow: false, duration: 60_000 }, 0.88, 0.08);
    await holds({ lag: 100, saysWindow: false, duration: 60_000, clients: 1, callers: 50 }, 0.92, 0.02);
  });
  it("holds when clients come one after the other", () => holds({ start: 10_000, duration: 60_000 }, 0.88, 0.15));
  it("holds for few clients with many callers", () => holds({ clients: 3, callers: 20, duration: 60_000 }, 0.85, 0.02));
  it("hardly refuses callers who think between calls and want less than the limit", () =>
    holds({ think: 10_000, duration: 60_000 }, 0.4, 0.01));
  it("leaves none of 50 clients without", async () => {
    for (const { perClient } of await all({ duration: 60_000 })) assert.ok(Math.min(...perClient) >= 3, `${perClient}`);
  });
  it("does not hold back a lone caller while half is left", async () => {
    const [first] = (await simulate({ clients: 1, callers: 1, duration: 3_000 })).passedPerSecond;
    assert.ok(first !== undefined && first >= 50, `${first}`);
  });
  it("spaces the calls of the other half over the window, and does not send them at once", async () => {
    const { passedPerSecond } = await simulate({ clients: 1, callers: 50, duration: 60_000 });
    const later = Array.from(passedPerSecond.slice(10), (calls) => calls ?? 0);
    assert.ok(Math.max(...later) <= 30, `${later}`);
  });
});

describe("a pace", () => {
  it("takes late answers of a burst for what they are, and does not stop", () => {
    const pace = new Pace(0.5);
    const quota = (remaining: number) => ({ policy: "p", limit: 100, remaining, reset: 10_000, window: 10_000 });
    // the first of 50 is answered, and its caller's next call too; then the 49 that were sent before it
    pace.passed(10, { sentAt: 0, order: 1 }, quota(99), 49);
    pace.sent(10);
    pace.passed(20, { sentAt: 10, order: 51 }, quota(49), 49);
    for (let order = 2; order <= 50; order++) pace.passed(500, { sentAt: 0, order }, quota(100 - order), 50 - order);
    assert.ok(pace.wait(500) < 200, `${pace.wait(500)}`);
  });

  it("repeats calls that came back sooner than it had thought", () => {
    const pace = new Pace(0.5);
    const quota = (remaining: number, reset: number) => ({ policy: "p", limit: 100, remaining, reset, window: undefined });
    // the crowd took 98 calls, we two; resets are rounded up, so the window seems to be 10.9 s long
    for (const [order, at] of [[1, 10], [2, 300]] as const) pace.passed(at, { sentAt: at, order }, quota(0, 10_900), 0);
    // one of the two comes late, and shows that the window is no longer than 10.02 s
    let now = 10_900;
    const sent: number[] = [];
    for (let order = 3; now < 14_000; now += 10) {
      if (pace.wait(now) > 0) continue;
      pace.sent(now);
      sent.push(now);
      pace.passed(now, { sentAt: now, order: order++ }, quota(50, 10_020), 0);
    }
    assert.ok(sent.length >= 2, `${sent}`);
  });
  it("owes no more than one call, however many went before their time", () => {
    const pace = new Pace(0.5);
    const quota = { policy: "p", limit: 100, remaining: 1, reset: 10_000, window: 10_000 };
    for (let order = 1; order <= 10; order++) {
      const at = order * 100;
      pace.sent(at); // trials
      pace.passed(at, { sentAt: at, order }, quota, 0);
    }
    // they came back; the first one goes in any case, for news
    for (let i = 0; i < 2; i++) {
      assert.equal(pace.wait(12_000), 0);
      pace.sent(12_000);
    }
  });

  const quota = fc.record({
    policy: fc.constant("p"),
    limit: fc.option(fc.nat({ max: 1e9 }), { nil: undefined }),
    remaining: fc.nat({ max: 1e9 }),
    reset: fc.option(fc.nat({ max: 366 * 86_400_000 }), { nil: undefined }),
    window: fc.option(fc.integer({ min: 1, max: 366 * 86_400_000 }), { nil: undefined }),
  });
  const step = fc.tuple(fc.nat({ max: 1e8 }), fc.constantFrom("sent", "passed", "denied", "wait"), quota, fc.nat({ max: 100 }));

  it("always returns a finite time, whatever a server sends", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.double({ min: 0, max: 1, noNaN: true }), (steps, below) => {
        const pace = new Pace(below);
        let now = 0;
        for (const [later, what, news, inFlight] of steps) {
          now += later;
          if (what === "sent") pace.sent(now);
          if (what === "passed") pace.passed(now, { sentAt: now, order: now }, news, inFlight);
          if (what === "denied") pace.denied(now, { sentAt: now, order: now }, now + 5_000, news, true);
          const wait = pace.wait(now);
          assert.ok(Number.isFinite(wait) && wait >= 0, `${wait}`);
        }
      }),
      { numRuns: 300 },
    );
  });
});
