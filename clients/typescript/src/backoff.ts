// How long to wait before a retry, and whether there may be one. Two budgets: one for the call, one for the session,
// so that retries stay a small share of the traffic even when everything is refused.

export interface Backoff {
  /** Ms of the first wait's spread. It doubles with every retry. */
  base: number;
  /** Ms beyond which the spread does not grow. */
  cap: number;
}

/**
 * Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", 2015) on top of the floor that
 * the server set: never earlier than that, and callers with the same Retry-After are spread.
 *
 * @param attempt 0 before the first retry
 * @param floor ms, from Retry-After
 * @param left ms that the call may still wait
 * @returns ms between `floor` and `left`; `undefined` where the floor alone is more than is left
 */
export function retryDelay(
  { base, cap }: Backoff,
  attempt: number,
  floor: number,
  left: number,
  random: () => number,
): number | undefined {
  if (floor > left) return undefined;
  return Math.min(left, floor + random() * Math.min(cap, base * 2 ** Math.min(attempt, 60)));
}

/** Every call earns a share of a retry, every retry costs a whole one: at most `burst + share × calls` retries. */
export class RetryBudget {
  private tokens: number;

  constructor(
    private readonly share: number,
    private readonly burst: number,
  ) {
    this.tokens = burst;
  }

  earn(): void {
    this.tokens = Math.min(this.burst, this.tokens + this.share);
  }

  spend(): boolean {
    // sums of shares such as 0.2 end just below a whole number
    if (this.tokens < 1 - 1e-9) return false;
    this.tokens -= 1;
    return true;
  }
}
