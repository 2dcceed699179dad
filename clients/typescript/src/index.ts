export { createRateLimitFetch, type RateLimitFetch } from "./fetch.js";
export type { RateLimitFetchOptions, RetryOptions, PacingOptions } from "./options.js";
export type { CircuitOptions } from "./circuit.js";
export type {
  RateLimitEvent,
  RateLimitEventMap,
  RateLimitEvents,
  RateLimitDetail,
  LimitedDetail,
  RetryingDetail,
  RecoveredDetail,
} from "./events.js";
export { RateLimitError, CircuitOpenError, QuotaWaitError } from "./errors.js";
export { cacheApi, isStale, type StaleCache } from "./cache.js";
export { readQuotas, type Quota } from "./headers/quota.js";
export { readRetryAfter } from "./headers/retry-after.js";
export type { Clock } from "./clock.js";
