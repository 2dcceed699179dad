// The storm, on the wall clock: 20 s, or STORM_SECONDS.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { refusedShare, storm, table, used, type Result } from "./support/storm.js";
import { startTarget, type Target } from "./support/target.js";

const SECONDS = Number(process.env.STORM_SECONDS ?? 20);

describe(`in a storm of ${SECONDS} s, with a limit of 100 in 10 s for 50 callers`, () => {
  let target: Target;
  let results: Result[];
  before(async () => {
    target = await startTarget();
    results = await storm(target.url, SECONDS * 1000);
    console.log(`\nagainst ${target.name}, ${SECONDS} s:\n${table(results)}\n`);
  });
  after(() => target?.stop());

  const of = (kind: Result["kind"]) => results.find((result) => result.kind === kind) as Result;

  it("plain fetch-and-retry is refused most of the time", () => {
    assert.ok(refusedShare(of("plain")) > 0.5);
  });
  it("one wrapper is refused under 2% and uses at least 95% of the limit", () => {
    const result = of("shared");
    assert.ok(refusedShare(result) < 0.02, `${refusedShare(result)} refused`);
    assert.ok(used(result) >= 0.95, `${used(result)} used`);
  });
  it("50 wrappers are refused under 10% and use at least 85% of the limit", () => {
    const result = of("independent");
    assert.ok(refusedShare(result) < 0.1, `${refusedShare(result)} refused`);
    assert.ok(used(result) >= 0.85, `${used(result)} used`);
  });
  it("nobody waits longer than a call may", () => {
    for (const kind of ["shared", "independent"] as const) assert.ok(of(kind).longestWait <= 30_500, kind);
  });
});
