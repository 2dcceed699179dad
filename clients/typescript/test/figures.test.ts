// How numbers and times are written, and that a wait is never shorter than the server said.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { readQuotas, readRetryAfter } from "../src/index.js";

const NOW = Date.UTC(2026, 4, 23, 12, 0, 0);
const DATE = "Sat, 23 May 2026 12:00:30 GMT";
const headersOf = (fields: Record<string, string | string[]>) => {
  const headers = new Headers();
  for (const [name, values] of Object.entries(fields)) for (const value of [values].flat()) headers.append(name, value);
  return headers;
};
const retryAfter = (...values: string[]) => readRetryAfter(headersOf({ "retry-after": values }), NOW);
const quotas = (fields: Record<string, string | string[]>) => readQuotas(headersOf(fields), NOW);
const three = (limit: string | string[], remaining: string | string[], reset: string | string[]) =>
  quotas({ "x-ratelimit-limit": limit, "x-ratelimit-remaining": remaining, "x-ratelimit-reset": reset });

describe("Retry-After, as it is written", () => {
  const written: [string, number][] = [
    ["2.0", 2_000],
    ["1.5", 1_500],
    ["0.25", 250],
    ["0.0001", 1],
    [".5", 500],
    ["7.", 7_000],
    ["007", 7_000],
    [" 7 ", 7_000],
    ["0", 0],
    ["30s", 30_000],
    ["250ms", 250],
    ["1m30s", 90_000],
    ["2026-05-23T12:00:30Z", 30_000],
    ["2026-05-23T14:00:30.250+02:00", 30_250],
    ["1779537600", 1_779_537_600_000], // seconds, by RFC 9110, though it looks like a Unix time
    ["9".repeat(400), 1e14],
  ];
  for (const [text, ms] of written) it(`reads ${JSON.stringify(text.slice(0, 40))}`, () => assert.equal(retryAfter(text), ms));

  const twice: [string[], number | undefined][] = [
    [["5", "7"], 7_000],
    [["7", "5"], 7_000],
    [["1.5", "1.5"], 1_500],
    [["5,7"], 7_000],
    [["5", "soon"], 5_000],
    [["soon", "later"], undefined],
    [[DATE, DATE], 30_000],
    [[DATE, "40"], 40_000],
    [["20", "Saturday, 23-May-26 12:00:30 GMT"], 30_000],
    [["", "5"], 5_000],
    [["1,000"], undefined],
    [["1,000", "5"], undefined],
  ];
  for (const [values, ms] of twice) it(`sent as ${JSON.stringify(values)}`, () => assert.equal(retryAfter(...values), ms));

  it("is the longest of the two fields that SDKs read", () => {
    const both = (seconds: string, ms: string) => readRetryAfter(headersOf({ "retry-after": seconds, "retry-after-ms": ms }), NOW);
    assert.equal(both("1", "300"), 1_000);
    assert.equal(both("1", "1300.5"), 1_301);
    assert.equal(readRetryAfter(headersOf({ "retry-after-ms": "300" }), NOW), 300);
    assert.equal(readRetryAfter(headersOf({ "retry-after-ms": "-300" }), NOW), undefined);
  });
  it("is never shorter than any of the values that came", () => {
    const seconds = fc.oneof(fc.nat(1e6).map(String), fc.double({ min: 0, max: 1e6, noNaN: true }).map((n) => n.toFixed(3)));
    fc.assert(
      fc.property(fc.array(seconds, { minLength: 1, maxLength: 3 }), (values) => {
        const wait = retryAfter(...values) ?? assert.fail("not read");
        const most = Math.max(...values.map(Number)) * 1_000;
        assert.ok(Number.isInteger(wait) && wait >= most && wait < most + 1.001, `${wait} for ${most}`);
      }),
    );
  });
  it("never ends before a date by the server's clock, ours or not", () => {
    fc.assert(
      fc.property(fc.nat(120_000), fc.integer({ min: -1e8, max: 1e8 }), fc.nat(100), (ms, skew, seconds) => {
        const server = NOW + ms; // what the server's clock shows when it answers; Date has whole seconds
        const until = Math.floor(server / 1_000) * 1_000 + seconds * 1_000;
        const headers = headersOf({ date: new Date(server).toUTCString(), "retry-after": new Date(until).toUTCString() });
        const wait = readRetryAfter(headers, server + skew) ?? assert.fail("not read");
        assert.ok(server + wait >= until && wait <= until - server + 1_000, `${wait}`);
      }),
    );
  });
});

describe("figures, as they are written", () => {
  it("may have a fraction", () => {
    assert.deepEqual(three("100.0", "98.0", "30.5"), [{ policy: "limit 100", limit: 100, remaining: 98, reset: 30_500, window: undefined }]);
    assert.equal(three("100", "97.6", "30")[0]?.remaining, 97);
  });
  const resets: [string, number | undefined][] = [
    ["30", 30_000],
    ["30.0", 30_000],
    ["0.5", 500],
    [`${NOW / 1000 + 30}`, 30_000],
    [`${NOW / 1000 + 30}.5`, 30_500],
    [`${NOW + 30_000}`, 30_000],
    [`${NOW + 30_000}.25`, 30_001],
    [`${NOW + 30_000}000`, 30_000],
    [`${NOW + 30_000}000000`, 30_000],
    ["30s", 30_000],
    ["1500ms", 1_500],
    ["6m0s", 360_000],
    ["1h2m3.5s", 3_723_500],
    ["2d", 172_800_000],
    [DATE, 30_000],
    ["2026-05-23T12:00:30Z", 30_000],
    ["2026-05-23T12:00:30.123456789Z", 30_124],
    ["-5", undefined],
    ["NaN", undefined],
    ["Infinity", undefined],
    ["1e3", undefined],
    ["30n", undefined],
    ["1,779,537,630", undefined],
    ["1.2.3s", undefined],
    ["s", undefined],
    ["999999999", undefined], // 31 years
    ["9".repeat(40), undefined],
  ];
  for (const [text, ms] of resets) it(`a reset of ${text}`, () => assert.equal(three("100", "98", text)[0]?.reset, ms));

  for (const limit of ["1,000", "10,000", "1,000,000", "1,000;w=60", "1,000, 1,000", "1 000", "1'000", "1_000", "many"]) {
    it(`a limit of ${limit} is not taken for another number`, () => assert.deepEqual(three(limit, "5", "30"), []));
  }
  it("of several layers are quotas of their own", () => {
    assert.deepEqual(three(["100", "60"], ["98", "3"], ["30", "50"]), [
      { policy: "limit 100", limit: 100, remaining: 98, reset: 30_000, window: undefined },
      { policy: "limit 60", limit: 60, remaining: 3, reset: 50_000, window: undefined },
    ]);
  });
  it("of one quota that came twice are read with care", () => {
    const careful = [{ policy: "limit 100", limit: 100, remaining: 97, reset: 31_000, window: undefined }];
    assert.deepEqual(three(["100", "100"], ["98", "97"], ["31", "30"]), careful);
    assert.deepEqual(three("100", ["98", "97"], ["30", "31"]), careful);
    assert.deepEqual(three(["100", "100"], "97", "31"), careful);
  });
  it("keep the window of a policy beside them", () => {
    for (const limit of ["100, 100;w=60", "100,100;w=60", "100;w=60"]) {
      assert.deepEqual(three(limit, "98", "30"), [{ policy: "limit 100", limit: 100, remaining: 98, reset: 30_000, window: 60_000 }]);
    }
  });
  it("are read without a limit, which a page may not see", () => {
    const [quota] = quotas({ "x-ratelimit-remaining": "7", "x-ratelimit-reset": "30" });
    assert.deepEqual(quota, { policy: "unnamed", limit: undefined, remaining: 7, reset: 30_000, window: undefined });
  });
  it("yield only sound numbers, whatever comes", () => {
    const number = fc.oneof(fc.integer().map(String), fc.double().map(String), fc.bigInt().map(String), fc.stringMatching(/^[\d.,:;= a-z-]{0,20}$/));
    const names = ["limit", "remaining", "reset", "used", "limit-requests", "remaining-requests", "reset-requests"];
    const fields = fc.record(Object.fromEntries(names.map((name) => [`x-ratelimit-${name}`, number])));
    fc.assert(
      fc.property(fields, number, (record, text) => {
        for (const { limit, remaining, reset } of quotas(record as Record<string, string>)) {
          for (const n of [limit ?? 0, remaining, reset ?? 0]) assert.ok(Number.isInteger(n) && n >= 0, `${n}`);
        }
        const wait = readRetryAfter(headersOf({ "x": "y", ...(text.trim() && { "retry-after": text }) }), NOW) ?? 0;
        assert.ok(Number.isInteger(wait) && wait >= 0 && !Number.isNaN(new Date(NOW + wait).getTime()), `${wait}`);
      }),
      { numRuns: 1_000 },
    );
  });
});
