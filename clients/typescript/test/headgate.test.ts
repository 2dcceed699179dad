// The wrapper against the real thing: Envoy with Headgate.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createRateLimitFetch, readQuotas, readRetryAfter, type RateLimitEvent } from "../src/index.js";
import type { Form } from "./support/policy.js";
import { startTarget, type Target } from "./support/target.js";

/** A new caller. */
const caller = (limit: string) => ({ [`x-${limit}`]: crypto.randomUUID() });

const answers = (form: Form) =>
  describe(`answers in the ${form} form`, { concurrency: true }, () => {
    let target: Target;
    before(async () => (target = await startTarget(form)));
    after(() => target?.stop());

    it("contain what is left, and when it is reset", async () => {
      const headers = caller("short");
      for (const left of [4, 3, 2, 1, 0]) {
        const response = await fetch(target.url, { headers });
        assert.equal(response.status, 200);
        const [quota] = readQuotas(response.headers, Date.now());
        assert.ok(quota);
        assert.equal(quota.limit, 5);
        assert.equal(quota.remaining, left);
        assert.ok(quota.reset !== undefined && quota.reset > 0 && quota.reset <= 3_000, `${quota.reset}`);
        if (form === "ietf") assert.deepEqual([quota.policy, quota.window], ["short", 2_000]);
      }
      const refused = await fetch(target.url, { headers });
      assert.equal(refused.status, 429);
      assert.equal(readQuotas(refused.headers, Date.now())[0]?.remaining, 0);
      const wait = readRetryAfter(refused.headers, Date.now());
      assert.ok(wait !== undefined && wait >= 1_000 && wait <= 2_000, `${wait}`);
    });

    it("let a refused call wait until it passes", async () => {
      const headers = caller("short");
      await Promise.all(Array.from({ length: 5 }, () => fetch(target.url, { headers })));
      const events: RateLimitEvent[] = [];
      const limited = createRateLimitFetch({ onEvent: (event) => events.push(event) });
      const start = performance.now();
      const response = await limited(target.url, { method: "POST", headers, body: "once more" });
      assert.equal(response.status, 200);
      assert.ok(performance.now() - start >= 1_000);
      assert.deepEqual(events.map(({ type }) => type), ["limited", "retrying", "recovered"]);
      assert.equal(events[0]?.detail.limit, 5);
    });

    for (const limit of ["short", "fixed", "smooth"]) {
      it(`keep a client at the limit "${limit}" from being refused more than now and then`, async () => {
        const headers = caller(limit);
        let refused = 0;
        const counting: typeof fetch = async (...args) => {
          const response = await fetch(...args);
          if (response.status === 429) refused += 1;
          return response;
        };
        const limited = createRateLimitFetch({ fetch: counting });
        const end = performance.now() + 4_500;
        let done = 0;
        const work = async () => {
          while (performance.now() < end) {
            const response = await limited(target.url, { headers });
            await response.arrayBuffer();
            if (response.ok) done += 1;
          }
        };
        await Promise.all([work(), work(), work(), work()]);
        assert.ok(refused <= 2 + done * 0.05, `${refused} refused, ${done} done`);
        assert.ok(done >= 8, `${done} done`);
      });
    }
  });

describe("against Envoy with Headgate", { concurrency: true }, () => {
  answers("default");
  answers("ietf");
});
