// The quotas in an answer: RateLimit and RateLimit-Policy where they are there and sound, for they name every policy;
// and the fields of one quota each, such as X-RateLimit-*. What makes no sense is as good as missing.

import { fieldsOf, labelOf, type Fields } from "./fields.js";
import { count, members, sensible, untilReset } from "./figures.js";
import { serverTime } from "./retry-after.js";
import { parseDictionary, parseList, type BareItem, type Item } from "./structured.js";

export interface Quota {
  /** Identifies a policy of an origin. */
  policy: string;
  /** Calls in a window; `undefined` where the server does not report it. */
  limit: number | undefined;
  /** Calls left. */
  remaining: number;
  /** Milliseconds until the whole quota is available again without further calls; `undefined` if the server does not report it. */
  reset: number | undefined;
  /** The window's length in ms, if the policy contains it. */
  window: number | undefined;
}

export interface Reading {
  quota: Quota;
  /** Whether the server named the quota. Otherwise another one of the same origin may look the same. */
  named: boolean;
  /** Whether it counts something else than calls: tokens, bytes. */
  units?: boolean;
}

/** draft-ietf-httpapi-ratelimit-headers-08 to -11. Later drafts may rename parameters: their names are nowhere else. */
const PARAM = { quota: "q", window: "w", remaining: "r", reset: "t", partition: "pk", unit: "qu" } as const;

/** The quotas in an answer's headers. @param wall our clock, ms since 1970 */
export function readQuotas(headers: Headers, wall: number): Quota[] {
  return readings(headers, serverTime(headers, wall)).map(({ quota }) => quota);
}

/** @param now the server's time, ms since 1970 */
export function readings(headers: Headers, now: number): Reading[] {
  const field = headers.get("ratelimit") ?? "";
  const policies = parseList(headers.get("ratelimit-policy") ?? "") ?? [];
  const structured = readRateLimit(field, policies);
  const known = structured.length > 0;
  const windows = windowsOf(headers, policies);
  const { label, full } = labelOf(headers);
  const others = [...(known || field === "" ? [] : readDictionary(field)), ...fieldsOf(headers)].flatMap((fields) => {
    if (known && fields.unit === "") return []; // the same quota, which RateLimit names
    const [named, units] = [full || fields.unit !== "", /token/.test(fields.unit)];
    return readFields(fields, now, label, windows).map((quota) => ({ quota, named, units }));
  });
  return merged([...structured, ...others]);
}

function readRateLimit(field: string, items: readonly Item[]): Reading[] {
  const policies = new Map<string, { limit: number; window: number | undefined; units: boolean }>();
  for (const { item, params } of items) {
    const limit = whole(params.get(PARAM.quota));
    if (item.type !== "string" || limit === undefined) continue;
    const unit = params.get(PARAM.unit);
    policies.set(item.value, { limit, window: seconds(params.get(PARAM.window)) || undefined, units: unit !== undefined && unit.value !== "requests" });
  }
  const found: Reading[] = [];
  for (const { item, params } of parseList(field) ?? []) {
    const remaining = whole(params.get(PARAM.remaining));
    if (item.type !== "string" || remaining === undefined) continue;
    const policy = policies.get(item.value);
    const partition = params.get(PARAM.partition);
    const quota: Quota = {
      policy: partition?.type === "bytes" ? `${item.value} ${partition.value}` : item.value,
      limit: policy?.limit,
      remaining,
      reset: seconds(params.get(PARAM.reset)),
      window: policy?.window,
    };
    found.push({ quota, named: true, units: policy?.units ?? false });
  }
  return found;
}

/** Draft 07: `limit=100, remaining=50, reset=30`. */
function readDictionary(field: string): Fields[] {
  const found = parseDictionary(field);
  const [limit, remaining, reset] = ["limit", "remaining", "reset"].map((key) => whole(found?.get(key))?.toString());
  if (remaining === undefined) return [];
  return [{ unit: "", window: undefined, ...(limit && { limit }), remaining, resets: [reset] }];
}

/** Drafts 00 to 07: windows in ms by limit, of `100;w=60` in RateLimit-Policy and in the lists of the limits. */
function windowsOf(headers: Headers, policies: readonly Item[]): Map<number, number> {
  const windows = new Map<number, number>();
  const fields = ["ratelimit-limit", "x-ratelimit-limit"].map((name) => headers.get(name) ?? "");
  const lists = fields.flatMap((field) => (field.includes(";") ? (parseList(field) ?? []) : []));
  for (const { item, params } of [...policies, ...lists]) {
    const window = seconds(params.get(PARAM.window) ?? params.get("window"));
    if (item.type === "integer" && window) windows.set(item.value, window);
  }
  return windows;
}

/** One quota; or several, where the fields came several times, from a gateway and from what is behind it, say. */
function readFields(fields: Fields, now: number, label: string, windows: ReadonlyMap<number, number>): Quota[] {
  const numbers = (texts: readonly string[]) => texts.map((text) => count(text.replace(/\s*;.*/, "")));
  const lists = members(fields.limit);
  const plain = lists.filter((text) => !text.includes(";")); // `100, 100;w=60`: what has parameters are the policies
  const limits = numbers(plain.length > 0 ? plain : lists.slice(0, 1));
  const used = numbers(members(fields.used));
  const lefts = fields.remaining === undefined ? used.map((calls) => left(limits[0], calls)) : numbers(members(fields.remaining));
  const written = fields.resets.map(members).find((texts) => texts.some((text) => untilReset(text, now) !== undefined));
  const resets = (written ?? []).map((text) => untilReset(text, now));
  if (fields.limit !== undefined && (limits.length === 0 || limits.includes(undefined))) return [];
  return lefts.flatMap((remaining, i) => {
    if (remaining === undefined) return [];
    const limit = limits.length === lefts.length ? limits[i] : limits[0];
    const reset = resets.length === lefts.length ? resets[i] : longest(resets);
    const calls = used[i] ?? used[0];
    const window = fields.window ?? windows.get(limit ?? NaN);
    return {
      policy: nameOf(label, fields.unit, limit),
      limit: limit ?? (calls === undefined ? undefined : remaining + calls),
      remaining,
      reset: within(reset, window),
      window,
    };
  });
}

/** Where nothing names the quota, its limit must do for a name. */
function nameOf(label: string, unit: string, limit: number | undefined): string {
  const number = limit === undefined ? "" : unit === "" ? `limit ${limit}` : `${limit}`;
  const name = [label, unit, label ? "" : number].filter((part) => part !== "").join(" ");
  return name === "" ? "unnamed" : name;
}

function left(limit: number | undefined, used: number | undefined): number | undefined {
  return limit === undefined || used === undefined ? undefined : Math.max(0, limit - used);
}

/** Some write a reset in ms. It shows where the window is known: no reset is more than two windows away. */
function within(reset: number | undefined, window: number | undefined): number | undefined {
  return reset !== undefined && window && reset > 2 * window + 1_000 ? Math.ceil(reset / 1_000) : reset;
}

function longest(times: readonly (number | undefined)[]): number | undefined {
  const sound = times.filter((time) => time !== undefined);
  return sound.length > 0 ? Math.max(...sound) : undefined;
}

/** One reading for each policy; where two differ, the one that asks for more care. */
function merged(all: readonly Reading[]): Reading[] {
  const readings = new Map<string, Reading>();
  for (const reading of all) {
    const { quota } = reading;
    const before = readings.get(quota.policy)?.quota;
    const reset = longest([before?.reset, quota.reset]);
    const remaining = Math.min(before?.remaining ?? Infinity, quota.remaining);
    readings.set(quota.policy, before ? { ...reading, quota: { ...before, remaining, reset } } : reading);
  }
  return [...readings.values()];
}

function whole(value: BareItem | undefined): number | undefined {
  return value?.type === "integer" && value.value >= 0 ? value.value : undefined;
}

function seconds(value: BareItem | undefined): number | undefined {
  return value?.type === "integer" || value?.type === "decimal" ? sensible(value.value) : undefined;
}
