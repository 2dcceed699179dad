// The limits that the tests run against, by the header that names the caller. Headgate takes them as its policy; the
// stand-in reads the same table.

import type { Algorithm } from "./limiter.js";

export interface TestLimit {
  /** The caller shows its name in the header `x-<name>`. */
  name: string;
  limit: number;
  /** Seconds. */
  window: number;
  algorithm: Algorithm;
}

export const LIMITS: readonly TestLimit[] = [
  { name: "storm", limit: 100, window: 10, algorithm: "log" },
  { name: "short", limit: 5, window: 2, algorithm: "log" },
  { name: "long", limit: 5, window: 60, algorithm: "log" },
  { name: "fixed", limit: 10, window: 2, algorithm: "fixed" },
  { name: "smooth", limit: 120, window: 2, algorithm: "counter" },
  { name: "demo", limit: 8, window: 4, algorithm: "log" },
];

/** How answers show quotas: as Headgate does by default, or by the IETF draft and with a relative reset. */
export type Form = "default" | "ietf";

export const RESPONSE: Record<Form, object> = {
  default: {},
  ietf: { headers: ["x-ratelimit", "ietf"], reset: "delta" },
};

const ALGORITHM_NAMES: Record<Algorithm, string> = {
  log: "sliding_window_log",
  fixed: "fixed_window",
  counter: "sliding_window_counter",
  gcra: "gcra",
};

/** Headgate's configuration for these limits. */
export function headgatePolicy(form: Form): object {
  return {
    identify: LIMITS.map(({ name }) => ({ name, header: `x-${name}` })),
    limits: LIMITS.map(({ name, limit, window, algorithm }) => ({
      name,
      rate: `${limit}/${window}s`,
      algorithm: ALGORITHM_NAMES[algorithm],
      match: { source: [name] },
    })),
    redis: { timeout: "5s" }, // a busy machine must not let calls pass uncounted
    on_error: "allow",
    response: RESPONSE[form],
  };
}
