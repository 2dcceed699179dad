// The circuit breaker of one origin: after consecutive refusals it fails calls at once, and sends one as a probe
// from time to time.

export interface CircuitOptions {
  /** Consecutive refusals after which it opens. */
  failures: number;
  /** Ms until the first probe; doubles while probes fail. */
  cooldown: number;
  /** Ms; the longest cooldown, unless Retry-After is longer. */
  maxCooldown: number;
}

export class Circuit {
  private failures = 0;
  private lastFailure = -Infinity;
  private opens = 0;
  private openedAt = 0;
  private probeAt = 0;
  private probing = false;

  constructor(
    private readonly options: CircuitOptions,
    private readonly random: () => number,
  ) {}

  get open(): boolean {
    return this.opens > 0;
  }

  /** Ms until the next probe may go; 0 where it may go now, or the circuit is closed. */
  untilProbe(now: number): number {
    return this.open ? Math.max(0, this.probeAt - now) : 0;
  }

  /** Whether a call may go out. While open, the first one after the cooldown may: the probe. */
  admit(now: number): "pass" | "probe" | "refuse" {
    if (!this.open) return "pass";
    if (this.probing || now < this.probeAt) return "refuse";
    this.probing = true;
    return "probe";
  }

  /** A probe that ended without an answer, aborted or not sent: the next call is the probe. */
  release(): void {
    this.probing = false;
  }

  success(sentAt: number): void {
    if (this.open && sentAt < this.openedAt) return; // sent before it opened
    this.failures = 0;
    this.opens = 0;
    this.probing = false;
  }

  /**
   * Counts a refusal. Refusals of calls that were in flight together count as one.
   *
   * @param floor ms, from Retry-After
   * @returns whether the circuit opens with it, for the first time or again
   */
  failure(sentAt: number, now: number, floor: number): boolean {
    if (sentAt < this.lastFailure) return false;
    this.lastFailure = now;
    this.failures += 1;
    if (this.failures < this.options.failures && !this.open) return false;
    this.probing = false;
    this.opens += 1;
    this.openedAt = now;
    const { cooldown, maxCooldown } = this.options;
    const backoff = cooldown * 2 ** (this.opens - 1) * (0.5 + this.random() / 2);
    this.probeAt = now + Math.max(floor, Math.min(maxCooldown, backoff));
    return true;
  }
}
