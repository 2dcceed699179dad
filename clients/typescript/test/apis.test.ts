// The rate-limit headers of large APIs, as their documentation shows them, and as the README's table says they are read.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { readQuotas, readRetryAfter, type Quota } from "../src/index.js";
import { refuse } from "./support/fake.js";
import { left, okWith, world } from "./support/world.js";

const README = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
const NOW = Date.UTC(2026, 4, 23, 12, 0, 0);
const IN_30_S = `${NOW / 1000 + 30}`;

interface Row {
  /** The first cell of its row in the README. */
  api: string;
  headers: Record<string, string>;
  quotas: Partial<Quota>[];
}

const ROWS: Row[] = [
  {
    // The draft's sections 3 and 4: `RateLimit-Policy: "peruser";q=100;w=60;pk=:cHsdsRa894==:`, `RateLimit: "default";r=50;t=30`
    api: "IETF drafts 08 to 11",
    headers: { "RateLimit-Policy": '"burst";q=100;w=60,"daily";q=1000;w=86400', RateLimit: '"burst";r=50;t=30,"daily";r=1;t=36400;pk=:YQ==:' },
    quotas: [
      { policy: "burst", limit: 100, remaining: 50, reset: 30_000, window: 60_000 },
      { policy: "daily YQ==", limit: 1000, remaining: 1, reset: 36_400_000, window: 86_400_000 },
    ],
  },
  {
    // draft-ietf-httpapi-ratelimit-headers-07: `RateLimit: limit=100, remaining=50, reset=5`, `RateLimit-Policy: 100;w=10`
    api: "IETF draft 07",
    headers: { RateLimit: "limit=100, remaining=50, reset=5", "RateLimit-Policy": "100;w=10, 1000;w=3600" },
    quotas: [{ policy: "limit 100", limit: 100, remaining: 50, reset: 5_000, window: 10_000 }],
  },
  {
    // draft-ietf-httpapi-ratelimit-headers-06: `RateLimit-Limit: 10`, `RateLimit-Policy: 10;w=1, 50;w=60, 1000;w=3600`
    api: "IETF drafts 04 to 06",
    headers: { "RateLimit-Limit": "50", "RateLimit-Policy": "10;w=1, 50;w=60", "RateLimit-Remaining": "9", "RateLimit-Reset": "30" },
    quotas: [{ policy: "limit 50", limit: 50, remaining: 9, reset: 30_000, window: 60_000 }],
  },
  {
    // draft-ietf-httpapi-ratelimit-headers-03: `RateLimit-Limit: 10, 10;w=1;burst=1000, 1000;w=3600`
    api: "IETF drafts 00 to 03",
    headers: { "RateLimit-Limit": "10, 10;w=60;burst=1000, 1000;w=3600", "RateLimit-Remaining": "9", "RateLimit-Reset": "50" },
    quotas: [{ policy: "limit 10", limit: 10, remaining: 9, reset: 50_000, window: 60_000 }],
  },
  {
    // docs.x.com/fundamentals/rate-limits: `x-rate-limit-limit: 900`, "Unix timestamp when the limit resets". The fields for
    // 24 hours: docs.rs/twapi-v2, src/headers.rs, `x-app-limit-24hour-limit`
    api: "X (Twitter)",
    headers: {
      ...{ "x-rate-limit-limit": "900", "x-rate-limit-remaining": "847", "x-rate-limit-reset": IN_30_S },
      ...{ "x-app-limit-24hour-limit": "5000", "x-app-limit-24hour-remaining": "7", "x-app-limit-24hour-reset": IN_30_S },
    },
    quotas: [
      { policy: "app 24hour 5000", limit: 5000, remaining: 7, reset: 30_000, window: 86_400_000 },
      { policy: "limit 900", limit: 900, remaining: 847, reset: 30_000 },
    ],
  },
  {
    // docs.gitlab.com, "User and IP rate limits", response headers: `RateLimit-Name: throttle_authenticated_web`,
    // `RateLimit-Observed: 67`, `RateLimit-Reset: 1609844400`, `RateLimit-ResetTime: Tue, 05 Jan 2021 11:00:00 GMT`
    api: "GitLab",
    headers: {
      ...{ "RateLimit-Limit": "60", "RateLimit-Name": "throttle_authenticated_web", "RateLimit-Observed": "67" },
      ...{ "RateLimit-Remaining": "0", "RateLimit-Reset": IN_30_S, "RateLimit-ResetTime": "Sat, 23 May 2026 12:00:30 GMT" },
    },
    quotas: [{ policy: "throttle_authenticated_web", limit: 60, remaining: 0, reset: 30_000 }],
  },
  {
    // developer.okta.com/docs/reference/rl-best-practices: `X-Rate-Limit-Limit: 1200`, reset "in UTC epoch time (in seconds)"
    api: "Okta",
    headers: { "X-Rate-Limit-Limit": "1200", "X-Rate-Limit-Remaining": "1199", "X-Rate-Limit-Reset": IN_30_S },
    quotas: [{ policy: "limit 1200", limit: 1200, remaining: 1199, reset: 30_000 }],
  },
  {
    // OpenAI's guide "Rate limits": `x-ratelimit-limit-tokens: 150000`, `x-ratelimit-reset-requests: 1s`,
    // `x-ratelimit-reset-tokens: 6m0s`
    api: "OpenAI",
    headers: {
      ...{ "x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1s" },
      ...{ "x-ratelimit-limit-tokens": "150000", "x-ratelimit-remaining-tokens": "149984", "x-ratelimit-reset-tokens": "6m0s" },
    },
    quotas: [
      { policy: "requests 60", limit: 60, remaining: 59, reset: 1_000 },
      { policy: "tokens 150000", limit: 150_000, remaining: 149_984, reset: 360_000 },
    ],
  },
  {
    // Anthropic's API documentation, "Rate limits", response headers: `anthropic-ratelimit-input-tokens-reset`, "provided in
    // RFC 3339 format"
    api: "Anthropic",
    headers: {
      "anthropic-ratelimit-requests-limit": "4000",
      "anthropic-ratelimit-requests-remaining": "3201",
      "anthropic-ratelimit-requests-reset": "2026-05-23T12:00:30Z",
      "anthropic-ratelimit-input-tokens-limit": "400000",
      "anthropic-ratelimit-input-tokens-remaining": "312000",
      "anthropic-ratelimit-input-tokens-reset": "2026-05-23T12:01:00Z",
    },
    quotas: [
      { policy: "input-tokens 400000", limit: 400_000, remaining: 312_000, reset: 60_000 },
      { policy: "requests 4000", limit: 4000, remaining: 3201, reset: 30_000 },
    ],
  },
  {
    // reddit.com/r/redditdev/comments/1yxrp7: "X-Ratelimit-Used: Approximate number of requests used in this period";
    // "X-Ratelimit-Reset: Approximate number of seconds to end of period". Remaining comes as `598.0`.
    api: "Reddit",
    headers: { "x-ratelimit-used": "2", "x-ratelimit-remaining": "598.0", "x-ratelimit-reset": "419" },
    quotas: [{ policy: "unnamed", limit: 600, remaining: 598, reset: 419_000 }],
  },
  {
    // docs.discord.com/developers/topics/rate-limits: `X-RateLimit-Reset: 1470173023`, `X-RateLimit-Reset-After: 1`,
    // `X-RateLimit-Bucket: abcd1234`; both times "can have decimals"
    api: "Discord",
    headers: {
      ...{ "X-RateLimit-Limit": "5", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": `${NOW / 1000 + 99}.123` },
      ...{ "X-RateLimit-Reset-After": "29.750", "X-RateLimit-Bucket": "abcd1234" },
    },
    quotas: [{ policy: "abcd1234", limit: 5, remaining: 0, reset: 29_750 }],
  },
  {
    // shopify.dev/docs/api/admin-rest/usage/rate-limits: `X-Shopify-Shop-Api-Call-Limit: 32/40`, "Standard limit: 2 requests/second"
    api: "Shopify",
    headers: { "X-Shopify-Shop-Api-Call-Limit": "32/40" },
    quotas: [{ policy: "shopify 40", limit: 40, remaining: 8, reset: 16_000, window: 20_000 }],
  },
  {
    // docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api: "x-ratelimit-resource: The rate limit resource that
    // the request counted against"
    api: "GitHub",
    headers: {
      ...{ "X-RateLimit-Limit": "30", "X-RateLimit-Remaining": "14", "X-RateLimit-Reset": IN_30_S },
      ...{ "X-RateLimit-Used": "16", "X-RateLimit-Resource": "search" },
    },
    quotas: [{ policy: "search", limit: 30, remaining: 14, reset: 30_000 }],
  },
  {
    // Kong's plugin "Rate Limiting": `X-RateLimit-Limit-Minute: 10`, `X-RateLimit-Remaining-Minute: 9`
    api: "Kong",
    headers: {
      ...{ "RateLimit-Limit": "10", "RateLimit-Remaining": "9", "RateLimit-Reset": "40" },
      ...{ "X-RateLimit-Limit-Minute": "10", "X-RateLimit-Remaining-Minute": "9" },
    },
    quotas: [
      { policy: "limit 10", limit: 10, remaining: 9, reset: 40_000 },
      { policy: "minute 10", limit: 10, remaining: 9, reset: undefined, window: 60_000 },
    ],
  },
  {
    // docs.rapidapi.com/docs/response-headers: `x-ratelimit-requests-remaining`, "The number of requests remaining (from your plan)"
    api: "RapidAPI",
    headers: { "x-ratelimit-requests-limit": "500", "x-ratelimit-requests-remaining": "499", "x-ratelimit-requests-reset": "2592000" },
    quotas: [{ policy: "requests 500", limit: 500, remaining: 499, reset: 2_592_000_000 }],
  },
  {
    // docs/configuration.md of this project: `response.headers: [x-ratelimit]`, `reset: unix`
    api: "Headgate, and most others",
    headers: { "X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "12", "X-RateLimit-Reset": IN_30_S },
    quotas: [{ policy: "limit 100", limit: 100, remaining: 12, reset: 30_000 }],
  },
];

/** The rows of the README's table of headers, without its head. */
const table = (/\n\| API \|[^]*?\n\n/.exec(README)?.[0] ?? "").trim().split("\n").slice(2);

describe("the headers of", () => {
  for (const { api, headers, quotas } of ROWS) {
    it(api, () => {
      const byName = (a: Quota, b: Quota) => (a.policy < b.policy ? -1 : 1);
      const found = readQuotas(new Headers(headers), NOW).sort(byName);
      assert.equal(found.length, quotas.length, JSON.stringify(found));
      for (const [i, quota] of quotas.entries()) assert.deepEqual({ ...found[i], ...quota }, found[i]);
    });
  }
  it("are those that the README lists", () => {
    assert.deepEqual(table.map((row) => row.split("|")[1]?.trim()), ROWS.map(({ api }) => api));
  });
  it("are spelt in the README as in the tests", () => {
    for (const [i, { api, headers }] of ROWS.entries()) {
      const row = table[i]?.toLowerCase() ?? "";
      for (const name of Object.keys(headers)) {
        const words = name.toLowerCase().split("-");
        const spelt = row.includes(`\`${name.toLowerCase()}\``) || words.some((_, n) => n > 0 && row.includes(`\`-${words.slice(n).join("-")}\``));
        assert.ok(spelt, `${api}: ${name}`);
      }
    }
  });
});

describe("besides", () => {
  const quotas = (headers: Record<string, string>) => readQuotas(new Headers(headers), NOW);

  it("a quota that comes in an old and in the new form is one", () => {
    const old = { "x-ratelimit-limit": "100", "x-ratelimit-remaining": "12", "x-ratelimit-reset": "30" };
    assert.deepEqual(quotas({ ...old, "ratelimit-limit": "100", "ratelimit-remaining": "12", "ratelimit-reset": "31" }).map(({ reset }) => reset), [31_000]);
    assert.deepEqual(quotas({ ...old, ratelimit: '"a";r=12;t=30' }).map(({ policy }) => policy), ["a"]);
    assert.equal(quotas({ ...old, "x-ratelimit-limit-tokens": "9", "x-ratelimit-remaining-tokens": "8" }).length, 2);
  });
  it("a reset in ms shows where the window is known", () => {
    const written = (reset: string) => quotas({ "ratelimit-limit": "9, 9;w=60", "ratelimit-remaining": "1", "ratelimit-reset": reset })[0]?.reset;
    assert.deepEqual(["60", "119", "59500"].map(written), [60_000, 119_000, 59_500]);
  });
  it("Whoop's window is one", () => {
    const limits = "100, 100;window=60, 10000;window=86400"; // developer.whoop.com/docs/developing/rate-limiting
    assert.equal(quotas({ "x-ratelimit-limit": limits, "x-ratelimit-remaining": "98", "x-ratelimit-reset": "3" })[0]?.window, 60_000);
  });
  it("fields that look alike are none", () => {
    const names = ["x-ratelimit-cost", "x-ratelimit-limited", "x-ratelimit-resource", "x-ratelimit-precision", "ratelimit-policy", "x-limit-remaining", "anthropic-ratelimit-unified-status"];
    assert.deepEqual(quotas(Object.fromEntries(names.map((name) => [name, "7"]))), []);
    for (const bad of ["41", "a/b", "1/0", "32/40/2"]) assert.deepEqual(quotas({ "x-shopify-shop-api-call-limit": bad }), []);
  });
  it("Discord's global limit holds back every path", async () => {
    const { clock, fetch, sent } = world([refuse(429, "1.25", { "X-RateLimit-Global": "true" }), okWith({})], { retry: false });
    await clock.until(fetch("https://discord.example/channels/1"));
    assert.ok((await clock.until(fetch("https://discord.example/guilds/2"))) >= 1_250);
    assert.equal(sent.length, 2);
  });
  it("GitHub's 403 for a spent limit is a refusal, others are not", async () => {
    // "you will receive a 403 or 429 response, and the x-ratelimit-remaining header will be 0"; for a secondary limit "If the
    // retry-after response header is present, you should not retry your request until after that many seconds"
    const github = (remaining: number) => ({ ...left(remaining, 60, 9), "x-ratelimit-resource": "core" });
    const cases: [string | undefined, Record<string, string>, number][] = [[undefined, github(0), 9_000], ["3", github(14), 3_000], ["3", {}, 3_000]];
    for (const [after, headers, wait] of cases) {
      const { clock, fetch } = world([refuse(403, after, headers), okWith({})]);
      const call = fetch("https://github.example/repos", { method: "POST" });
      assert.ok((await clock.until(call)) >= wait);
      assert.equal((await call).status, 200);
    }
    for (const headers of [{}, left(0, 60, 9), github(1)]) {
      const { fetch, sent } = world([refuse(403, undefined, headers)]);
      assert.equal((await fetch("https://github.example/repos")).status, 403);
      assert.equal(sent.length, 1);
    }
  });
  it("Shopify's Retry-After has a fraction", () => assert.equal(readRetryAfter(new Headers({ "Retry-After": "2.0" }), NOW), 2_000));
});
