// The law of pacing, on a simulated clock: what many clients do together that know nothing of each other.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { Pace } from "../src/pacing/pace.js";
import type { Algorithm } from "./support/limiter.js";
import { simulate, type Outcome, type Scene } from "./support/simulation.js";

const SEEDS = [1, 2, 3, 4, 5, 6];
const all = (scene: Partial<Scene>) => SEEDS.map((seed) => simulate({ ...scene, seed: seed * 101 }));
const least = (outcomes: Outcome[]) => Math.min(...outcomes.map(({ used }) => used));
const most = (outcomes: Outcome[]) => Math.max(...outcomes.map(({ refused }) => refused));

function holds(scene: Partial<Scene>, used: number, refused: number): void {
  const outcomes = all(scene);
  const said = `${(least(outcomes) * 100).toFixed(1)}% used, ${(most(outcomes) * 100).toFixed(1)}% refused`;
  assert.ok(least(outcomes) >= used && most(outcomes) <= refused, said);
}

for (const saysWindow of [true, false]) {
  describe(`against 100 calls in 10 s, ${saysWindow ? "with" : "without"} the window's length in the answers`, () => {
    for (const duration of [20_000, 120_000]) {
      it(`one client with 50 callers uses 95% and is refused under 2%, in ${duration / 1000} s`, () => {
        holds({ clients: 1, callers: 50, duration, saysWindow }, 0.95, 0.02);
      });
      it(`50 clients use 85% and are refused under 10%, in ${duration / 1000} s`, () => {
        holds({ duration, saysWindow }, 0.85, 0.1);
      });
    }
    for (const algorithm of ["fixed", "counter", "gcra"] satisfies Algorithm[]) {
      it(`${algorithm}: one client and 50 are hardly refused, and use more than half`, () => {
        holds({ algorithm, duration: 60_000, saysWindow }, 0.5, 0.15);
        holds({ algorithm, duration: 60_000, saysWindow, clients: 1, callers: 50 }, 0.85, 0.02);
      });
    }
  });
}

describe("in other weather", () => {
  it("holds over a slow network", () => holds({ latency: [100, 500], duration: 60_000 }, 0.85, 0.1));
  it("holds on a busy machine, where timers and answers come late and in any order", () => {
    holds({ lag: 100, saysWindow: false, duration: 60_000 }, 0.85, 0.1);
    holds({ lag: 100, saysWindow: false, duration: 60_000, clients: 1, callers: 50 }, 0.92, 0.02);
  });
  it("holds when clients come one after the other", () => holds({ start: 10_000, duration: 60_000 }, 0.8, 0.15));
  it("holds for few clients with many callers", () => holds({ clients: 3, callers: 20, duration: 60_000 }, 0.85, 0.02));
  it("leaves none of 50 clients without", () => {
    for (const { perClient } of all({ duration: 60_000 })) assert.ok(Math.min(...perClient) >= 3, `${perClient}`);
  });
  it("does not hold back a lone caller while half is left", () => {
    const [first] = simulate({ clients: 1, callers: 1, duration: 3_000 }).passedPerSecond;
    assert.ok(first !== undefined && first >= 50, `${first}`);
  });
  it("spaces the calls of the other half over the window, and does not send them at once", () => {
    const { passedPerSecond } = simulate({ clients: 1, callers: 50, duration: 60_000 });
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

  const quota = fc.record({
    policy: fc.constant("p"),
    limit: fc.option(fc.nat({ max: 1e9 }), { nil: undefined }),
    remaining: fc.nat({ max: 1e9 }),
    reset: fc.option(fc.nat({ max: 366 * 86_400_000 }), { nil: undefined }),
    window: fc.option(fc.integer({ min: 1, max: 366 * 86_400_000 }), { nil: undefined }),
  });
  const step = fc.tuple(fc.nat({ max: 1e8 }), fc.constantFrom("sent", "passed", "denied", "wait"), quota, fc.nat({ max: 100 }));

  it("always names a time that comes, whatever a server says", () => {
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
