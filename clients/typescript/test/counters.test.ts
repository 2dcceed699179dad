// Several quotas of one origin: each is paced by its own figures, whether the server names them or not.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { Queue, type Ticket } from "../src/pacing/queue.js";
import { Routes } from "../src/pacing/routes.js";
import { FakeClock, refuse } from "./support/fake.js";
import { simulate } from "./support/simulation.js";
import { left, okWith, URL_, world } from "./support/world.js";

type Figures = (remaining: number) => Record<string, string>;

/** Two quotas of the same size. What the server sends distinguishes them, or only their figures do. */
const FORMS: Record<string, (name: string) => Figures> = {
  "x-ratelimit-resource": (name) => (remaining) => ({ ...left(remaining, 30, 60), "x-ratelimit-resource": name }),
  "policies by name": (name) => (remaining) => ({ "ratelimit-policy": `"${name}";q=30;w=60`, ratelimit: `"${name}";r=${remaining};t=60` }),
  partitions: (name) => (remaining) => ({ ratelimit: `"all";r=${remaining};t=60;pk=:${btoa(name)}:`, "ratelimit-policy": '"all";q=30;w=60' }),
  "ratelimit-name": (name) => (remaining) => ({ "ratelimit-limit": "30", "ratelimit-remaining": `${remaining}`, "ratelimit-reset": "60", "ratelimit-name": name }),
  "equal numbers": () => (remaining) => left(remaining, 30, 60),
  "one bucket for two channels": () => (remaining) => ({ ...left(remaining, 30, 60), "x-ratelimit-bucket": "abcd" }),
};

/** A server with a quota of 30 for each path; no call comes back. */
function twoQuotas(form: (name: string) => Figures, spent: Record<string, number> = {}) {
  const rest = new Map<string, number>();
  return world([
    ({ url }) => {
      const path = new URL(url).pathname;
      const before = rest.get(path) ?? 30 - (spent[path] ?? 0);
      rest.set(path, Math.max(0, before - 1));
      const headers = form(path.slice(1))(Math.max(0, before - 1));
      return before > 0 ? new Response("", { headers }) : (refuse(429, "50", headers)({} as never) as Response);
    },
  ], { circuit: false });
}

/** Ms until the call passes. */
async function passes(clock: FakeClock, call: Promise<Response>): Promise<number> {
  const waited = await clock.until(call);
  assert.equal((await call).status, 200);
  return waited;
}

const at = (path: string) => `https://api.example.com${path}`;

for (const [name, form] of Object.entries(FORMS)) {
  describe(`two quotas of one origin, with ${name}`, () => {
    it("are paced separately", async () => {
      const { clock, fetch } = twoQuotas(form, { "/search": 27 });
      for (const path of ["/core", "/search"]) await clock.until(fetch(at(path)));
      for (let i = 0; i < 8; i++) assert.equal(await passes(clock, fetch(at("/core"))), 0, `call ${i}`);
      for (let i = 0; i < 2; i++) await clock.until(fetch(at("/search")));
      assert.equal(await passes(clock, fetch(at("/core"))), 0);
      const held = fetch(at("/search")).catch(() => undefined); // nothing is left
      assert.ok((await clock.until(held)) > 1_000);
    });
    it("are refused separately, also on the first call", async () => {
      for (const warm of [true, false]) {
        const { clock, fetch, sent } = twoQuotas(form, { "/search": 30 });
        if (warm) await clock.until(fetch(at("/core")));
        assert.equal((await fetch(at("/search"))).status, 429);
        for (let i = 0; i < 5; i++) assert.equal(await passes(clock, fetch(at("/core"))), 0, `call ${i}`);
        await assert.rejects(fetch(at("/search")), /no quota/);
        assert.equal(sent.filter(({ url }) => url.endsWith("/search")).length, 1);
      }
    });
  });
}

describe("quotas that have names", () => {
  for (const name of ["x-ratelimit-resource", "policies by name"]) {
    it(`are never taken for one that is known, with ${name}`, async () => {
      const { fetch } = twoQuotas(FORMS[name] as (name: string) => Figures, { "/search": 30, "/graph": 30 });
      const statuses: number[] = [];
      for (const path of ["/search", "/core", "/graph", "/upload", "/core"]) statuses.push((await fetch(at(path))).status);
      assert.deepEqual(statuses, [429, 200, 429, 200, 200]);
    });
  }
});

describe("one quota for all paths", () => {
  const oneQuota = (before: number) => {
    let rest = before;
    return world([() => (rest > 0 ? okWith(left(--rest, 100, 60))() : (refuse(429, "20", left(0, 100, 60))({} as never) as Response))], { circuit: false });
  };
  it("holds back new paths after a refusal, but for one scout", async () => {
    const { clock, fetch, sent } = oneQuota(2);
    for (const path of ["/a", "/b"]) await clock.until(fetch(URL_ + path));
    const calls = Array.from({ length: 20 }, (_, i) => fetch(`${URL_}/${i}`).catch(() => undefined));
    await clock.advance(19_000);
    assert.ok(sent.length <= 4, `${sent.length}`); // a trial is one more
    await clock.until(Promise.all(calls));
  });
  it("is paced over paths with ids as over one path", async () => {
    for (const [clients, callers] of [[1, 50], [50, 1]] as const) {
      const scene = { clients, callers, saysWindow: false, duration: 40_000, lag: 5 };
      const ids = await simulate({ ...scene, paths: Infinity });
      const said = `${clients} clients: ${ids.used} used, ${ids.refused} refused`;
      assert.ok(ids.used >= 0.85 && ids.refused <= 0.1, said);
    }
  });
  it("stays one, however many paths there are", async () => {
    const routes = new Routes(0.5);
    const names = new Set<string>();
    for (let i = 0; i < 60; i++) {
      const quota = { policy: "limit 100", limit: 100, remaining: 99 - i, reset: 60_000, window: undefined };
      const route = routes.route(`GET /${i % 7}`);
      names.add(routes.counter(route, { quota, named: false }, i * 100, i * 100 + 50, false));
    }
    assert.deepEqual([...names], ["limit 100"]);
  });
});

describe("the counters that are remembered", () => {
  const reading = fc.record({
    quota: fc.record({
      policy: fc.nat(2_000).map((n) => `limit ${n}`),
      limit: fc.option(fc.nat(1e6), { nil: undefined }),
      remaining: fc.nat(1e6),
      reset: fc.option(fc.nat(1e8), { nil: undefined }),
      window: fc.option(fc.nat(1e8), { nil: undefined }),
    }),
    named: fc.boolean(),
    units: fc.boolean(),
  });

  it("are bounded, whatever a server sends", async () => {
    const clock = new FakeClock();
    const queue = new Queue(clock, 0.5, 15_000);
    const readings = fc.sample(reading, { numRuns: 6_000, seed: 1 });
    for (const [i, found] of readings.entries()) {
      const ticket = (await Promise.race([queue.enter(`GET /${i % 900}`, { url: URL_, since: 0, deadline: 1e12, onHold: () => undefined }), undefined])) as Ticket | undefined;
      if (ticket) queue.passed(ticket, [found]);
      else queue.passed(queue.adopt(`GET /${i % 900}`, clock.now()), [found]);
    }
    assert.ok(queue.remembered <= 256 + 3 * 256 * 8, `${queue.remembered}`);
  });
  it("are at most eight for one limit", () => {
    const routes = new Routes(0.5);
    const names = new Set<string>();
    for (let i = 0; i < 200; i++) {
      const quota = { policy: "limit 100", limit: 100, remaining: (i * 37) % 100, reset: 60_000, window: undefined };
      names.add(routes.counter(routes.route(`GET /${i}`), { quota, named: false }, i, i, true));
    }
    assert.ok(names.size > 1 && names.size <= 8, `${names.size}`);
  });
});

describe("a quota of tokens", () => {
  const tokens = (limit: number, cost: () => number) => {
    let rest = limit;
    return world([
      () => {
        rest -= cost();
        const fields = (unit: string, limit: number, remaining: number) => ({
          [`x-ratelimit-limit-${unit}`]: `${limit}`,
          [`x-ratelimit-remaining-${unit}`]: `${Math.max(0, remaining)}`,
          [`x-ratelimit-reset-${unit}`]: "1m0s",
        });
        return new Response("", { headers: { ...fields("requests", 10_000, 9_990), ...fields("tokens", limit, rest) } });
      },
    ]);
  };

  it("holds nothing back while more than half is left", async () => {
    const costs = [1_000, 4_000, 16, 2_500];
    const { clock, fetch } = tokens(150_000, () => costs.push(costs.shift() ?? 0) && (costs.at(-1) ?? 0));
    for (let i = 0; i < 35; i++) assert.equal(await clock.until(fetch(URL_)), 0, `call ${i}`);
  });
  it("is spaced by what a call costs once less than half is left", async () => {
    const { clock, fetch, sent } = tokens(100_000, () => 5_000);
    for (let i = 0; i < 10; i++) await clock.until(fetch(URL_)); // the other half is 10 calls, until more comes back
    const start = clock.now();
    for (let i = 0; i < 8; i++) await clock.until(fetch(URL_));
    assert.ok(clock.now() - start > 5_000, `${sent.map(({ at }) => at)}`);
  });
  it("has bytes as its unit, by the IETF draft", async () => {
    let rest = 65_535;
    const headers = () => ({ "ratelimit-policy": '"a";q=65535;qu="content-bytes";w=60', ratelimit: `"a";r=${(rest -= 900)};t=60` });
    const { clock, fetch } = world([() => okWith(headers())()]);
    for (let i = 0; i < 35; i++) assert.equal(await clock.until(fetch(URL_)), 0, `call ${i}`);
  });
});
