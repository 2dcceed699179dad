// The state of one origin: its queue, its circuit breaker, and whether the page was notified of a limit.

import { background, timer } from "./clock.js";
import { Circuit } from "./circuit.js";
import { CircuitOpenError } from "./errors.js";
import type { Emit, RateLimitDetail } from "./events.js";
import { readings, type Quota, type Reading } from "./headers/quota.js";
import { earliestServerTime, readRetryAfter, serverTime } from "./headers/retry-after.js";
import type { Settings } from "./options.js";
import { Queue, type Ticket } from "./pacing/queue.js";
import { routeOf, type Call } from "./call.js";

export interface Refusal {
  status: number;
  /** Ms from now before which the server wants no retry. */
  floor: number;
}

export class Origin {
  readonly queue: Queue;
  private readonly circuit: Circuit | undefined;
  /** Calls that have begun and not ended, waiting ones included. */
  private pending = 0;
  private isLimited = false;
  private lastUrl = "";
  private tightest: Quota | undefined;
  private timer: unknown;

  constructor(
    readonly name: string,
    private readonly settings: Settings,
    private readonly emit: Emit,
  ) {
    const { clock, pacing, maxWait } = settings;
    this.queue = new Queue(clock, pacing?.below, pacing?.maxDelay ?? maxWait);
    this.circuit = settings.circuit && new Circuit(settings.circuit, settings.random);
  }

  /** No call is under way. */
  get unused(): boolean {
    return this.pending === 0;
  }

  /** The page was notified of a limit that may still hold. */
  get limited(): boolean {
    return this.isLimited;
  }

  begin(): void {
    this.pending += 1;
    this.settings.clock.clearTimeout(this.timer);
  }

  end(): void {
    this.pending -= 1;
    if (this.pending > 0 || !this.isLimited) return;
    // No call is left whose answer could show that the wait is over.
    const { clock } = this.settings;
    const wait = Math.max(this.queue.heldUntil - clock.now(), this.circuit?.untilProbe(clock.now()) ?? 0, 0);
    this.timer = background(timer(clock, () => this.recovered(this.lastUrl, false), wait));
  }

  /** @returns whether the call is the probe of an open circuit. @throws CircuitOpenError */
  admit(call: Call): boolean {
    const now = this.settings.clock.now();
    const admitted = this.circuit?.admit(now) ?? "pass";
    if (admitted === "refuse") throw this.circuitOpen(call.url.href);
    return admitted === "probe";
  }

  releaseProbe(): void {
    this.circuit?.release();
  }

  /** The call is held back by a second or more. */
  onHold(call: Call, delay: number): void {
    if (this.isLimited) return;
    this.isLimited = true;
    this.lastUrl = call.url.href;
    this.emit("limited", { ...this.detail(call.url.href, delay), reason: "paced" });
  }

  /** The call passed here, and another origin answered it. */
  redirected(call: Call, ticket: Ticket): void {
    this.passed(call, ticket, []);
  }

  /** Takes in an answer. @param url that it came from. @returns what it refuses, if it does */
  read(call: Call, ticket: Ticket, response: Response, url: URL): Refusal | undefined {
    const { headers, status } = response;
    const found = readings(headers, serverTime(headers, this.settings.clock.wall()));
    if (found.length > 0) this.tightest = tightestOf(found.map(({ quota }) => quota));
    if (!this.isRefusal(response, found)) {
      this.passed(call, ticket, found);
      return undefined;
    }
    const refusal = { status, floor: this.floor(response) };
    const until = this.settings.clock.now() + refusal.floor;
    if (url.pathname !== call.url.pathname) this.queue.close(routeOf(call.method, url), until);
    if (isAboutAll(headers)) this.queue.closeAll(until);
    this.refused(call, ticket, found, refusal);
    return refusal;
  }

  detail(url: string, delay: number): RateLimitDetail {
    const { remaining, limit, policy } = this.tightest ?? {};
    return { url, origin: this.name, delay: Math.round(delay), remaining, limit, policy };
  }

  private passed(call: Call, ticket: Ticket, found: readonly Reading[]): void {
    this.lastUrl = call.url.href;
    this.queue.passed(ticket, found);
    this.circuit?.success(ticket.sentAt);
    const { now } = this;
    if (this.queue.length === 0 && now >= this.queue.heldUntil && !this.circuit?.open) this.recovered(this.lastUrl, true);
  }

  private refused(call: Call, ticket: Ticket, found: readonly Reading[], { status, floor }: Refusal): void {
    const { now } = this;
    const url = call.url.href;
    const opens = this.circuit?.failure(ticket.sentAt, now, floor) ?? false;
    this.lastUrl = url;
    this.isLimited = true;
    this.emit("limited", { ...this.detail(url, floor), reason: "denied", status });
    this.queue.denied(ticket, status === 503 ? [] : found, now + floor);
    if (!opens) return;
    this.emit("circuit-open", this.detail(url, this.circuit?.untilProbe(now) ?? 0));
    this.queue.rejectAll((waiting) => this.circuitOpen(waiting));
  }

  /** 429 and 503; and 403 where it can only mean a limit: GitHub answers so. */
  private isRefusal({ status, headers }: Response, found: readonly Reading[]): boolean {
    if (status !== 403) return status === 429 || status === 503;
    const spent = headers.has("x-ratelimit-resource") && found.some(({ quota }) => quota.remaining === 0);
    return spent || readRetryAfter(headers, this.settings.clock.wall()) !== undefined;
  }

  /** Retry-After; without it, for a 429 or 403, the reset of the policy that is spent. */
  private floor({ headers, status }: Response): number {
    const wall = this.settings.clock.wall();
    const retryAfter = readRetryAfter(headers, wall);
    if (retryAfter !== undefined || status === 503) return retryAfter ?? 0;
    const spent = readings(headers, earliestServerTime(headers, wall)).filter(({ quota }) => quota.remaining === 0);
    return Math.max(0, ...spent.map(({ quota }) => quota.reset ?? 0));
  }

  private get now(): number {
    return this.settings.clock.now();
  }

  private circuitOpen(url: string): CircuitOpenError {
    const { clock } = this.settings;
    return new CircuitOpenError(url, this.circuit?.untilProbe(clock.now()) ?? 0, clock.wall());
  }

  private recovered(url: string, confirmed: boolean): void {
    if (!this.isLimited) return;
    this.isLimited = false;
    this.emit("recovered", { ...this.detail(url, 0), confirmed });
  }
}

/** Discord's global limit. */
function isAboutAll(headers: Headers): boolean {
  return headers.get("x-ratelimit-global") === "true" || headers.get("x-ratelimit-scope") === "global";
}

function tightestOf(quotas: readonly Quota[]): Quota | undefined {
  const part = ({ remaining, limit }: Quota) => remaining / Math.max(1, limit ?? remaining);
  return [...quotas].sort((a, b) => part(a) - part(b))[0];
}
