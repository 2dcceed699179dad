// Numbers as the page shows them.

import assert from "node:assert/strict";
import { it } from "node:test";
import { nameOf } from "../page/dashboard.js";
import { format, seconds, ticks } from "../page/format.js";

it("gives three figures and the unit", () => {
  for (const [value, unit, text] of [
    [0, "reqps", "0 req/s"],
    [0.004, "reqps", "<0.01 req/s"],
    [17.84, "reqps", "17.8 req/s"],
    [9_999, "reqps", "9,999 req/s"],
    [12_345, "reqps", "12.3k req/s"],
    [0.1234, "percentunit", "12.3%"],
    [1, "percentunit", "100%"],
    [0.00045, "s", "450 µs"],
    [0.0123, "s", "12.3 ms"],
    [1.5, "s", "1.5 s"],
    [2_500_000, "short", "2.5M"],
    [null, "short", "–"],
  ]) assert.equal(format(value, unit), text);
  assert.equal(format(124.4, "short", 0), "124");
});

it("formats the ticks of an axis distinctly, in one scale", () => {
  assert.deepEqual(ticks([0, 0.25, 0.5, 0.75, 1], "reqps"), ["0", "0.25", "0.50", "0.75", "1.00"]);
  assert.deepEqual(ticks([0, 10, 20], "reqps"), ["0", "10", "20"]);
  assert.deepEqual(ticks([0, 10_000, 20_000], "reqps"), ["0", "10k", "20k"]);
  assert.deepEqual(ticks([0, 0.005, 0.01], "percentunit"), ["0.0%", "0.5%", "1.0%"]);
  assert.deepEqual(ticks([0, 0.0005, 0.001], "s"), ["0", "0.5 ms", "1.0 ms"]);
});

it("reads durations and Grafana's names of series", () => {
  assert.deepEqual(["15m", "1m30s", "250ms", "24h"].map(seconds), [900, 90, 0.25, 86_400]);
  assert.equal(nameOf({ limit: "a", outcome: "denied" }, "{{limit}} {{ outcome }}"), "a denied");
  assert.equal(nameOf({ limit: "a" }, "{{limit}} {{none}}"), "a");
  assert.equal(nameOf({ limit: "a" }, undefined), "limit=a");
});
