// How one call is handled: it waits for its turn, it is sent, and it is retried after a refusal.

import { RetryBudget, retryDelay } from "./backoff.js";
import { marked, storable } from "./cache.js";
import { callOf, isIdempotent, resolveUrl, routeOf, type Call } from "./call.js";
import { sleep } from "./clock.js";
import { QuotaWaitError, RateLimitError } from "./errors.js";
import { emitter, type Emit, type RateLimitEvents } from "./events.js";
import { resolve, type RateLimitFetchOptions, type Settings } from "./options.js";
import { Origin, type Refusal } from "./origin.js";
import type { Ticket, TooLate } from "./pacing/queue.js";

export interface RateLimitFetch {
  (input: string | URL | Request, init?: RequestInit): Promise<Response>;
  /** Dispatches `limited`, `retrying`, `recovered` and `circuit-open`. */
  readonly events: RateLimitEvents;
}

/** Bounds memory where a program talks to very many origins. */
const MAX_ORIGINS = 256;

/**
 * Wraps `fetch` so that it keeps to rate limits.
 *
 * Wrap once for each credential and share the result: only calls of the same wrapper are paced together.
 *
 * @throws RangeError for an option out of its range
 */
export function createRateLimitFetch(options: RateLimitFetchOptions = {}): RateLimitFetch {
  const settings = resolve(options);
  const events: RateLimitEvents = options.events ?? new EventTarget();
  const session = new Session(settings, emitter(events, options.onEvent));
  const wrapped = (input: string | URL | Request, init?: RequestInit) => {
    const call = callOf(input, init);
    return call ? session.run(call) : settings.fetch(input, init);
  };
  return Object.assign(wrapped, { events });
}

interface Attempt {
  answer: Response;
  refusal?: Refusal | undefined;
  /** Who answered: after a redirect another one than was called. */
  origin: Origin;
}

class Session {
  private readonly origins = new Map<string, Origin>();
  /** Origins that redirected to the same host with https or www: their calls count there from the start. */
  private readonly moved = new Map<string, string>();
  private readonly budget: RetryBudget;

  constructor(
    private readonly settings: Settings,
    private readonly emit: Emit,
  ) {
    this.budget = new RetryBudget(settings.retry.share, settings.retry.burst);
  }

  /** @throws RateLimitError where the call could not be sent; the signal's reason; whatever fetch throws */
  async run(call: Call): Promise<Response> {
    const origin = this.origin(call.url.origin);
    const began = this.settings.clock.now();
    origin.begin();
    this.budget.earn();
    try {
      for (let attempt = 0; ; attempt++) {
        const { answer, refusal, origin: refusing } = await this.attempt(call, origin, began);
        if (!refusal) return answer;
        const delay = this.delay(call, refusal, attempt, began);
        const waited = this.settings.clock.now() - began;
        if (delay === undefined || waited + delay > this.settings.staleAfter) {
          const stale = await this.stale(call);
          if (stale) discard(answer);
          if (stale) return stale;
        }
        if (delay === undefined) return answer;
        discard(answer);
        this.emit("retrying", { ...refusing.detail(call.url.href, delay), attempt: attempt + 1 });
        await sleep(this.settings.clock, delay, call.signal);
      }
    } catch (error) {
      const stale = error instanceof RateLimitError ? await this.stale(call) : undefined;
      if (stale) return stale;
      throw error;
    } finally {
      origin.end();
    }
  }

  private async attempt(call: Call, origin: Origin, began: number): Promise<Attempt> {
    call.signal?.throwIfAborted();
    const probe = origin.admit(call);
    let ticket: Ticket | undefined;
    try {
      const turn = await this.turn(call, origin, began);
      if (turn instanceof Response) return { answer: turn, origin };
      ticket = turn;
      const answer = await call.send(this.settings.fetch);
      ticket = undefined;
      const attempt = this.read(call, origin, turn, answer);
      if (!attempt.refusal) this.keep(call, answer);
      return attempt;
    } finally {
      if (ticket) origin.queue.lost(ticket);
      if (probe) origin.releaseProbe();
    }
  }

  /** An answer counts for the origin that gave it. */
  private read(call: Call, origin: Origin, ticket: Ticket, answer: Response): Attempt {
    const url = answeredBy(answer, call.url);
    if (this.resolved(url.origin) === origin.name) return { answer, refusal: origin.read(call, ticket, answer, url), origin };
    origin.redirected(call, ticket);
    if (isSameHost(call.url, url)) this.moved.set(call.url.origin, url.origin);
    const other = this.origin(url.origin);
    other.begin();
    try {
      const adopted = other.queue.adopt(routeOf(call.method, url), ticket.sentAt);
      return { answer, refusal: other.read(call, adopted, answer, url), origin: other };
    } finally {
      other.end();
    }
  }

  /** Waits until the call may go. With a cache, a stale answer may come first. */
  private async turn(call: Call, origin: Origin, began: number): Promise<Ticket | Response> {
    const { clock, maxWait, staleAfter } = this.settings;
    const last = began + maxWait;
    const enter = (deadline: number) =>
      origin.queue.enter(routeOf(call.method, call.url), {
        url: call.url.href,
        since: began,
        deadline,
        last,
        signal: call.signal,
        onHold: (delay) => origin.onHold(call, delay),
      });
    if (this.cacheable(call) && staleAfter < maxWait) {
      const turn = await enter(began + staleAfter);
      if (isTicket(turn)) return turn;
      const stale = await this.stale(call);
      if (stale) return stale;
    }
    const turn = await enter(last);
    if (isTicket(turn)) return turn;
    throw new QuotaWaitError(call.url.href, maxWait, Math.max(0, turn.heldUntil - clock.now()), clock.wall());
  }

  /** Ms until the retry; `undefined` where there is to be none. */
  private delay(call: Call, { status, floor }: Refusal, attempt: number, began: number): number | undefined {
    const { retry, clock, maxWait, random } = this.settings;
    if (attempt >= retry.limit || !call.replayable) return undefined;
    // a 429 or 403 has done nothing; a 503 may have done half of it
    if (status === 503 && !isIdempotent(call.method)) return undefined;
    const delay = retryDelay(retry, attempt, floor, began + maxWait - clock.now(), random);
    return delay !== undefined && this.budget.spend() ? delay : undefined;
  }

  private origin(requested: string): Origin {
    const name = this.resolved(requested);
    const known = this.origins.get(name);
    this.origins.delete(name); // to the end: the map's order is that of use
    if (!known && this.origins.size >= MAX_ORIGINS) this.evict();
    const origin = known ?? new Origin(name, this.settings, this.emit);
    this.origins.set(name, origin);
    return origin;
  }

  private resolved(name: string): string {
    return this.moved.get(name) ?? name;
  }

  /** Origins that are idle; if all are under a limit, the least recently used one without a call. */
  private evict(): void {
    const unused = [...this.origins.values()].filter(({ unused }) => unused);
    const idle = unused.filter(({ limited }) => !limited);
    for (const { name } of idle.length > 0 ? idle : unused.slice(0, 1)) this.origins.delete(name);
    for (const [from, to] of this.moved) if (!this.origins.has(to)) this.moved.delete(from);
  }

  private cacheable(call: Call): boolean {
    return this.settings.cache !== undefined && call.method === "GET";
  }

  /** A cache that fails is as good as an empty one: the call itself must not fail for it. */
  private async stale(call: Call): Promise<Response | undefined> {
    if (!this.cacheable(call)) return undefined;
    const response = await this.settings.cache?.match(call.request()).catch(() => undefined);
    return response && marked(response);
  }

  private keep(call: Call, response: Response): void {
    if (!this.cacheable(call) || !storable(call.method, response)) return;
    this.settings.cache?.put(call.request(), response.clone()).catch(() => undefined);
  }
}

function isTicket(turn: Ticket | TooLate): turn is Ticket {
  return "route" in turn;
}

/** The URL that the answer came from. One that was made up has none. */
function answeredBy(answer: Response, called: URL): URL {
  return (answer.url && resolveUrl(answer.url)) || called;
}

function isSameHost(from: URL, to: URL): boolean {
  const bare = ({ hostname }: URL) => hostname.replace(/^www\./, "");
  return bare(from) === bare(to) && from.port === to.port;
}

/** Bytes; so much is read to the end, which keeps the connection. */
const SHORT = 65_536;

/** Frees the connection of an answer that is not read. */
function discard(response: Response): void {
  const length = Number(response.headers.get("content-length") ?? Infinity);
  const done = length <= SHORT ? response.arrayBuffer() : response.body?.cancel();
  done?.catch(() => undefined);
}
