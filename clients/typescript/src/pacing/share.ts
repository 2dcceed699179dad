// How much of a policy's traffic is ours. Servers don't say; but between two answers we know what we sent, and
// `remaining` tells what all have sent.

/** Calls of all clients after which older evidence hardly counts. */
const MEMORY = 8;
/** Growth of the estimate from one answer to the next, once it is settled. */
const GROWTH = 1.5;
/** Part of a window that it takes to settle. */
const SETTLED = 0.25;

export class Share {
  private estimate = 1;
  private first = -Infinity;
  private last = -Infinity;
  private used = 0;
  private ours = 0;
  private sent = 0;
  private all = 0;
  private told = 0;

  /** From 0 to 1. */
  get value(): number {
    return this.estimate;
  }

  /** Answers since which the estimate rests on more than a first look. */
  get news(): number {
    return this.told;
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
    this.told += 1;
    if (this.told === 1) {
      // Who else called before we did, or whether it was we, before a reload, cannot be known. Careful it is.
      this.first = now;
      this.estimate = Math.min(1, (own + inFlight) / Math.max(1, used));
      return;
    }
    // What came back meanwhile was used again, or `used` would have fallen more. Of ours we know when it came back;
    // what others used comes back in its time, as far as we can tell evenly.
    const returned = window === Infinity ? 0 : Math.max(0, before.ours + own - ours);
    const others = (Math.max(0, before.used - before.ours - inFlight) * passed) / window;
    const all = Math.max(0, used - before.used + returned + others);
    const sent = Math.max(own, Math.min(all, own + inFlight));
    const keep = Math.max(0, 1 - Math.max(sent, all) / MEMORY);
    this.sent = this.sent * keep + sent;
    this.all = this.all * keep + all;
    const share = Math.min(1, this.sent / Math.max(1e-9, this.all));
    const unsettled = now - this.first < window * SETTLED;
    this.estimate = unsettled ? share : Math.min(share, this.estimate * GROWTH);
  }
}
