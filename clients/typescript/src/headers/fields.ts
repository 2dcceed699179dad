// Which header fields carry figures of a quota, and which quota they are about. The table in the README lists them.

import { members } from "./figures.js";

/** The figures of one quota, as they are written. */
export interface Fields {
  /** What the server calls the quota, as far as the fields' names show: `requests`, `minute`; "" for the only one. */
  unit: string;
  /** The window's length in ms, if the fields' names contain it. */
  window: number | undefined;
  limit?: string;
  remaining?: string;
  used?: string;
  /** The fields that say when the quota is back, the best one first. */
  resets: (string | undefined)[];
}

const KINDS = "limit|remaining|used|observed|reset-after|reset|resettime";
const FAMILY = "(?<family>x-ratelimit|x-rate-limit|ratelimit)";
/** In the order in which they are tried. */
const NAMES = [
  `${FAMILY}-(?<kind>${KINDS})(?:-(?<unit>.+))?`, // most; OpenAI has `-requests`, Kong `-minute`
  `${FAMILY}-(?<unit>.+)-(?<kind>limit|remaining|reset)`, // RapidAPI
  "(?<family>anthropic)-(?:ratelimit|priority)-(?<unit>.+)-(?<kind>limit|remaining|reset)",
  "(?<family>x-app|x-user)-limit-(?<unit>24hour)-(?<kind>limit|remaining|reset)", // X
].map((name) => new RegExp(`^${name}$`));

/** The last word of a unit: Kong's `minute`, Mistral's `tokens-minute`. Months and years have no fixed length. */
const WINDOWS: Record<string, number> = { second: 1_000, minute: 60_000, hour: 3_600_000, day: 86_400_000, "24hour": 86_400_000 };

/** Shopify's bucket is empty after this many ms: 40 at 2 a second, 80 at 4, 400 at 20. */
const SHOPIFY_WINDOW = 20_000;

/** Fields that name the quota: GitHub's resource, GitLab's name, IBM's policy. */
const LABELS = ["x-ratelimit-resource", "ratelimit-name", "x-ratelimit-name", "x-rate-limit-policy"];
/** Discord's bucket is one for all channels, but each channel has a counter of its own: a name, but not a full one. */
const BUCKET = "x-ratelimit-bucket";

/** Longer names are cut: they are kept. */
const LONGEST_NAME = 128;

/** The fields of each quota, by family and unit. */
export function fieldsOf(headers: Headers): Fields[] {
  const found = new Map<string, Fields>();
  headers.forEach((value, name) => {
    const shopify = /^(?:x|http_x)[-_]shopify[-_]shop[-_]api[-_]call[-_]limit$/.test(name) && bucketOf(value);
    if (shopify) found.set("shopify", shopify);
    const { family = "", kind = "", unit = "" } = match(name) ?? {};
    if (kind === "") return;
    const own = family.startsWith("x-app") || family.startsWith("x-user") ? `${family.slice(2)} ${unit}` : unit;
    const key = `${family} ${own}`;
    const fields = found.get(key) ?? { unit: own, window: WINDOWS[unit.split("-").pop() ?? ""], resets: [undefined, undefined, undefined] };
    found.set(key, fields);
    if (kind === "limit" || kind === "remaining") fields[kind] = value;
    else if (kind === "used" || kind === "observed") fields.used = value;
    else fields.resets[["reset-after", "reset", "resettime"].indexOf(kind)] = value;
  });
  return [...found.values()];
}

/** What the server calls the quota, and whether that is its full name. */
export function labelOf(headers: Headers): { label: string; full: boolean } {
  for (const name of LABELS) {
    const label = headers.get(name)?.trim();
    if (label) return { label: label.slice(0, LONGEST_NAME), full: true };
  }
  return { label: headers.get(BUCKET)?.trim().slice(0, LONGEST_NAME) ?? "", full: false };
}

function match(name: string): Record<string, string> | undefined {
  if (!name.includes("limit-") || LABELS.includes(name)) return undefined;
  for (const pattern of NAMES) {
    const groups = pattern.exec(name)?.groups;
    if (groups) return groups;
  }
  return undefined;
}

/** `32/40`: used, and the bucket's size. It leaks evenly. */
function bucketOf(value: string): Fields | undefined {
  const [, used, limit] = /^(\d{1,15})\/(\d{1,15})$/.exec(members(value)[0] ?? "") ?? [];
  if (!used || !limit || Number(limit) === 0) return undefined;
  const seconds = (Number(used) / Number(limit)) * (SHOPIFY_WINDOW / 1_000);
  return { unit: "shopify", window: SHOPIFY_WINDOW, limit, used, resets: [`${seconds.toFixed(3)}`] };
}
