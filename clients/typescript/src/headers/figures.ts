// How the numbers and times of rate-limit headers are written: `98`, `98.0`, `1.5`, `6m0s`, a Unix time in seconds or
// in ms, a date. A number that can be read in two ways (`1,000`) is not read at all.

import { parseDate } from "./date.js";

/** Longer than any window that makes sense: 366 days, in ms. */
const TOO_LONG = 366 * 86_400_000;
/** Ms; a wait that is longer counts as this long, about 3,000 years. Dates can still be made of it. */
const LONGEST = 1e14;

const DAY_NAME = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*";
const MEMBER = new RegExp(`\\s*(?:${DAY_NAME},)?[^,]+`, "gi");
const THOUSANDS = /^\d{1,3}(?:,\d{3})+(?!\d)/;
/** `100,100;w=60`: a number and its policy, as some write it without a space. */
const OWN_POLICY = /^(\d+),\1;/;
const UNITS = /^(?:([\d.]+)d)?(?:([\d.]+)h)?(?:([\d.]+)m(?!s))?(?:([\d.]+)s)?(?:([\d.]+)ms)?$/;
const MS = [86_400_000, 3_600_000, 60_000, 1_000, 1];

/** The members of a field that is a list, or that came several times and was joined. Dates keep their comma. */
export function members(field: string | null | undefined): string[] {
  const text = field?.trim() ?? "";
  if (THOUSANDS.test(text) && !OWN_POLICY.test(text)) return [];
  return (text.match(MEMBER) ?? []).map((member) => member.trim());
}

/** A number without sign, exponent and separators; a fraction is fine. */
export function decimal(text: string): number | undefined {
  return /^(?:\d+\.?\d*|\.\d+)$/.test(text) ? Number(text) : undefined;
}

/** Calls: the whole part of a number of at most 15 digits. */
export function count(text: string): number | undefined {
  const number = decimal(text);
  return number === undefined || number >= 1e15 ? undefined : Math.floor(number);
}

/** Ms from now until a quota resets; `undefined` where it makes no sense. @param now the server's time */
export function untilReset(text: string, now: number): number | undefined {
  const number = decimal(text);
  const ms = number === undefined ? (duration(text) ?? fromDate(text, now)) : bySize(number, now);
  return ms === undefined || ms > TOO_LONG ? undefined : roundUp(ms);
}

/** Ms to wait, by a `Retry-After`: a number is in seconds, however large it is. @param now the server's time */
export function untilRetry(text: string, now: number): number | undefined {
  const seconds = decimal(text);
  const ms = seconds === undefined ? (duration(text) ?? fromDate(text, now)) : seconds * 1000;
  return ms === undefined ? undefined : roundUp(ms);
}

/** `seconds` in ms, where it is a sensible length of a window or time until a reset. */
export function sensible(seconds: number | undefined): number | undefined {
  return seconds === undefined || seconds < 0 || seconds * 1000 > TOO_LONG ? undefined : roundUp(seconds * 1000);
}

/** Whole ms, never less than was said. */
export function roundUp(ms: number): number {
  return Math.min(LONGEST, Math.max(0, Math.ceil(ms)));
}

/** Seconds from now, or a time since 1970 in s, ms, µs or ns: no window is 30 years long, so the size decides. */
function bySize(value: number, now: number): number {
  if (value < 1e9) return value * 1000;
  if (value >= 1e19) return Infinity;
  let ms = value < 1e12 ? value * 1000 : value;
  while (ms >= 1e15) ms /= 1000;
  return ms - now;
}

/** `1s`, `20ms`, `6m0s`, `1h2m3.5s` in ms. */
function duration(text: string): number | undefined {
  const parts = /\d/.test(text) ? UNITS.exec(text)?.slice(1) : undefined;
  if (!parts) return undefined;
  let sum = 0;
  for (const [i, part] of parts.entries()) sum += part === undefined ? 0 : (decimal(part) ?? NaN) * (MS[i] ?? 0);
  return Number.isNaN(sum) ? undefined : sum;
}

function fromDate(text: string, now: number): number | undefined {
  const date = parseDate(text, now);
  return date === undefined ? undefined : date - now;
}
