// How much of a policy's traffic is ours. Servers don't report it; but between two answers we know what we sent, and
// `remaining` shows what all clients sent.

/** Calls of all clients after which older evidence hardly counts. */
const MEMORY = 8;
/** Growth of the estimate from one answer to the next, once it is settled. */
const GROWTH = 1.5;
/** Part of a window that it takes to settle. */
const SETTLED = 0.25;
/** Part of a window, and ms at most, before which answers show too little of what others do to take us for alone. */
const TOO_SOON = { part: 1 / 40, atMost: 2_000 };

export class Share {
  private estimate = 1;
  private first = -Infinity;
  private last = -Infinity;
  private used = 0;
  private ours = 0;
  private sent = 0;
  private all = 0;
  private answers = 0;
  /** An answer came when it was not too soon. */
  private informed = false;
  /** Calls of others between the last two answers. */
  private seenOthers = 0;

  /** From 0 to 1. */
  get value(): number {
    return this.estimate;
  }

  /** Number of answers that the estimate is based on. */
  get news(): number {
    return this.answers;
  }

  /** Whether it is too early to know, and between the last answers others did nothing. @param window ms */
  unknown(now: number, window: number): boolean {
    return now - this.first < window * SETTLED && this.seenOthers < 1;
  }

  private tooSoon(now: number, window: number): boolean {
    return now - this.first < Math.min(window * TOO_SOON.part, TOO_SOON.atMost);
  }

  /** A fixed window ended: nothing is used. */
  restart(): void {
    this.used = 0;
    this.ours = 0;
  }

  /**
   * @param used calls that count against the limit now
   * @param own our calls that were answered since the last time
   * @param inFlight our calls without an answer, of which some may count already
   * @param ours our calls that passed within the window
   * @param window ms in which what is used comes back bit by bit; Infinity in a fixed window
   */
  observe(now: number, used: number, own: number, inFlight: number, ours: number, window: number): void {
    const passed = now - this.last;
    const before = { used: this.used, ours: this.ours };
    this.last = now;
    this.used = used;
    this.ours = ours;
    this.answers += 1;
    if (this.answers === 1) {
      // Other clients, or this page before a reload, may have called before us. Assume other clients.
      this.first = now;
      this.estimate = Math.min(1, (own + inFlight) / Math.max(1, used));
      return;
    }
    // What came back meanwhile was used again, or `used` would have fallen more. Of ours we know when it came back;
    // what others used is assumed to come back evenly.
    const returned = window === Infinity ? 0 : Math.max(0, before.ours + own - ours);
    const others = (Math.max(0, before.used - before.ours - inFlight) * passed) / window;
    const all = Math.max(0, used - before.used + returned + others);
    const sent = Math.max(own, Math.min(all, own + inFlight));
    this.seenOthers = used - before.used + returned - own - inFlight;
    const keep = Math.max(0, 1 - Math.max(sent, all) / MEMORY);
    this.sent = this.sent * keep + sent;
    this.all = this.all * keep + all;
    const share = Math.min(1, this.sent / Math.max(1e-9, this.all));
    if (this.tooSoon(now, window)) {
      this.estimate = Math.min(share, this.estimate);
      return;
    }
    const settled = now - this.first >= window * SETTLED && (this.informed || all - own - inFlight >= 1);
    this.informed = true;
    this.estimate = settled ? Math.min(share, this.estimate * GROWTH) : share;
  }
}
