// Which waiting call of an origin is sent next, and when. Calls of one route are sent in the order of their beginnings, a
// retry thus before those that came later; routes don't wait for each other.
//
// A route without an answer yet is taken to meet the usual policies. Where these hold it back, one call is sent all the
// same, as a scout: it may be under a limit of its own. Once a new route has met no other policy by name, the next ones wait.

import { background, timer, type Clock } from "../clock.js";
import type { Pace } from "./pace.js";
import { Routes, type News, type Route } from "./routes.js";
import type { Quota, Reading } from "../headers/quota.js";

/** A call in flight. */
export interface Ticket {
  readonly route: Route;
  readonly sentAt: number;
  /** Greater for every call. */
  readonly order: number;
  /** What it was taken to meet. */
  readonly paces: readonly Pace[];
}

export interface Turn {
  url: string;
  /** When the call began; ms of the clock. */
  since: number;
  /** When it stops waiting. */
  deadline: number;
  /** A call that the server lets go only after this moment does not wait at all. Default: the deadline. */
  last?: number;
  signal?: AbortSignal | undefined;
  /** Called once if the wait is long. @param delay estimated ms of the remaining wait */
  onHold: (delay: number) => void;
}

/** Why a call is not sent: its deadline has come, or the server lets none through before it. */
export interface TooLate {
  /** Until when the server has forbidden calls; ms of the clock. */
  heldUntil: number;
}

interface Waiting extends Turn {
  entered: number;
  notified: boolean;
  settle: (outcome: Ticket | TooLate | Error) => void;
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
  private scout: Ticket | undefined;
  private mayScout = true;
  /** Until when a refusal holds back all routes. */
  private allHeldUntil = -Infinity;
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

  /** Routes, policies and counters that are remembered. */
  get remembered(): number {
    return this.routes.size;
  }

  /** Calls that wait for their turn. */
  get length(): number {
    let length = 0;
    for (const queue of this.waiting.values()) length += queue.length;
    return length;
  }

  /** Until when the server has forbidden calls of some route or policy. */
  get heldUntil(): number {
    return Math.max(this.allHeldUntil, this.routes.heldUntil);
  }

  /** Waits for a turn: a ticket, which must be given back, unless it is too late for one. */
  enter(routeName: string, turn: Turn): Promise<Ticket | TooLate> {
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
      const late = () => {
        this.pump(); // a wait may be over in this very moment
        if (queue.includes(waiting)) waiting.settle({ heldUntil: this.routeHeldUntil(this.routes.route(routeName)) });
      };
      const deadline = this.clock.setTimeout(late, turn.deadline - waiting.entered);
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

  /** A call that was sent to another origin ended here, after a redirect. */
  adopt(routeName: string, sentAt: number): Ticket {
    return this.issue(this.routes.route(routeName), sentAt);
  }

  passed(ticket: Ticket, readings: readonly Reading[]): void {
    ticket.route.gate.passed();
    if (ticket === this.trial) this.trialDelay = this.afterTrial(readings.map(({ quota }) => quota));
    for (const [quota, pace] of this.learn(ticket, readings, false)) {
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
  denied(ticket: Ticket, readings: readonly Reading[], until: number): void {
    this.trialDelay = this.maxDelay;
    const news = this.learn(ticket, readings, true);
    if (news.length === 0) ticket.route.gate.denied(until);
    else ticket.route.gate.ended();
    const denying = denyingOf(news.map(([quota]) => quota));
    for (const [quota, pace] of news) {
      pace.denied(this.clock.now(), ticket, until, quota, denying.includes(quota));
    }
    this.done(ticket);
  }

  /** A route that was reached by a redirect was refused. */
  close(routeName: string, until: number): void {
    this.routes.route(routeName).gate.close(until);
  }

  /** A refusal that is about all calls. */
  closeAll(until: number): void {
    this.allHeldUntil = Math.max(this.allHeldUntil, until);
  }

  /** The call ended without an answer. */
  lost(ticket: Ticket): void {
    ticket.route.gate.ended();
    this.done(ticket);
  }

  private learn(ticket: Ticket, readings: readonly Reading[], refused: boolean): News[] {
    if (this.below === undefined) return [];
    const now = this.clock.now();
    const isNew = ticket.route.policies.size === 0;
    const names = readings.map((reading) => this.routes.counter(ticket.route, reading, ticket.sentAt, now, refused));
    if (readings.some(({ quota, named }) => named && this.routes.isUnusual(quota.policy))) this.mayScout = true;
    else if (ticket === this.scout || (isNew && names.some((name) => !this.routes.isUnusual(name)))) this.mayScout = false;
    const news = readings.map((reading, i): News => {
      const policy = names[i] ?? reading.quota.policy;
      return [this.routes.inCalls(reading, policy), this.routes.learn(ticket.route, policy)];
    });
    for (const pace of ticket.paces) if (!news.some(([, met]) => met === pace)) pace.notMet();
    return news;
  }

  private issue(route: Route, sentAt: number): Ticket {
    const ticket: Ticket = { route, sentAt, order: ++this.order, paces: this.pacesOf(route) };
    route.gate.sent();
    for (const pace of ticket.paces) pace.sent(this.clock.now());
    return ticket;
  }

  private done(ticket: Ticket): void {
    if (this.trial === ticket) this.trial = undefined;
    if (this.scout === ticket) this.scout = undefined;
    this.pump();
  }

  private pacesOf(route: Route): Pace[] {
    return this.below === undefined ? [] : this.routes.pacesOf(route);
  }

  private routeHeldUntil(route: Route): number {
    return Math.max(this.allHeldUntil, route.gate.heldUntil, ...this.pacesOf(route).map((pace) => pace.heldUntil));
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
      const paces = this.pacesOf(route);
      const closed = Math.max(route.gate.wait(now), this.allHeldUntil - now);
      const lawful = Math.max(closed, ...paces.map((pace) => pace.wait(now)));
      const heldUntil = this.routeHeldUntil(route);
      const scouts = lawful > 0 && closed <= 0 && route.policies.size === 0 && this.mayScout && !this.scout;
      const mayTry = lawful > 0 && !this.trial && heldUntil <= now;
      const trialAt = Math.max(head.entered, this.lastTrial) + this.trialDelay;
      const wait = scouts ? 0 : mayTry ? Math.min(lawful, Math.max(0, trialAt - now)) : lawful;
      if (wait > 0) {
        const hopeless = queue.find((waiting) => heldUntil > (waiting.last ?? waiting.deadline));
        if (hopeless) {
          hopeless.settle({ heldUntil });
          continue;
        }
        blocked.add(queue);
        wake = Math.min(wake, wait);
        for (const waiting of queue) if (this.isNews(waiting, wait, now)) news.push(() => this.tell(waiting, wait, now));
        continue;
      }
      const ticket = this.issue(route, now);
      if (scouts) this.scout = ticket;
      else if (lawful > 0) {
        this.trial = ticket;
        this.lastTrial = now;
      }
      head.settle(ticket);
    }
    this.clock.clearTimeout(this.timer);
    this.timer = wake === Infinity ? undefined : background(timer(this.clock, () => this.pump(), Math.ceil(wake)));
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
