// Retry-After (RFC 9110, section 10.2.3), and the server's clock, by which dates are measured.

import { parseDate } from "./date.js";
import { members, untilRetry } from "./figures.js";

/**
 * Milliseconds to wait: the longest that `Retry-After` (seconds, also with a fraction, or a date) and `retry-after-ms`
 * ask for, however often they came. `undefined` where both are missing or make no sense.
 */
export function readRetryAfter(headers: Headers, wall: number): number | undefined {
  const now = earliestServerTime(headers, wall);
  const waits = members(headers.get("retry-after")).map((text) => untilRetry(text, now));
  for (const text of members(headers.get("retry-after-ms"))) waits.push(untilRetry(`${text}ms`, now));
  const sound = waits.filter((wait) => wait !== undefined);
  return sound.length > 0 ? Math.max(...sound) : undefined;
}

/**
 * The server's clock, in ms since 1970: ours, unless `Date` shows that the two are apart. `Date` has whole seconds
 * and is hidden from pages of other origins, so ours is the better one wherever it is right.
 */
export function serverTime(headers: Headers, wall: number): number {
  const date = parseDate(headers.get("date") ?? "", wall);
  if (date === undefined || Math.abs(date + 500 - wall) < 2_500) return wall;
  return date + 500;
}

/** The earliest that the server's clock may have shown, so that a wait until a date is never too short. */
export function earliestServerTime(headers: Headers, wall: number): number {
  return parseDate(headers.get("date") ?? "", wall) ?? wall;
}
