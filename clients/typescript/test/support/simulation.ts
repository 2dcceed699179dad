// Many wrappers and one server on a simulated clock: two minutes take a fraction of a second.

import type { Clock } from "../../src/clock.js";
import { createRateLimitFetch, type RateLimitFetchOptions } from "../../src/index.js";
import { limiter, type Algorithm } from "./limiter.js";
import { randomFrom } from "./random.js";

export interface Scene {
  algorithm: Algorithm;
  limit: number;
  /** Ms. */
  window: number;
  /** Clients that know nothing of each other, and the callers of each, who call again as soon as they are answered. */
  clients: number;
  callers: number;
  /** Ms. */
  duration: number;
  seed: number;
  /** Whether answers say how long the window is. */
  saysWindow: boolean;
  /** Ms within which all begin. */
  start: number;
  /** Ms for the way there and back. */
  latency: [number, number];
  options: RateLimitFetchOptions;
  /** Ms, on the average, between an answer and the caller's next call. */
  think: number;
  /** How many paths the calls go to; Infinity: each call to one of its own. */
  paths: number;
  /** Ms, on the average, that timers and answers come late: a busy machine. */
  lag: number;
}

export interface Outcome {
  /** Calls that passed, of those that the limit allows in this time. */
  used: number;
  /** Refused, of those sent. */
  refused: number;
  sent: number;
  /** Ms; of the calls that passed. */
  longestWait: number;
  perClient: number[];
  passedPerSecond: number[];
  refusedPerSecond: number[];
}

export const STORM: Scene = {
  algorithm: "log",
  limit: 100,
  window: 10_000,
  clients: 50,
  callers: 1,
  duration: 20_000,
  seed: 1,
  saysWindow: true,
  start: 30,
  latency: [2, 8],
  options: {},
  think: 0,
  lag: 0,
  paths: 1,
};

interface Entry {
  time: number;
  order: number;
  run: (() => void) | undefined;
}

/** After all promise callbacks that are ready, and those that they make ready. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

export async function simulate(changes: Partial<Scene>): Promise<Outcome> {
  const scene = { ...STORM, ...changes };
  const random = randomFrom(scene.seed);
  const agenda = new Agenda();
  const server = limiter(scene.algorithm, scene.limit, scene.window);
  const phase = 1_800_000_000_000 + random() * 1_000_000;
  const outcome: Outcome = { used: 0, refused: 0, sent: 0, longestWait: 0, perClient: [], passedPerSecond: [], refusedPerSecond: [] };
  let done = 0;
  let refused = 0;
  const lag = () => -scene.lag * Math.log(1 - random());
  const count = (perSecond: number[]) => {
    const second = Math.floor(agenda.now / 1000);
    perSecond[second] = (perSecond[second] ?? 0) + 1;
  };
  const clock: Clock = {
    now: () => agenda.now,
    wall: () => phase + agenda.now,
    setTimeout: (run, ms) => agenda.add(agenda.now + Math.max(0, ms) + lag(), run),
    clearTimeout: (timer) => agenda.drop(timer),
  };
  const pause = (ms: number) => new Promise<void>((resolve) => agenda.add(agenda.now + ms, resolve));

  const fetch = async () => {
    outcome.sent += 1;
    const way = (scene.latency[0] + random() * (scene.latency[1] - scene.latency[0])) / 2;
    await pause(way + lag());
    const answer = server.call(clock.wall());
    const headers = new Headers({
      "x-ratelimit-limit": `${scene.limit}`,
      "x-ratelimit-remaining": `${answer.remaining}`,
      "x-ratelimit-reset": `${Math.ceil((clock.wall() + answer.reset) / 1000)}`,
    });
    if (scene.saysWindow) {
      const reset = Math.ceil(answer.reset / 1000);
      headers.set("ratelimit-policy", `"p";q=${scene.limit};w=${scene.window / 1000}`);
      headers.set("ratelimit", `"p";r=${answer.remaining};t=${reset}`);
    }
    if (!answer.passed) headers.set("retry-after", `${Math.max(1, Math.ceil(answer.retryAfter / 1000))}`);
    await pause(way + lag());
    if (!answer.passed) refused += 1;
    count(answer.passed ? outcome.passedPerSecond : outcome.refusedPerSecond);
    return new Response(null, { status: answer.passed ? 200 : 429, headers });
  };

  const work = async (client: number, call: typeof globalThis.fetch) => {
    await pause(random() * scene.start);
    for (;;) {
      const since = agenda.now;
      const response = await call(`http://api.example.com/${scene.paths === 1 ? "" : outcome.sent % scene.paths}`).catch(() => undefined);
      outcome.longestWait = Math.max(outcome.longestWait, agenda.now - since);
      if (response?.ok) done += 1;
      if (response?.ok) outcome.perClient[client]! += 1;
      if (!response) await pause(100); // the wrapper gave up
      else if (scene.think) await pause(scene.think * random() * 2);
    }
  };

  for (let client = 0; client < scene.clients; client++) {
    const call = createRateLimitFetch({ fetch, clock, random, ...scene.options });
    outcome.perClient.push(0);
    for (let caller = 0; caller < scene.callers; caller++) void work(client, call);
  }
  await agenda.run(scene.duration);
  outcome.used = done / ((scene.limit * scene.duration) / scene.window);
  outcome.refused = refused / outcome.sent;
  return outcome;
}

/** What is to be done when; a binary heap. */
class Agenda {
  now = 0;
  private readonly heap: Entry[] = [];
  private order = 0;

  add(time: number, run: () => void): Entry {
    const { heap } = this;
    const entry: Entry = { time, order: this.order++, run };
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.before(parent, at)) break;
      this.swap(at, parent);
      at = parent;
    }
    return entry;
  }

  drop(entry: unknown): void {
    if (entry) (entry as Entry).run = undefined;
  }

  async run(until: number): Promise<void> {
    await settled();
    for (let next = this.pop(); next && next.time < until; next = this.pop()) {
      if (!next.run) continue;
      this.now = next.time;
      next.run();
      await settled();
    }
  }

  private pop() {
    const { heap } = this;
    const top = heap[0];
    const last = heap.pop();
    if (!top || !last || heap.length === 0) return top;
    heap[0] = last;
    for (let at = 0; ; ) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.before(child + 1, child)) child += 1;
      if (this.before(at, child)) break;
      this.swap(at, child);
      at = child;
    }
    return top;
  }

  private before(a: number, b: number): boolean {
    const [x, y] = [this.heap[a]!, this.heap[b]!];
    return x.time < y.time || (x.time === y.time && x.order < y.order);
  }

  private swap(a: number, b: number): void {
    [this.heap[a], this.heap[b]] = [this.heap[b]!, this.heap[a]!];
  }
}
