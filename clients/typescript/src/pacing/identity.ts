// Which counter the figures of an answer are about, where the server does not name it. Two limits of 100 calls on two
// paths look the same, and so does one limit of 100 that holds for both. What tells them apart is how the figures go
// on: one counter goes 50, 49, 48; two go 50, 90, 49, 89. In doubt two counters are assumed: if they are one after all,
// its paths share it as separate clients do.

import type { Quota } from "../headers/quota.js";

/** Counters that one origin may have for one limit. */
const MAX_COUNTERS = 8;
/** How much faster than on the average a quota may be used or come back. */
const FASTER = 3;
/** Ms; for servers that report neither a reset nor a window. */
const UNKNOWN_WINDOW = 60_000;
/** Calls, and the part of the limit, by which figures may differ in any case. */
const TOLERANCE = { calls: 2, part: 0.02 };

/** What the last answer about a counter said. */
interface News {
  remaining: number;
  /** Ms of the clock. */
  at: number;
  resetAt: number;
  window: number;
}

/** A path's view: the counter that it is taken to meet, and its own last news. */
export interface Assignment {
  counter: string;
  news: News;
}

export interface Observation {
  quota: Quota;
  sentAt: number;
  now: number;
  /** Calls of ours to this origin without an answer yet. */
  inFlight: number;
  refused: boolean;
  /** How many routes meet a counter. */
  routes(counter: string): number;
  /** Whether this client seems to be the only one that uses a counter: its own calls explain all of the used quota. */
  alone(counter: string): boolean;
}

export class Identity {
  /** By the policy as it was read; in each, the counters by name, the one with the latest news last. */
  private readonly policies = new Map<string, Map<string, News>>();

  get size(): number {
    return [...this.policies.values()].reduce((counters, { size }) => counters + size, 0);
  }

  /** @param before the same route's last assignment for this policy */
  assign(seen: Observation, before: Assignment | undefined): Assignment {
    const { quota } = seen;
    const counters = this.policies.get(quota.policy) ?? new Map<string, News>();
    this.policies.set(quota.policy, counters);
    const counter = this.counter(seen, before, counters);
    const { now, sentAt } = seen;
    const known = counters.get(counter);
    const window = quota.window ?? Math.max(quota.reset ?? 0, known?.window ?? 0);
    const resetAt = now + (quota.reset ?? (window || UNKNOWN_WINDOW));
    const news = { remaining: quota.remaining, at: now, resetAt, window };
    counters.delete(counter); // to the end
    // an answer to a call from before the last news is older than these
    counters.set(counter, known && sentAt < known.at ? { ...known, remaining: Math.min(known.remaining, quota.remaining) } : news);
    return { counter, news };
  }

  /** Keeps these policies only. */
  forgetOthers(policies: ReadonlySet<string>): void {
    for (const policy of this.policies.keys()) if (!policies.has(policy)) this.policies.delete(policy);
  }

  private counter(seen: Observation, before: Assignment | undefined, counters: Map<string, News>): string {
    const { quota } = seen;
    const last = before && counters.get(before.counter);
    if (before && last) {
      const differs = this.compare(before.counter, last, seen);
      if (differs === 0 || seen.routes(before.counter) < 2) return before.counter;
      // more left than there can be: only if this route's own figures go on as if nothing else had happened
      if (differs > 0 && !continues(before.news, seen)) return before.counter;
    }
    const others = [...counters].filter(([name]) => name !== before?.counter).reverse();
    for (const [name, news] of others) if (this.compare(name, news, seen) === 0) return name;
    if (counters.size < MAX_COUNTERS) return counters.size === 0 ? quota.policy : `${quota.policy} (${counters.size + 1})`;
    return before?.counter ?? others[0]?.[0] ?? quota.policy;
  }

  private compare(counter: string, news: News, seen: Observation): -1 | 0 | 1 {
    const differs = compare(news, seen);
    return differs < 0 && !seen.refused && !seen.alone(counter) ? 0 : differs;
  }
}

/** 0 where these figures can follow those; 1 where more is left than can be, -1 where less is. */
function compare(before: News, { quota, sentAt, now, inFlight }: Observation): -1 | 0 | 1 {
  if (sentAt < before.at || now >= before.resetAt) return 0; // in no order, or all is new
  const limit = quota.limit ?? Math.max(before.remaining, quota.remaining);
  const window = quota.window ?? (Math.max(before.window, quota.reset ?? 0) || UNKNOWN_WINDOW);
  const may = (FASTER * limit * (now - before.at)) / window + TOLERANCE.calls + limit * TOLERANCE.part;
  if (quota.remaining > before.remaining + may) return 1;
  return quota.remaining < before.remaining - may - inFlight ? -1 : 0;
}

/** Whether these figures are just one call of this route later. */
function continues(own: News, { quota, sentAt, inFlight }: Observation): boolean {
  return sentAt >= own.at && Math.abs(own.remaining - 1 - quota.remaining) <= 1 + inFlight;
}
