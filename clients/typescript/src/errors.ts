// What a call rejects with when it was not sent, or not sent again. A refusal that ends a call is a Response.

export abstract class RateLimitError extends Error {
  constructor(
    message: string,
    /** The call's URL. */
    readonly url: string,
    /** Milliseconds after which another try has a chance. */
    readonly delay: number,
    /** When that is, by our clock. */
    readonly retryAt: Date,
  ) {
    super(message);
  }
}

/** The origin answered 429 or 503 again and again; calls fail at once until a probe passes. */
export class CircuitOpenError extends RateLimitError {
  override readonly name = "CircuitOpenError";

  constructor(url: string, delay: number, wall: number) {
    super(`the origin of ${url} keeps refusing calls; next probe in ${Math.ceil(delay)} ms`, url, delay, new Date(wall + delay));
  }
}

/** The call's turn did not come within `maxWait`, or the server lets no call through before it is over. */
export class QuotaWaitError extends RateLimitError {
  override readonly name = "QuotaWaitError";

  constructor(url: string, maxWait: number, delay: number, wall: number) {
    const hint = delay > 0 ? `; next try in ${Math.ceil(delay)} ms` : "";
    super(`no quota for ${url} within ${Math.round(maxWait)} ms${hint}`, url, delay, new Date(wall + delay));
  }
}
