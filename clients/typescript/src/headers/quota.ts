// The quotas in an answer: RateLimit and RateLimit-Policy where they are there and sound, for they name
// every policy; else X-RateLimit-*. What makes no sense is as good as missing.

import { parseList, type BareItem } from "./structured.js";
import { serverTime } from "./retry-after.js";

export interface Quota {
  /** Identifies a policy of an origin. */
  policy: string;
  /** Calls in a window; `undefined` where only `RateLimit` came. */
  limit: number | undefined;
  /** Calls left. */
  remaining: number;
  /** Milliseconds until the whole quota is available again without further calls; `undefined` if the server does not report it. */
  reset: number | undefined;
  /** The window's length in ms, if the policy contains it. */
  window: number | undefined;
}

/** draft-ietf-httpapi-ratelimit-headers-11. Later drafts may rename parameters: their names are nowhere else. */
const PARAM = { quota: "q", window: "w", remaining: "r", reset: "t", partition: "pk" } as const;

/** Longer than any window that makes sense: 366 days, in ms. */
const TOO_LONG = 366 * 86_400_000;

export function readQuotas(headers: Headers, wall: number): Quota[] {
  const quotas = readRateLimit(headers);
  if (quotas.length > 0) return quotas;
  const quota = readXRateLimit(headers, wall);
  return quota ? [quota] : [];
}

function readRateLimit(headers: Headers): Quota[] {
  const policies = new Map<string, { limit: number; window: number | undefined }>();
  for (const { item, params } of parseList(headers.get("ratelimit-policy") ?? "") ?? []) {
    const limit = count(params.get(PARAM.quota));
    if (item.type !== "string" || limit === undefined) continue;
    policies.set(item.value, { limit, window: seconds(params.get(PARAM.window)) || undefined });
  }
  const quotas: Quota[] = [];
  for (const { item, params } of parseList(headers.get("ratelimit") ?? "") ?? []) {
    const remaining = count(params.get(PARAM.remaining));
    if (item.type !== "string" || remaining === undefined) continue;
    const policy = policies.get(item.value);
    const partition = params.get(PARAM.partition);
    quotas.push({
      policy: partition?.type === "bytes" ? `${item.value} ${partition.value}` : item.value,
      limit: policy?.limit,
      remaining,
      reset: seconds(params.get(PARAM.reset)),
      window: policy?.window,
    });
  }
  return quotas;
}

/** These show one policy at a time, the tightest, and do not name it: its limit must do for a name. */
function readXRateLimit(headers: Headers, wall: number): Quota | undefined {
  const limit = leadingInteger(headers.get("x-ratelimit-limit"));
  const remaining = leadingInteger(headers.get("x-ratelimit-remaining"));
  if (limit === undefined || remaining === undefined) return undefined;
  const reset = leadingInteger(headers.get("x-ratelimit-reset"));
  const relative = reset === undefined ? undefined : untilReset(reset, serverTime(headers, wall));
  return { policy: `limit ${limit}`, limit, remaining, reset: relative, window: undefined };
}

/** A time since 1970 in seconds, or in ms, or seconds from now: no window is 30 years long, so the size decides. */
function untilReset(value: number, now: number): number | undefined {
  const ms = value >= 1e12 ? value - now : value >= 1e9 ? value * 1000 - now : value * 1000;
  return ms > TOO_LONG ? undefined : Math.max(0, ms);
}

/** Some add more after the number: `100, 100;w=60`. */
function leadingInteger(text: string | null): number | undefined {
  const digits = /^\s*(\d{1,15})\s*(?:[,;].*)?$/.exec(text ?? "")?.[1];
  return digits === undefined ? undefined : Number(digits);
}

function count(value: BareItem | undefined): number | undefined {
  return value?.type === "integer" && value.value >= 0 ? value.value : undefined;
}

function seconds(value: BareItem | undefined): number | undefined {
  const s = count(value);
  return s === undefined || s * 1000 > TOO_LONG ? undefined : s * 1000;
}
