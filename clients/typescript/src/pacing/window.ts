// What kind of window a policy has and how long it is, derived from the reported resets, for servers that
// don't report it. Resets are whole seconds, so differences below TOLERANCE mean nothing.

/** Ms. */
const TOLERANCE = 1_100;
/** Ms between two answers that are compared. */
const APART = 2_200;

interface Observation {
  time: number;
  resetAt: number;
  remaining: number;
  /** Calls of our own that passed since. */
  own: number;
}

export class WindowGuess {
  private anchor: Observation | undefined;
  private votes = 0;
  private returns = false;
  private shortest = Infinity;
  private longest = 0;

  /** The quota comes back all at once, at the reset: a fixed window. Else it comes back bit by bit. */
  get stepped(): boolean {
    return this.votes > 0 && !this.returns;
  }

  /** A sliding window counter: what was used in one window comes back evenly during the next. */
  get weighed(): boolean {
    return this.returns;
  }

  /** The window in ms, estimated from the resets. */
  get length(): number {
    // A sliding window log's reset is always one window away, a fixed window's at most, and that of a sliding
    // window counter, which weighs the last window against this one, between one and two.
    if (this.returns) return this.longest / 2;
    return this.votes < 0 && this.shortest < Infinity ? this.shortest : this.longest;
  }

  /** A call of our own has passed. */
  passed(): void {
    if (this.anchor) this.anchor.own += 1;
  }

  /**
   * @param reset ms until the quota is whole
   * @param latency ms that the answer took: it may be so old
   * @param window ms, if the server reports it
   */
  observe(time: number, remaining: number, reset: number, latency: number, window: number | undefined): void {
    const resetAt = time + reset;
    this.longest = Math.max(this.longest, reset, 1_000);
    this.shortest = Math.min(this.shortest, Math.max(reset + latency, 1_000));
    if (window !== undefined && reset > window + TOLERANCE) this.returns = true;
    if (!this.anchor) {
      if (window !== undefined && reset < window - TOLERANCE) this.votes = 1;
      this.anchor = { time, resetAt, remaining, own: 0 };
      return;
    }
    const passed = time - this.anchor.time;
    if (passed < APART) return;
    const moved = resetAt - this.anchor.resetAt;
    // More left than there can be if nothing came back, although the reset is still to come.
    if (moved < TOLERANCE && remaining > this.anchor.remaining - this.anchor.own) this.returns = true;
    const slides = Math.abs(moved - passed) < TOLERANCE;
    this.votes = Math.max(-2, Math.min(2, this.votes + (slides ? -1 : 1)));
    if (!slides) this.shortest = Infinity;
    this.anchor = { time, resetAt, remaining, own: 0 };
  }
}
