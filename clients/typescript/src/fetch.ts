// How one call is handled: it waits for its turn, it is sent, and it is retried after a refusal.

import { RetryBudget, retryDelay } from "./backoff.js";
import { marked, storable } from "./cache.js";
import { callOf, isIdempotent, type Call } from "./call.js";
import { sleep } from "./clock.js";
import { QuotaWaitError, RateLimitError } from "./errors.js";
import { emitter, type Emit, type RateLimitEvents } from "./events.js";
import { resolve, type RateLimitFetchOptions, type Settings } from "./options.js";
import { Origin, type Refusal } from "./origin.js";
import type { Ticket } from "./pacing/queue.js";

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
}

class Session {
  private readonly origins = new Map<string, Origin>();
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
        const { answer, refusal } = await this.attempt(call, origin, began);
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
        this.emit("retrying", { ...origin.detail(call.url.href, delay), attempt: attempt + 1 });
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
      if (turn instanceof Response) return { answer: turn };
      ticket = turn;
      const answer = await call.send(this.settings.fetch);
      ticket = undefined;
      const refusal = origin.read(call, turn, answer);
      if (!refusal) this.keep(call, answer);
      return { answer, refusal };
    } finally {
      if (ticket) origin.queue.lost(ticket);
      if (probe) origin.releaseProbe();
    }
  }

  /** Waits until the call may go. With a cache, a stale answer may come first. */
  private async turn(call: Call, origin: Origin, began: number): Promise<Ticket | Response> {
    const { clock, maxWait, staleAfter } = this.settings;
    const enter = (deadline: number) =>
      origin.queue.enter(`${call.method} ${call.url.pathname}`, {
        url: call.url.href,
        since: began,
        deadline,
        signal: call.signal,
        onHold: (delay) => origin.onHold(call, delay),
      });
    const deadline = began + maxWait;
    if (this.cacheable(call) && staleAfter < maxWait) {
      const turn = await enter(began + staleAfter);
      if (turn !== "late") return turn;
      const stale = await this.stale(call);
      if (stale) return stale;
    }
    const turn = await enter(deadline);
    if (turn !== "late") return turn;
    const held = origin.queue.heldUntil - clock.now();
    throw new QuotaWaitError(call.url.href, maxWait, Math.max(0, held));
  }

  /** Ms until the retry; `undefined` where there is to be none. */
  private delay(call: Call, { status, floor }: Refusal, attempt: number, began: number): number | undefined {
    const { retry, clock, maxWait, random } = this.settings;
    if (attempt >= retry.limit || !call.replayable) return undefined;
    // a 429 has done nothing; a 503 may have done half of it
    if (status !== 429 && !isIdempotent(call.method)) return undefined;
    const delay = retryDelay(retry, attempt, floor, began + maxWait - clock.now(), random);
    return delay !== undefined && this.budget.spend() ? delay : undefined;
  }

  private origin(name: string): Origin {
    const known = this.origins.get(name);
    if (known) return known;
    if (this.origins.size >= MAX_ORIGINS) {
      for (const [other, origin] of this.origins) if (origin.idle) this.origins.delete(other);
    }
    const origin = new Origin(name, this.settings, this.emit);
    this.origins.set(name, origin);
    return origin;
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

/** Bytes; so much is read to the end, which keeps the connection. */
const SHORT = 65_536;

/** Frees the connection of an answer that is not read. */
function discard(response: Response): void {
  const length = Number(response.headers.get("content-length") ?? Infinity);
  const done = length <= SHORT ? response.arrayBuffer() : response.body?.cancel();
  done?.catch(() => undefined);
}
