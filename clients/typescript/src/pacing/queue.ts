// Which waiting call of an origin is sent next, and when. Calls of one route are sent in the order of their beginnings, a
// retry thus before those that came later; routes don't wait for each other.

import { background, type Clock } from "../clock.js";
import type { Pace } from "./pace.js";
import { Routes, type Route } from "./routes.js";
import type { Quota } from "../headers/quota.js";

/** A call in flight. */
export interface Ticket {
  readonly route: Route;
  readonly sentAt: number;
  /** Greater for every call. */
  readonly order: number;
}

export interface Turn {
  url: string;
  /** When the call began; ms of the clock. */
  since: number;
  /** When it stops waiting. */
  deadline: number;
  signal?: AbortSignal | undefined;
  /** Called once if the wait is long. @param delay estimated ms of the remaining wait */
  onHold: (delay: number) => void;
}

interface Waiting extends Turn {
  entered: number;
  notified: boolean;
  settle: (outcome: Ticket | "late" | Error, reason?: unknown) => void;
}

/** Ms of waiting from which on the page is notified. */
const NOTIFY_AFTER = 1_000;
/** Ms. */
const LEAST_TRIAL_DELAY = 250;

export class Queue {
  private readonly routes: Routes;
  private readonly waiting = new Map<string, Waiting[]>();
  private timer: unknown;
  private trial: Ticket | undefined;
  private lastTrial = -Infinity;
  private order = 0;
  private trialDelay: number;

  /**
   * @param below see `Pace`; `undefined` turns pacing off, and only the server's refusals hold calls back
   * @param maxDelay ms; a call that waited so long without a refusal is sent as a trial: one at a time, and
   *   each time after half the delay while trials pass although the server reports nothing left
   */
  constructor(
    private readonly clock: Clock,
    private readonly below: number | undefined,
    private readonly maxDelay: number,
  ) {
    this.routes = new Routes(below ?? 0);
    this.trialDelay = maxDelay;
  }

  /** Calls that wait for their turn. */
  get length(): number {
    let length = 0;
    for (const queue of this.waiting.values()) length += queue.length;
    return length;
  }

  /** Until when the server has forbidden calls of some route or policy. */
  get heldUntil(): number {
    return this.routes.heldUntil();
  }

  /** Waits for a turn: a ticket, which must be given back, or "late" when the deadline has come. */
  enter(routeName: string, turn: Turn): Promise<Ticket | "late"> {
    return new Promise((resolve, reject) => {
      const queue = this.waiting.get(routeName) ?? [];
      this.waiting.set(routeName, queue);
      const leave = () => {
        const place = queue.indexOf(waiting);
        if (place >= 0) queue.splice(place, 1);
        if (queue.length === 0 && this.waiting.get(routeName) === queue) this.waiting.delete(routeName);
        this.clock.clearTimeout(deadline);
        turn.signal?.removeEventListener("abort", abort);
      };
      const waiting: Waiting = {
        ...turn,
        entered: this.clock.now(),
        notified: false,
        settle: (outcome) => {
          leave();
          if (outcome instanceof Error) reject(outcome);
          else resolve(outcome);
        },
      };
      const abort = () => {
        leave();
        reject(turn.signal?.reason);
      };
      const deadline = this.clock.setTimeout(() => waiting.settle("late"), turn.deadline - waiting.entered);
      turn.signal?.addEventListener("abort", abort, { once: true });
      let place = queue.length;
      while (place > 0 && (queue[place - 1]?.since ?? 0) > turn.since) place -= 1;
      queue.splice(place, 0, waiting);
      this.pump();
    });
  }

  /** Every waiting call rejects with the error made for its URL. */
  rejectAll(error: (url: string) => Error): void {
    for (const queue of [...this.waiting.values()]) {
      for (const waiting of [...queue]) waiting.settle(error(waiting.url));
    }
  }

  passed(ticket: Ticket, quotas: readonly Quota[]): void {
    ticket.route.gate.passed();
    if (ticket === this.trial) this.trialDelay = this.afterTrial(quotas);
    for (const [quota, pace] of this.learn(ticket, quotas)) {
      pace.passed(this.clock.now(), ticket, quota, this.routes.inFlight(quota.policy));
    }
    this.done(ticket);
  }

  /**
   * If the server reports nothing left but lets calls pass, its numbers are useless: trials are then sent faster.
   * If something is left, the pace distributes it, and more trials would only take it from others.
   */
  private afterTrial(quotas: readonly Quota[]): number {
    const absurd = quotas.some(({ remaining }) => remaining === 0);
    return absurd ? Math.max(LEAST_TRIAL_DELAY, this.trialDelay / 2) : this.maxDelay;
  }

  /** @param until when the server lets the next call through */
  denied(ticket: Ticket, quotas: readonly Quota[], until: number): void {
    this.trialDelay = this.maxDelay;
    const news = this.learn(ticket, quotas);
    if (news.length === 0) ticket.route.gate.denied(until);
    else ticket.route.gate.ended();
    const denying = denyingOf(quotas);
    for (const [quota, pace] of news) {
      pace.denied(this.clock.now(), ticket, until, quota, denying.includes(quota));
    }
    this.done(ticket);
  }

  /** The call ended without an answer. */
  lost(ticket: Ticket): void {
    ticket.route.gate.ended();
    this.done(ticket);
  }

  private learn(ticket: Ticket, quotas: readonly Quota[]): [Quota, Pace][] {
    if (this.below === undefined) return [];
    return quotas.map((quota) => [quota, this.routes.learn(ticket.route, quota.policy)]);
  }

  private done(ticket: Ticket): void {
    if (this.trial === ticket) this.trial = undefined;
    this.pump();
  }

  /** Sends the calls that may go, and sets a timer for the next one. */
  private pump(): void {
    const now = this.clock.now();
    const blocked = new Set<Waiting[]>();
    const news: (() => void)[] = [];
    let wake = Infinity;
    for (;;) {
      const next = this.oldest(blocked);
      if (!next) break;
      const [routeName, queue, head] = next;
      const route = this.routes.route(routeName);
      const paces = this.below === undefined ? [] : this.routes.pacesOf(route);
      const lawful = Math.max(route.gate.wait(now), ...paces.map((pace) => pace.wait(now)));
      const mayTry = lawful > 0 && !this.trial && !this.held(route, paces, now);
      const trialAt = Math.max(head.entered, this.lastTrial) + this.trialDelay;
      const wait = mayTry ? Math.min(lawful, Math.max(0, trialAt - now)) : lawful;
      if (wait > 0) {
        blocked.add(queue);
        wake = Math.min(wake, wait);
        for (const waiting of queue) if (this.isNews(waiting, wait, now)) news.push(() => this.tell(waiting, wait, now));
        continue;
      }
      const ticket: Ticket = { route, sentAt: now, order: ++this.order };
      if (lawful > 0) {
        this.trial = ticket;
        this.lastTrial = now;
      }
      route.gate.sent();
      for (const pace of paces) pace.sent(now);
      head.settle(ticket);
    }
    this.clock.clearTimeout(this.timer);
    this.timer = wake === Infinity ? undefined : background(this.clock.setTimeout(() => this.pump(), Math.ceil(wake)));
    for (const notify of news) notify(); // last: a listener may well call again
  }

  private oldest(blocked: Set<Waiting[]>): [string, Waiting[], Waiting] | undefined {
    let oldest: [string, Waiting[], Waiting] | undefined;
    for (const [name, queue] of this.waiting) {
      const head = queue[0];
      if (head && !blocked.has(queue) && (!oldest || head.since < oldest[2].since)) oldest = [name, queue, head];
    }
    return oldest;
  }

  private held(route: Route, paces: readonly Pace[], now: number): boolean {
    return now < route.gate.heldUntil || paces.some((pace) => now < pace.heldUntil);
  }

  private isNews(waiting: Waiting, wait: number, now: number): boolean {
    return !waiting.notified && now - waiting.entered + wait >= NOTIFY_AFTER;
  }

  private tell(waiting: Waiting, wait: number, now: number): void {
    waiting.notified = true;
    waiting.onHold(Math.min(wait, waiting.deadline - now));
  }
}

/** The policies that refused: those with nothing left, or, where a call costs more than one, the one nearest to it. */
function denyingOf(quotas: readonly Quota[]): readonly Quota[] {
  const spent = quotas.filter(({ remaining }) => remaining === 0);
  if (spent.length > 0 || quotas.length === 0) return spent;
  const part = ({ remaining, limit }: Quota) => remaining / Math.max(1, limit ?? remaining);
  return [quotas.reduce((least, quota) => (part(quota) < part(least) ? quota : least))];
}
