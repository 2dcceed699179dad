// The law by which calls under one policy are spaced before the server refuses any. It knows only what answers say
// (limit, remaining, reset) and which calls of our own passed. It has to infer whether others share the quota.
//
// The law, in one sentence: repeat what passed one window ago, and take your share of the surplus.
//
//   speed(t) = own(t − window)  +  share × (remaining − reserve) / horizon
//
// - Repeating is safe without communication between clients: what each of them had in the last window comes back to it in
//   this one, in a sliding window exactly then. All together ask for what passed, never more. (In a fixed window
//   everything comes back at the reset, so there the first term is dropped and the horizon ends with the window.)
// - The surplus is the unused part. `share` is our part of all calls (see share.ts): the shares of all clients add up
//   to one, so together they spend the surplus once. Alone, a client spends it soon; one of many may have stale news,
//   its last answer being old, and spends it slowly. What came back and is still to be repeated is no surplus.
// - The reserve keeps a little free for newcomers. Below it everybody repeats somewhat less.
// - While more than the part `below` of the limit is left, a call after an answer is not held back. If no other client
//   is detected, nothing is spaced.
//
// Speed is turned into calls by credit: one call, one credit. Refused calls never enter the history, so a client that
// is refused takes less afterwards.

import { History, spreadOf, type Spread } from "./history.js";
import { Share } from "./share.js";
import { WindowGuess } from "./window.js";
import type { Quota } from "../headers/quota.js";

/** Windows over which the surplus is spent: alone, and as one of very many. */
const HORIZON = { alone: 0.2, shared: 2.3 };
/** Ms: longer windows are treated as if they were this long, or half a day's quota would be spread until midnight. */
const LONGEST_HORIZON = 300_000;
/** Parts of the limit that are left free. */
const RESERVE = { alone: 0.01, shared: 0.03 };
/** Part of the repetition that is left out when nothing is left. */
const BACK_OFF = 0.5;
/** Part of a window over which the repetition is smoothed: after a start in a crowd the crowd disperses. */
const SPREAD = 0.15;
/** Part of that which lies before the window's end: a call's repetition is whole only at the end of its spread. */
const EARLY = 0.3;
/** Repetition is no faster than this many times the limit's own pace: bursts wear off. */
const TOP_SPEED = 2;
/** From this share on we take ourselves to be alone. */
const ALONE = 0.5;

interface Sent {
  /** Ms of the clock. */
  sentAt: number;
  /** Greater for every call. */
  order: number;
}

interface Account {
  /** Calls that may go now. */
  credit: number;
  /** Calls to repeat that came back faster than we repeat them. */
  backlog: number;
}

export class Pace {
  private limit = 0;
  private history = new History(1_000);
  private readonly guess = new WindowGuess();
  private known = false;

  private account: Account = { credit: 0, backlog: 0 };
  private advanced = 0;

  private readonly estimate = new Share();
  /** Calls left by the last answer, minus our calls in flight. */
  private reported = 0;
  private remaining = 0;
  /** Calls of ours that came back and are still to be repeated, and those in the window, at the last news. */
  private owed = 0;
  private recent = 0;
  /** Ms until the reset, and when that is; past it, without news, what we know is stale. */
  private reset = 0;
  private resetAt = Infinity;
  private stale = true;
  /** The order of the call that brought the last news. */
  private newest = -Infinity;
  /** Own calls that passed since the last news. */
  private own = 0;

  private hold = -Infinity;
  private held = false;
  /** One call may go without credit; it will be missing later. */
  private onLoan = false;

  /** @param below part of the limit; pacing begins when less is left */
  constructor(private readonly below: number) {}

  /** Whether most calls under this policy seem to be ours. */
  get alone(): boolean {
    return this.share >= ALONE;
  }

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
      this.onLoan = true; // the server named this moment
    }
    if (this.account.credit >= 1 - 1e-9 || this.onLoan) return 0;
    return this.untilCredit(now);
  }

  sent(now: number): void {
    this.advance(now);
    if (this.known) this.account.credit = Math.max(-1, this.account.credit - 1); // a debt beyond one call would only grow
    this.onLoan = false;
  }

  /** A call that was sent did not meet this policy. */
  notMet(): void {
    this.account.credit += 1;
  }

  /**
   * A call passed, and the answer brought news.
   *
   * @param inFlight further calls of our own in flight: they use what is left first
   */
  passed(now: number, call: Sent, quota: Quota, inFlight: number): void {
    this.learn(now, call, quota);
    this.advance(now);
    this.history.add((call.sentAt + now) / 2, 1); // it was counted some time between
    this.guess.passed();
    this.own += 1;
    if (call.order < this.newest) {
      this.reported = Math.min(this.reported, quota.remaining); // an older answer; but the calls that it counted are used
    } else {
      this.newest = call.order;
      this.observe(now, quota);
      this.estimateShare(now, inFlight);
    }
    this.remaining = Math.max(0, this.reported - inFlight);
    // what is not left was taken by others, or by us as surplus: it does not come back again
    const credit = Math.min(this.account.credit, this.remaining);
    this.account = { credit, backlog: Math.min(this.account.backlog, Math.max(0, this.remaining - credit)) };
    this.grantBurst(now);
  }

  /**
   * A call was refused.
   *
   * @param until when the server lets the next one through
   * @param denying whether it was this policy that refused; another's refusal still brings news of this one
   */
  denied(now: number, call: Sent, until: number, quota: Quota, denying: boolean): void {
    this.learn(now, call, quota);
    this.advance(now);
    this.observe(now, quota);
    if (!denying) return;
    this.account.credit = Math.min(0, this.account.credit);
    this.hold = Math.max(this.hold, until);
    this.held = true;
  }

  private get share(): number {
    return this.estimate.value;
  }

  private get reserve(): number {
    return this.limit * between(RESERVE, 1 - this.share);
  }

  private get spread(): Spread {
    return this.guess.weighed ? spreadOf(1, 0.5) : spreadOf(SPREAD * (1 - this.share), EARLY);
  }

  /** Calls per ms that we may take from the surplus. */
  private surplusSpeed(): number {
    const free = Math.max(0, this.remaining - this.reserve) * this.share;
    // what came back and was not repeated yet will still be: it is no surplus
    const surplus = Math.max(0, free - this.owed);
    if (this.guess.stepped) return surplus / Math.max(50, Math.min(this.reset, LONGEST_HORIZON));
    // the fewer our calls, the older our news
    const shared = (1 - this.share) * Math.min(1, 2 / Math.max(1, this.recent));
    return surplus / (Math.min(this.history.window, LONGEST_HORIZON) * between(HORIZON, shared));
  }

  /** Calls per ms, in a slice of the history, that passed one window before. */
  private repeatSpeed(slice: number): number {
    if (this.guess.stepped) return 0;
    const lack = Math.max(0, (this.reserve - this.remaining) / Math.max(1, this.reserve));
    return this.history.rate(slice, this.spread) * (1 - BACK_OFF * lack);
  }

  /** What `credit` and `backlog` become in `ms` of a slice. */
  private accrue(from: Account, slice: number, ms: number): Account {
    const due = from.backlog + this.repeatSpeed(slice) * ms;
    const repeated = Math.min(due, ((TOP_SPEED * this.limit) / this.history.window) * ms);
    return { credit: from.credit + repeated + this.surplusSpeed() * ms, backlog: due - repeated };
  }

  /** Brings credit up to date. */
  private advance(now: number): void {
    if (!this.known) return;
    this.advanced = Math.max(this.advanced, now - 2 * this.history.window);
    for (let slice = this.history.at(this.advanced); this.advanced < now; slice++) {
      const end = Math.min(now, (slice + 1) * this.history.slice);
      this.account = this.accrue(this.account, slice, Math.max(0, end - this.advanced));
      this.advanced = Math.max(this.advanced, end);
    }
    this.advanced = now;
    this.account.credit = Math.min(this.account.credit, 1 + this.remaining * this.share);
    if (now >= this.resetAt && !this.stale) this.outdated(now);
  }

  /** The reset has passed without news. */
  private outdated(now: number): void {
    this.stale = true;
    if (this.guess.stepped) {
      this.estimate.restart();
      this.reported = this.limit;
      this.remaining = this.limit;
      this.owed = 0;
      this.reset = this.history.window;
      this.grantBurst(now);
    } else {
      this.onLoan = true; // for a call that brings news
    }
  }

  /** Ms until there is credit for a call, if no news comes before. */
  private untilCredit(now: number): number {
    let account = this.account;
    let time = now;
    for (let slice = this.history.at(now); time < now + 2 * this.history.window; slice++) {
      const end = Math.max(time, (slice + 1) * this.history.slice);
      const later = this.accrue(account, slice, end - time);
      if (later.credit >= 1) {
        const part = (1 - account.credit) / (later.credit - account.credit);
        return Math.max(1, time - now + part * (end - time));
      }
      account = later;
      time = end;
      if (!this.stale && time >= this.resetAt) return Math.max(1, this.resetAt - now);
    }
    return time - now;
  }

  /** Limit and window, which may be new to us or may have changed. */
  private learn(now: number, { sentAt }: Sent, quota: Quota): void {
    this.limit = Math.max(1, quota.limit ?? Math.max(this.limit, quota.remaining));
    const reset = quota.reset ?? quota.window ?? this.history.window;
    this.guess.observe(now, quota.remaining, reset, now - sentAt, quota.window);
    const window = Math.max(1_000, quota.window ?? this.guess.length);
    if (Math.abs(window - this.history.window) > 1) this.resize(window, now);
    if (this.known) return;
    this.known = true;
    this.advanced = now;
  }

  /** What comes back earlier than we had thought is not lost: it is overdue. */
  private resize(window: number, now: number): void {
    this.advance(now);
    const due = this.history.unrepeated(now, this.spread);
    this.history = this.history.resized(window, now);
    this.account.backlog += Math.max(0, due - this.history.unrepeated(now, this.spread));
  }

  private observe(now: number, quota: Quota): void {
    this.reported = quota.remaining;
    this.remaining = quota.remaining;
    this.owed = this.guess.stepped ? 0 : this.account.backlog + this.history.owed(now, this.spread);
    this.reset = quota.reset ?? quota.window ?? this.history.window;
    this.resetAt = now + this.reset;
    this.stale = false;
    this.recent = this.history.total(now);
  }

  private estimateShare(now: number, inFlight: number): void {
    const used = Math.max(1, this.limit - this.remaining);
    const window = this.guess.stepped ? Infinity : this.history.window;
    this.estimate.observe(now, used, this.own, inFlight, this.history.total(now), window);
    this.own = 0;
  }

  /**
   * With plenty left, each answer lets the next call go, alone or as long as it is not known whether we are. Alone, there
   * is no spacing at all, except that no more go at once than passed lately, so that a wrong guess is cheap.
   */
  private grantBurst(now: number): void {
    const plenty = this.remaining - this.limit * this.below;
    if (plenty <= 0) return;
    const { alone } = this;
    if (!alone && !this.estimate.unknown(now, this.history.window)) return;
    const burst = alone ? Math.min(Math.floor(this.share * plenty), this.history.total(now)) : 1;
    this.account.credit = Math.max(this.account.credit, 1, burst);
  }
}

function between(ends: { alone: number; shared: number }, shared: number): number {
  return ends.alone + (ends.shared - ends.alone) * shared;
}
