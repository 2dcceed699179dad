// Retry-After (RFC 9110, section 10.2.3): seconds, or a date.

import { parseHttpDate } from "./date.js";

/** Milliseconds to wait; `undefined` where the header is missing or makes no sense. */
export function readRetryAfter(headers: Headers, wall: number): number | undefined {
  const text = headers.get("retry-after")?.trim();
  if (!text) return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text) * 1000;
  const date = parseHttpDate(text, wall);
  return date === undefined ? undefined : Math.max(0, date - serverTime(headers, wall));
}

/**
 * The server's clock, in ms since 1970: ours, unless `Date` shows that the two are apart. `Date` has whole seconds
 * and is hidden from pages of other origins, so ours is the better one wherever it is right.
 */
export function serverTime(headers: Headers, wall: number): number {
  const date = parseHttpDate(headers.get("date") ?? "", wall);
  if (date === undefined || Math.abs(date + 500 - wall) < 2_500) return wall;
  return date + 500;
}
