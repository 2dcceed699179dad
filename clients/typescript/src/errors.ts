// What a call rejects with when it was not sent at all. An answer that did come, 429 included, is a Response.

export abstract class RateLimitError extends Error {
  constructor(
    message: string,
    /** The call's URL. */
    readonly url: string,
    /** Milliseconds after which another try has a chance. */
    readonly delay: number,
  ) {
    super(message);
  }
}

/** The origin answered 429 or 503 again and again; calls fail at once until a probe passes. */
export class CircuitOpenError extends RateLimitError {
  override readonly name = "CircuitOpenError";

  constructor(url: string, delay: number) {
    super(`the origin of ${url} keeps refusing calls; next probe in ${Math.ceil(delay)} ms`, url, delay);
  }
}

/** The call's turn did not come within `maxWait`. */
export class QuotaWaitError extends RateLimitError {
  override readonly name = "QuotaWaitError";

  constructor(url: string, waited: number, delay: number) {
    super(`no quota for ${url} within ${Math.round(waited)} ms`, url, delay);
  }
}
