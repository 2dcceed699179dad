// A clock that the test advances, and a server with scripted answers.

import type { Clock } from "../../src/clock.js";

export class FakeClock implements Clock {
  private time = 1_000;
  private timers = new Map<number, { at: number; run: () => void }>();
  private next = 1;

  /** @param wallAtStart ms since 1970 */
  constructor(private readonly wallAtStart = Date.UTC(2026, 4, 23, 12)) {}

  now(): number {
    return this.time;
  }

  wall(): number {
    return this.wallAtStart + this.time - 1_000;
  }

  setTimeout(run: () => void, ms: number): unknown {
    this.timers.set(this.next, { at: this.time + Math.max(0, ms), run });
    return this.next++;
  }

  clearTimeout(timer: unknown): void {
    this.timers.delete(timer as number);
  }

  get pending(): number {
    return this.timers.size;
  }

  /** Lets this many ms pass, with everything that happens in them. */
  async advance(ms: number): Promise<void> {
    const end = this.time + ms;
    await settled();
    for (;;) {
      const due = [...this.timers].filter(([, { at }]) => at <= end).sort(([i, a], [j, b]) => a.at - b.at || i - j)[0];
      if (!due) break;
      this.timers.delete(due[0]);
      this.time = Math.max(this.time, due[1].at);
      due[1].run();
      await settled();
    }
    this.time = end;
  }

  /** Lets time pass until the promise is settled. @returns ms that passed, at most `most` */
  async until(promise: Promise<unknown>, most = 10 * 60_000): Promise<number> {
    const start = this.time;
    let done = false;
    promise.then(
      () => (done = true),
      () => (done = true),
    );
    await settled();
    while (!done && this.time - start < most) {
      const next = Math.min(...[...this.timers.values()].map(({ at }) => at));
      await this.advance(Math.min(most, next === Infinity ? most : Math.max(0, next - this.time)));
    }
    return this.time - start;
  }
}

/** After all promise callbacks that are ready, and those that they make ready. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

export interface Sent {
  url: string;
  method: string;
  body: string;
  at: number;
}

type Answer = (sent: Sent) => Response | Promise<Response>;

/** Answers the first call by the first answer, and so on; the last one stays. */
export function script(clock: Clock, ...answers: Answer[]): { fetch: typeof globalThis.fetch; sent: Sent[] } {
  const sent: Sent[] = [];
  return {
    sent,
    fetch: async (input, init) => {
      const request = new Request(input, init as RequestInit);
      const call = { url: request.url, method: request.method, body: await request.text(), at: clock.now() };
      sent.push(call);
      const answer = answers[Math.min(sent.length, answers.length) - 1];
      if (!answer) throw new TypeError("nothing in the script");
      return answer(call);
    },
  };
}

export const ok: Answer = () => new Response("fine");

export function refuse(status: number, retryAfter?: string, headers: Record<string, string> = {}): Answer {
  return () =>
    new Response("slow down", { status, headers: retryAfter === undefined ? headers : { ...headers, "retry-after": retryAfter } });
}
