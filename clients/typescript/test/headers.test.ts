// What answers say: Retry-After, X-RateLimit-*, RateLimit and RateLimit-Policy.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { readQuotas, readRetryAfter } from "../src/index.js";
import { parseList } from "../src/headers/structured.js";

const NOW = Date.UTC(2026, 4, 23, 12, 0, 0);
const quotas = (headers: Record<string, string>) => readQuotas(new Headers(headers), NOW);
const retryAfter = (text: string, more: Record<string, string> = {}) =>
  readRetryAfter(new Headers({ "Retry-After": text, ...more }), NOW);

describe("Retry-After", () => {
  it("reads seconds", () => assert.equal(retryAfter("7"), 7_000));
  it("reads the three forms of a date", () => {
    assert.equal(retryAfter("Sat, 23 May 2026 12:00:30 GMT"), 30_000);
    assert.equal(retryAfter("Saturday, 23-May-26 12:00:30 GMT"), 30_000);
    assert.equal(retryAfter("Sat May 23 12:00:30 2026"), 30_000);
  });
  it("takes a date that has passed for now", () => assert.equal(retryAfter("Sun, 06 Nov 1994 08:49:37 GMT"), 0));
  it("measures a date by the server's clock where ours is wrong", () => {
    const wait = retryAfter("Sat, 23 May 2026 13:00:30 GMT", { date: "Sat, 23 May 2026 13:00:00 GMT" });
    assert.equal(wait, 30_000);
  });
  for (const text of ["", "soon", "-1", "+1", "1e3", "1,000", "1 000", "1_000", "1.000.000", "NaN", "Infinity", "99 bottles", "Sat, 31 Feb 2026 12:00:00 GMT", "12:00", "2026-05-23", "2026-05-23T12:00:30"]) {
    it(`ignores ${JSON.stringify(text)}`, () => assert.equal(retryAfter(text), undefined));
  }
  it("is missing where it is missing", () => assert.equal(readRetryAfter(new Headers(), NOW), undefined));
});

describe("X-RateLimit", () => {
  const three = (reset: string) => ({ "x-ratelimit-limit": "100", "x-ratelimit-remaining": "12", "x-ratelimit-reset": reset });
  const expected = { policy: "limit 100", limit: 100, remaining: 12, window: undefined };

  it("distinguishes a Unix time, seconds and milliseconds", () => {
    assert.deepEqual(quotas(three("30")), [{ ...expected, reset: 30_000 }]);
    assert.deepEqual(quotas(three(String(NOW / 1000 + 30))), [{ ...expected, reset: 30_000 }]);
    assert.deepEqual(quotas(three(String(NOW + 30_000))), [{ ...expected, reset: 30_000 }]);
  });
  it("reads a Unix time by the server's clock where ours is an hour behind", () => {
    const [quota] = quotas({ ...three(String(NOW / 1000 + 3630)), date: "Sat, 23 May 2026 13:00:00 GMT" });
    assert.ok(Math.abs((quota?.reset ?? 0) - 30_000) <= 500, `${quota?.reset}`);
  });
  it("takes a reset that has passed for now", () => assert.equal(quotas(three("1500000000"))[0]?.reset, 0));
  it("takes the number before a list of policies", () => {
    assert.equal(quotas({ ...three("30"), "x-ratelimit-limit": "10, 10;w=1, 1000;w=60" })[0]?.limit, 10);
  });
  it("does not care about the names' case", () => {
    const headers = { "X-RateLimit-Limit": "100", "X-RATELIMIT-REMAINING": "12", "x-RateLimit-reset": "30" };
    assert.deepEqual(quotas(headers), [{ ...expected, reset: 30_000 }]);
  });
  it("does without a reset", () => {
    assert.deepEqual(quotas({ "x-ratelimit-limit": "100", "x-ratelimit-remaining": "12" }), [{ ...expected, reset: undefined }]);
  });
  for (const bad of ["", "many", "-1", "1.5.2", "0x10", "1e3", "1,000", "1 000", "12,345,678", "NaN", "9".repeat(30)]) {
    it(`ignores a remaining of ${JSON.stringify(bad)}`, () => {
      assert.deepEqual(quotas({ ...three("30"), "x-ratelimit-remaining": bad }), []);
    });
    it(`does without a reset of ${JSON.stringify(bad)}`, () => {
      assert.equal(quotas(three(bad))[0]?.reset, undefined);
    });
  }
  it("ignores a reset a lifetime away", () => assert.equal(quotas(three("9999999999"))[0]?.reset, undefined));
});

describe("RateLimit", () => {
  it("reads every policy", () => {
    assert.deepEqual(
      quotas({
        "RateLimit-Policy": '"burst";q=100;w=60, "daily";q=5000;w=86400;qu="requests"',
        "RateLimit": '"burst";r=50;t=30,"daily";r=4000;t=3600',
      }),
      [
        { policy: "burst", limit: 100, remaining: 50, reset: 30_000, window: 60_000 },
        { policy: "daily", limit: 5000, remaining: 4000, reset: 3_600_000, window: 86_400_000 },
      ],
    );
  });
  it("goes before X-RateLimit", () => {
    const [quota] = quotas({ ratelimit: '"a";r=5', "ratelimit-policy": '"a";q=10', "x-ratelimit-limit": "7", "x-ratelimit-remaining": "7" });
    assert.deepEqual(quota, { policy: "a", limit: 10, remaining: 5, reset: undefined, window: undefined });
  });
  it("keeps the partitions of a policy apart", () => {
    const names = quotas({ ratelimit: '"a";r=5;pk=:YQ==:, "a";r=6;pk=:Yg==:' }).map(({ policy }) => policy);
    assert.equal(new Set(names).size, 2);
  });
  it("does without a policy, and ignores policies without a quota", () => {
    assert.equal(quotas({ ratelimit: '"a";r=5;t=1', "ratelimit-policy": '"a";w=10' })[0]?.limit, undefined);
  });
  for (const bad of ['"a";r=5;', '"a";r=5,', '"a;r=5', '"a";r=--5', '"a";r=5 "b";r=6', "(", '"ä";r=5']) {
    it(`is void as a whole: ${bad}`, () => {
      const [quota] = quotas({ ratelimit: Buffer.from(bad).toString("latin1"), "x-ratelimit-limit": "7", "x-ratelimit-remaining": "6" });
      assert.equal(quota?.policy, "limit 7");
    });
  }
  for (const other of ['a;r=5', '"a";r=5.0', '"a";r=-5', '"a";r="5"', '"a"', '"a";r=?1', '("a" "b");r=5', "5;r=5"]) {
    it(`skips what is no limit: ${other}`, () => assert.deepEqual(quotas({ ratelimit: other }), []));
  }
});

describe("the structured field parser", () => {
  const bareItem = fc.oneof(
    fc.integer({ min: -999_999_999_999_999, max: 999_999_999_999_999 }).map((n) => [String(n), n] as const),
    fc.integer({ min: -99_999_999, max: 99_999_999 }).map((n) => [(n / 8).toFixed(3), n / 8] as const),
    fc.string({ unit: fc.integer({ min: 32, max: 126 }).map((c) => String.fromCharCode(c)) })
      .map((s) => [`"${s.replace(/[\\"]/g, "\\$&")}"`, s] as const),
    fc.stringMatching(/^[A-Za-z*][A-Za-z0-9:/!#$%&'*+.^_`|~-]{0,10}$/).map((s) => [s, s] as const),
    fc.boolean().map((b) => [b ? "?1" : "?0", b] as const),
    fc.base64String({ maxLength: 20 }).map((s) => [`:${s}:`, s] as const),
    fc.string().map((s) => [`%"${display(s)}"`, s] as const),
    fc.nat().map((n) => [`@${n}`, n] as const),
  );
  const member = fc.tuple(bareItem, fc.uniqueArray(fc.tuple(fc.stringMatching(/^[a-z*][a-z0-9_.*-]{0,5}$/), bareItem), { selector: ([key]) => key }));

  it("reads back every list that can be written", () => {
    fc.assert(
      fc.property(fc.array(member), fc.constantFrom(",", ", ", " ,\t"), (members, comma) => {
        const text = members.map(([[item], params]) => item + params.map(([key, [value]]) => `;${key}=${value}`).join("")).join(comma);
        const read = parseList(text)?.map(({ item, params }) => [item.value, [...params].map(([key, { value }]) => [key, value])]);
        assert.deepEqual(read, members.map(([[, item], params]) => [item, params.map(([key, [, value]]) => [key, value])]));
      }),
    );
  });
  it("takes no time and throws nothing, whatever comes", () => {
    fc.assert(fc.property(fc.string({ unit: "binary-ascii", maxLength: 200 }), (text) => void parseList(text)), { numRuns: 2_000 });
    const start = performance.now();
    parseList('"a";'.repeat(20_000) + '"' + "\\\\".repeat(50_000));
    assert.ok(performance.now() - start < 1_000);
  });
  it("yields only numbers that make sense, from any headers", () => {
    const text = fc.oneof(fc.string({ unit: "grapheme-ascii" }), fc.stringMatching(/^[0-9"a;=rtqw, .:-]{0,30}$/), fc.integer().map(String));
    const names = ["ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "date"];
    fc.assert(
      fc.property(fc.record(Object.fromEntries(names.map((name) => [name, text]))), (record) => {
        for (const { limit, remaining, reset, window } of quotas(record as Record<string, string>)) {
          for (const n of [limit ?? 0, remaining, reset ?? 0, window ?? 1]) assert.ok(Number.isFinite(n) && n >= 0);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

function display(text: string): string {
  return encodeURIComponent(text).replace(/%../g, (code) => code.toLowerCase()).replace(/[!'()*~]/g, (c) => c);
}
