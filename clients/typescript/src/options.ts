// What can be set, what it is otherwise, and what is refused.

import type { Backoff } from "./backoff.js";
import type { StaleCache } from "./cache.js";
import { MAX_TIMER, systemClock, type Clock } from "./clock.js";
import type { CircuitOptions } from "./circuit.js";
import type { RateLimitEvent } from "./events.js";

export interface RetryOptions extends Backoff {
  /** Retries of one call. Default 3. */
  limit: number;
  /** Retries that the session may make for each call, on the average. Default 0.2. */
  share: number;
  /** Retries that the session may make beyond that. Default 10. */
  burst: number;
}

export interface PacingOptions {
  /** Part of the limit; when less is left, calls are spaced. 0 to 1, default 0.5. */
  below: number;
  /** Ms that a call may be held back on our own guess; then it is tried all the same. Default half of `maxWait`. */
  maxDelay: number;
}

export interface RateLimitFetchOptions {
  /** The fetch to wrap. Default: the global one. */
  fetch?: typeof globalThis.fetch | undefined;
  /** Ms that one call waits at most in total, whatever the server sends. Default 30,000. */
  maxWait?: number | undefined;
  /** Default: 3 retries, waits of 500 ms at first and 20 s at most on top of Retry-After. `false`: none. */
  retry?: Partial<RetryOptions> | false | undefined;
  /** `false`: calls are held back only by the server's word. */
  pacing?: Partial<PacingOptions> | false | undefined;
  /** Default: opens after 5 refusals in a row for 5 s, 60 s at most. `false`: never opens. */
  circuit?: Partial<CircuitOptions> | false | undefined;
  /** Where stale answers come from when limits persist; see `cacheApi`. */
  cache?: StaleCache | undefined;
  /** With a cache: ms of waiting after which a stale answer is better than none yet. Default 5,000. */
  staleAfter?: number | undefined;
  /** Where events go: one for several wrappers, say. Default: an EventTarget of its own. */
  events?: EventTarget | undefined;
  onEvent?: ((event: RateLimitEvent) => void) | undefined;
  clock?: Clock | undefined;
  /** Numbers in [0, 1). */
  random?: (() => number) | undefined;
}

export interface Settings {
  fetch: typeof globalThis.fetch;
  maxWait: number;
  retry: RetryOptions;
  pacing: PacingOptions | undefined;
  circuit: CircuitOptions | undefined;
  cache: StaleCache | undefined;
  staleAfter: number;
  clock: Clock;
  random: () => number;
}

const RETRY: RetryOptions = { limit: 3, base: 500, cap: 20_000, share: 0.2, burst: 10 };
const NO_RETRY: RetryOptions = { ...RETRY, limit: 0 };
const CIRCUIT: CircuitOptions = { failures: 5, cooldown: 5_000, maxCooldown: 60_000 };

/** @throws RangeError that names the option */
export function resolve(options: RateLimitFetchOptions): Settings {
  const maxWait = options.maxWait ?? 30_000;
  const pacing: PacingOptions = { below: 0.5, maxDelay: maxWait / 2, ...given(options.pacing) };
  const circuit = { ...CIRCUIT, ...given(options.circuit) };
  const settings: Settings = {
    // looked up with every call: tests and tracers replace the global one
    fetch: options.fetch ?? ((input, init) => globalThis.fetch(input, init)),
    maxWait,
    retry: options.retry === false ? NO_RETRY : { ...RETRY, ...given(options.retry) },
    pacing: options.pacing === false ? undefined : pacing,
    circuit: options.circuit === false ? undefined : circuit,
    cache: options.cache,
    staleAfter: options.staleAfter ?? 5_000,
    clock: options.clock ?? systemClock,
    random: options.random ?? Math.random,
  };
  check("maxWait", maxWait, 0, MAX_TIMER);
  check("staleAfter", settings.staleAfter, 0, MAX_TIMER);
  const { retry } = settings;
  check("retry.limit", retry.limit, 0, 100);
  check("retry.base", retry.base, 0, MAX_TIMER);
  check("retry.cap", retry.cap, 0, MAX_TIMER);
  check("retry.share", retry.share, 0, 1);
  check("retry.burst", retry.burst, 0, 1e6);
  check("pacing.below", pacing.below, 0, 1);
  check("pacing.maxDelay", pacing.maxDelay, 0, MAX_TIMER);
  check("circuit.failures", circuit.failures, 1, 1e6);
  check("circuit.cooldown", circuit.cooldown, 0, MAX_TIMER);
  check("circuit.maxCooldown", circuit.maxCooldown, 0, MAX_TIMER);
  return settings;
}

function given<T extends object>(options: T | false | undefined): Partial<T> {
  if (!options) return {};
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}

function check(name: string, value: number, least: number, most: number): void {
  if (typeof value === "number" && value >= least && value <= most) return;
  throw new RangeError(`${name} is ${value}; it must be a number from ${least} to ${most}`);
}
