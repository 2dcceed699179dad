// The law by which calls under one policy are spaced before the server refuses any. It knows only what answers say
// (limit, remaining, reset) and which calls of our own passed. Whether others share the quota it must infer.
//
// The law, in one sentence: repeat what passed one window ago, and take your share of the surplus.
//
//   speed(t) = own(t − window)  +  share × (remaining − reserve) / horizon
//
// - Repeating is safe without a word between clients: what each of them had in the last window comes back to it in
//   this one, in a sliding window exactly then. All together ask for what passed, never more. (In a fixed window
//   everything comes back at the reset, so there the first term is dropped and the horizon ends with the window.)
// - The surplus is what nobody used. `share` is our part of the calls that were counted, own / (limit − remaining):
//   the shares of all clients add up to one, so together they spend the surplus once. Alone, a client spends it soon;
//   one of many may have stale news, its last answer being old, and spends it slowly.
// - The reserve keeps a little free for newcomers. Below it everybody repeats somewhat less.
// - While more than the part `below` of the limit is left and nobody else seems to be there, nothing is spaced.
//
// Speed is turned into calls by credit: one call, one credit. Refused calls never enter the history, so a client that
// is refused takes less afterwards.

import { History } from "./history.js";
import { WindowGuess } from "./window.js";
import type { Quota } from "../headers/quota.js";

/** Windows over which the surplus is spent: alone, and as one of very many. */
const HORIZON = { alone: 0.2, shared: 2 };
/** Ms: longer windows are treated as if they were this long, or half a day's quota would be spread until midnight. */
const LONGEST_HORIZON = 300_000;
/** Parts of the limit that are left free. */
const RESERVE = { alone: 0.01, shared: 0.05 };
/** Part of the repetition that is left out when nothing is left. */
const BACK_OFF = 0.5;
/** Part of a window over which the repetition is smoothed: after a start in a crowd the crowd disperses. */
const SPREAD = 0.5;
/** Repetition is no faster than this many times the limit's own pace: bursts wear off. */
const TOP_SPEED = 2;
/** From this share on we take ourselves to be alone. */
const ALONE = 0.5;

export class Pace {
  private limit = 0;
  private history = new History(1_000);
  private readonly guess = new WindowGuess();
  private known = false;

  private credit = 0;
  private advanced = 0;

  private share = 1;
  private estimated = false;
  private remaining = 0;
  private reset = 0;
  private resetAt = Infinity;
  private stale = true;
  private newest = -Infinity;
  /** Own calls that passed since the last news, and in this window; and what had been used then. */
  private own = 0;
  private ownInWindow = 0;
  private used = 0;

  private hold = -Infinity;
  private held = false;

  /** @param below part of the limit; pacing begins when less is left */
  constructor(private readonly below: number) {}

  /** Until when the server forbade calls. */
  get heldUntil(): number {
    return this.hold;
  }

  /** Ms until a call may go out. */
  wait(now: number): number {
    if (now < this.hold) return this.hold - now;
    if (!this.known) return 0;
    this.advance(now);
    if (this.held) {
      this.held = false;
      this.credit = Math.max(1, this.credit); // the server named this moment
    }
    if (this.credit >= 1 - 1e-9) return 0;
    return this.untilCredit(now);
  }

  sent(now: number): void {
    this.advance(now);
    if (this.known) this.credit -= 1;
  }

  /**
   * A call passed, and the answer brought news.
   *
   * @param inFlight further calls of our own that are under way: what is left, is left for them first
   */
  passed(now: number, sentAt: number, quota: Quota, inFlight: number): void {
    this.learn(now, quota);
    this.advance(now);
    this.history.add(now, 1);
    this.guess.passed();
    this.own += 1;
    this.ownInWindow += 1;
    if (sentAt < this.newest) return; // overtaken by newer news
    this.newest = sentAt;
    this.observe(now, quota);
    this.estimateShare(now, inFlight);
    this.remaining = Math.max(0, this.remaining - inFlight);
    this.credit = Math.min(this.credit, this.remaining);
    this.grantBurst(now);
  }

  /**
   * A call was refused.
   *
   * @param until when the server lets the next one through
   * @param denying whether it was this policy that refused; another's refusal still brings news of this one
   */
  denied(now: number, until: number, quota: Quota, denying: boolean): void {
    this.learn(now, quota);
    this.advance(now);
    this.observe(now, quota);
    if (!denying) return;
    this.credit = Math.min(0, this.credit);
    this.hold = Math.max(this.hold, until);
    this.held = true;
  }

  private get reserve(): number {
    return this.limit * between(RESERVE, this.share);
  }

  /** Calls per ms in a slice of the history. */
  private speed(slice: number): number {
    const surplus = Math.max(0, this.remaining - this.reserve) * this.share;
    if (this.guess.stepped) return surplus / Math.max(50, Math.min(this.reset, LONGEST_HORIZON));
    const horizon = Math.min(this.history.window, LONGEST_HORIZON) * between(HORIZON, this.share);
    const lack = Math.max(0, 1 - this.remaining / Math.max(1, this.reserve));
    const again = this.history.rate(slice, SPREAD * (1 - this.share)) * (1 - BACK_OFF * lack);
    return surplus / horizon + Math.min(again, (TOP_SPEED * this.limit) / this.history.window);
  }

  /** Brings credit up to date. */
  private advance(now: number): void {
    if (!this.known) return;
    this.advanced = Math.max(this.advanced, now - 2 * this.history.window);
    for (let slice = this.history.at(this.advanced); this.advanced < now; slice++) {
      const end = Math.min(now, (slice + 1) * this.history.slice);
      this.credit += this.speed(slice) * Math.max(0, end - this.advanced);
      this.advanced = Math.max(this.advanced, end);
    }
    this.advanced = now;
    this.credit = Math.min(this.credit, 1 + this.remaining * this.share);
    if (now >= this.resetAt && !this.stale) this.outdated(now);
  }

  /** The reset has passed without news. */
  private outdated(now: number): void {
    this.stale = true;
    this.ownInWindow = 0;
    this.used = 0;
    if (this.guess.stepped) {
      this.remaining = this.limit;
      this.reset = this.history.window;
      this.grantBurst(now);
    } else {
      this.credit = Math.max(1, this.credit); // for a call that brings news
    }
  }

  private untilCredit(now: number): number {
    let credit = this.credit;
    let time = now;
    for (let slice = this.history.at(now); time < now + 2 * this.history.window; slice++) {
      const end = Math.max(time, (slice + 1) * this.history.slice);
      const speed = this.speed(slice);
      if (credit + speed * (end - time) >= 1) return Math.max(1, time - now + (1 - credit) / speed);
      credit += speed * (end - time);
      time = end;
      if (!this.stale && time >= this.resetAt) return Math.max(1, this.resetAt - now);
    }
    return time - now;
  }

  /** Limit and window, which may be new to us or may have changed. */
  private learn(now: number, quota: Quota): void {
    this.limit = Math.max(1, quota.limit ?? Math.max(this.limit, quota.remaining));
    const reset = quota.reset ?? quota.window ?? this.history.window;
    this.guess.observe(now, quota.remaining, reset, quota.window);
    const window = Math.max(1_000, quota.window ?? this.guess.length);
    if (Math.abs(window - this.history.window) > 1) this.history = this.history.resized(window, now);
    if (this.known) return;
    this.known = true;
    this.advanced = now;
  }

  private observe(now: number, quota: Quota): void {
    this.remaining = quota.remaining;
    this.reset = quota.reset ?? quota.window ?? this.history.window;
    this.resetAt = now + this.reset;
    this.stale = false;
  }

  private estimateShare(now: number, inFlight: number): void {
    const used = Math.max(1, this.limit - this.remaining);
    const passed = this.guess.stepped ? this.ownInWindow : this.history.total(now);
    let share = Math.min(1, (passed + inFlight) / used);
    // What was used since the last news tells sooner that there are others, and nothing when as much came back.
    const own = this.own + inFlight;
    const all = used - this.used;
    if (this.estimated && all > own && all >= 2) share = Math.min(share, own / all);
    this.own = 0;
    this.used = used;
    // Upwards slowly while little is used, for then the estimate is rough.
    const weight = !this.estimated || share < this.share ? 1 : Math.max(0.2, used / this.limit);
    this.share += weight * (share - this.share);
    this.estimated = true;
  }

  /** Alone, with plenty left: no spacing. At most as many calls at once as passed lately, so a wrong guess is cheap. */
  private grantBurst(now: number): void {
    if (this.share < ALONE) return;
    const plenty = Math.floor(this.share * (this.remaining - this.limit * this.below));
    this.credit = Math.max(this.credit, Math.min(plenty, Math.max(1, this.history.total(now))));
  }
}

function between(ends: { alone: number; shared: number }, share: number): number {
  return ends.shared + (ends.alone - ends.shared) * share;
}
