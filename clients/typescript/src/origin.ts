// The state of one origin: its queue, its circuit breaker, and whether the page was notified of a limit.

import { background } from "./clock.js";
import { Circuit } from "./circuit.js";
import { CircuitOpenError } from "./errors.js";
import type { Emit, RateLimitDetail } from "./events.js";
import { readQuotas, type Quota } from "./headers/quota.js";
import { readRetryAfter } from "./headers/retry-after.js";
import type { Settings } from "./options.js";
import { Queue, type Ticket } from "./pacing/queue.js";
import type { Call } from "./call.js";

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
  private limited = false;
  private lastUrl = "";
  private tightest: Quota | undefined;
  private timer: unknown;

  constructor(
    private readonly name: string,
    private readonly settings: Settings,
    private readonly emit: Emit,
  ) {
    const { clock, pacing, maxWait } = settings;
    this.queue = new Queue(clock, pacing?.below, pacing?.maxDelay ?? maxWait);
    this.circuit = settings.circuit && new Circuit(settings.circuit, settings.random);
  }

  get idle(): boolean {
    return this.pending === 0 && !this.limited;
  }

  begin(): void {
    this.pending += 1;
    this.settings.clock.clearTimeout(this.timer);
  }

  end(): void {
    this.pending -= 1;
    if (this.pending > 0 || !this.limited) return;
    // No call is left whose answer could show that the wait is over.
    const { clock } = this.settings;
    const wait = Math.max(this.queue.heldUntil - clock.now(), this.circuit?.untilProbe(clock.now()) ?? 0, 0);
    this.timer = background(clock.setTimeout(() => this.recovered(this.lastUrl, false), wait));
  }

  /** @returns whether the call is the probe of an open circuit. @throws CircuitOpenError */
  admit(call: Call): boolean {
    const now = this.settings.clock.now();
    const admitted = this.circuit?.admit(now) ?? "pass";
    if (admitted === "refuse") throw new CircuitOpenError(call.url.href, this.circuit?.untilProbe(now) ?? 0);
    return admitted === "probe";
  }

  releaseProbe(): void {
    this.circuit?.release();
  }

  /** The call is held back by a second or more. */
  onHold(call: Call, delay: number): void {
    if (this.limited) return;
    this.limited = true;
    this.lastUrl = call.url.href;
    this.emit("limited", { ...this.detail(call.url.href, delay), reason: "paced" });
  }

  /** Takes in an answer. @returns what it refuses, if it does */
  read(call: Call, ticket: Ticket, response: Response): Refusal | undefined {
    const now = this.settings.clock.now();
    const quotas = readQuotas(response.headers, this.settings.clock.wall());
    if (quotas.length > 0) this.tightest = tightestOf(quotas);
    this.lastUrl = call.url.href;
    if (response.status !== 429 && response.status !== 503) {
      this.queue.passed(ticket, quotas);
      this.circuit?.success(ticket.sentAt);
      this.recoverIfAllWell(call.url.href, now);
      return undefined;
    }
    const refusal = { status: response.status, floor: this.floor(response, quotas) };
    this.refused(call, ticket, quotas, refusal, now);
    return refusal;
  }

  detail(url: string, delay: number): RateLimitDetail {
    const { remaining, limit, policy } = this.tightest ?? {};
    return { url, origin: this.name, delay: Math.round(delay), remaining, limit, policy };
  }

  private refused(call: Call, ticket: Ticket, quotas: Quota[], { status, floor }: Refusal, now: number): void {
    // If the server demands a longer wait than maxWait, a call is tried sooner: the server may be broken.
    const hold = Math.min(floor, this.settings.maxWait);
    const url = call.url.href;
    const opens = this.circuit?.failure(ticket.sentAt, now, floor) ?? false;
    this.limited = true;
    this.emit("limited", { ...this.detail(url, hold), reason: "denied", status });
    this.queue.denied(ticket, status === 429 ? quotas : [], now + hold);
    if (!opens) return;
    this.emit("circuit-open", this.detail(url, this.circuit?.untilProbe(now) ?? 0));
    this.queue.rejectAll((waiting) => new CircuitOpenError(waiting, this.circuit?.untilProbe(now) ?? 0));
  }

  /** Retry-After; without it, for a 429, the reset of the policy that is spent. */
  private floor(response: Response, quotas: Quota[]): number {
    const retryAfter = readRetryAfter(response.headers, this.settings.clock.wall());
    if (retryAfter !== undefined || response.status !== 429) return retryAfter ?? 0;
    return Math.max(0, ...quotas.map(({ remaining, reset }) => (remaining === 0 ? (reset ?? 0) : 0)));
  }

  private recoverIfAllWell(url: string, now: number): void {
    if (this.queue.length === 0 && now >= this.queue.heldUntil && !this.circuit?.open) this.recovered(url, true);
  }

  private recovered(url: string, confirmed: boolean): void {
    if (!this.limited) return;
    this.limited = false;
    this.emit("recovered", { ...this.detail(url, 0), confirmed });
  }
}

function tightestOf(quotas: readonly Quota[]): Quota | undefined {
  const part = ({ remaining, limit }: Quota) => remaining / Math.max(1, limit ?? remaining);
  return [...quotas].sort((a, b) => part(a) - part(b))[0];
}
