// Quotas that are not counted in calls, such as tokens, in calls: by what a call has cost lately. If others use the
// quota too, a call seems to cost more, which is careful.

import type { Quota } from "../headers/quota.js";

/** Calls over which the mean is taken: a mean that moves much would look as if others came and went. */
const MEMORY = 50;
/** Part of the limit that a first call is taken to cost at most: what is used may have been used before it. */
const FIRST_AT_MOST = 0.02;

export class Cost {
  private cost: number | undefined;
  private calls = 1;
  private remaining = 0;

  /** The same quota in calls. */
  inCalls(quota: Quota): Quota {
    const limit = quota.limit ?? Math.max(quota.remaining, this.remaining);
    if (this.cost === undefined) this.cost = Math.min(limit - quota.remaining, limit * FIRST_AT_MOST);
    else if (quota.remaining < this.remaining) {
      this.calls = Math.min(MEMORY, this.calls + 1);
      this.cost += (this.remaining - quota.remaining - this.cost) / this.calls;
    } // else some came back, and nothing is learnt
    this.remaining = quota.remaining;
    const cost = Math.max(1, this.cost);
    const calls = (units: number) => Math.floor(units / cost);
    return { ...quota, limit: quota.limit && Math.max(1, calls(quota.limit)), remaining: calls(quota.remaining) };
  }
}
