// The law of a retry's delay, the budgets, and the circuit.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { RetryBudget, retryDelay } from "../src/backoff.js";
import { Circuit } from "../src/circuit.js";

describe("a retry's delay", () => {
  const ms = fc.nat({ max: 100_000_000 });
  const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

  it("is between the server's floor and the longest wait, with jitter", () => {
    fc.assert(
      fc.property(ms, ms, fc.nat({ max: 2_000 }), ms, ms, random, (base, cap, attempt, floor, left, number) => {
        const delay = retryDelay({ base, cap }, attempt, floor, left, () => number);
        if (floor > left) return assert.equal(delay, undefined);
        assert.ok(delay !== undefined && delay >= floor && delay <= left);
        assert.ok(delay <= floor + Math.min(cap, base * 2 ** Math.min(attempt, 1_000)));
      }),
    );
  });
  it("grows exponentially up to the cap", () => {
    const spread = (attempt: number) => retryDelay({ base: 500, cap: 20_000 }, attempt, 0, 1e9, () => 1);
    assert.deepEqual([0, 1, 2, 3, 10].map(spread), [500, 1_000, 2_000, 4_000, 20_000]);
  });
  it("gives up on a Retry-After of 99999", () => {
    assert.equal(retryDelay({ base: 500, cap: 20_000 }, 0, 99_999_000, 30_000, Math.random), undefined);
  });
});

describe("the session's budget", () => {
  it("allows at most the burst and the share of the calls", () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 500 }), fc.constantFrom(0, 0.1, 0.2, 0.25, 1), fc.nat({ max: 20 }), (steps, share, burst) => {
        const budget = new RetryBudget(share, burst);
        let calls = 0;
        let retries = 0;
        for (const isCall of steps) {
          if (isCall) {
            calls += 1;
            budget.earn();
          } else if (budget.spend()) retries += 1;
          assert.ok(retries <= burst + share * calls + 1e-6, `${retries} retries, ${calls} calls`);
        }
      }),
    );
  });
  it("gives one retry for five calls at a share of 0.2", () => {
    const budget = new RetryBudget(0.2, 1);
    assert.equal(budget.spend(), true);
    for (let i = 0; i < 4; i++) budget.earn();
    assert.equal(budget.spend(), false);
    budget.earn();
    assert.equal(budget.spend(), true);
  });
  it("saves up no more than the burst, however long all goes well", () => {
    const budget = new RetryBudget(0.2, 3);
    for (let i = 0; i < 1_000; i++) budget.earn();
    assert.deepEqual([1, 2, 3, 4].map(() => budget.spend()), [true, true, true, false]);
  });
});

describe("the circuit", () => {
  const options = { failures: 3, cooldown: 1_000, maxCooldown: 4_000 };
  const opened = () => {
    const circuit = new Circuit(options, () => 1);
    for (const now of [10, 20, 30]) circuit.failure(now - 1, now, 0);
    return circuit;
  };

  it("opens after the configured number of consecutive refusals", () => {
    const circuit = new Circuit(options, () => 1);
    assert.equal(circuit.failure(0, 1, 0), false);
    assert.equal(circuit.failure(2, 3, 0), false);
    circuit.success(4);
    assert.equal(circuit.failure(5, 6, 0), false);
    assert.equal(circuit.failure(7, 8, 0), false);
    assert.equal(circuit.admit(8), "pass");
    assert.equal(circuit.failure(9, 10, 0), true);
    assert.equal(circuit.admit(11), "refuse");
  });
  it("counts refusals of calls in flight together as one", () => {
    const circuit = new Circuit(options, () => 1);
    for (let i = 0; i < 50; i++) assert.equal(circuit.failure(0, 5 + i, 0), false);
    assert.equal(circuit.open, false);
  });
  it("lets one probe through after the cooldown, and closes when it passes", () => {
    const circuit = opened();
    assert.equal(circuit.admit(1_029), "refuse");
    assert.equal(circuit.admit(1_030), "probe");
    assert.equal(circuit.admit(1_031), "refuse");
    circuit.success(1_030);
    assert.equal(circuit.admit(1_032), "pass");
  });
  it("doubles the wait after each failed probe, to the longest", () => {
    const circuit = opened();
    let now = 30;
    const long = 99_999_000; // a Retry-After, which goes before the longest cooldown
    for (const [cooldown, floor] of [[1_000, 0], [2_000, 0], [4_000, 0], [4_000, long], [long, 0], [4_000, 0]] as const) {
      assert.equal(circuit.untilProbe(now), cooldown);
      now += cooldown;
      assert.equal(circuit.admit(now), "probe");
      assert.equal(circuit.failure(now, now + 1, floor), true);
      now += 1;
    }
  });
  it("spreads the probes of many clients over half the cooldown", () => {
    const probeAt = (random: number) => {
      const circuit = new Circuit({ ...options, failures: 1 }, () => random);
      circuit.failure(0, 0, 0);
      return circuit.untilProbe(0);
    };
    assert.deepEqual([0, 0.5, 1].map(probeAt), [500, 750, 1_000]);
  });
  it("has the server's Retry-After as the cooldown's floor", () => {
    const circuit = new Circuit({ ...options, failures: 1 }, () => 0);
    circuit.failure(0, 0, 3_000);
    assert.equal(circuit.untilProbe(0), 3_000);
  });
  it("makes the next call the probe when one ends without an answer", () => {
    const circuit = opened();
    assert.equal(circuit.admit(2_000), "probe");
    circuit.release();
    assert.equal(circuit.admit(2_001), "probe");
  });
  it("does not close on the answer to a call from before", () => {
    const circuit = opened();
    circuit.success(15);
    assert.equal(circuit.open, true);
  });
});
