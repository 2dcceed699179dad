// Many clients and one server on a simulated clock, for the law of pacing: a minute takes milliseconds.

import { Pace } from "../../src/pacing/pace.js";
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
  below: number;
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
  below: 0.5,
  lag: 0,
};

export function simulate(changes: Partial<Scene>): Outcome {
  const scene = { ...STORM, ...changes };
  const random = randomFrom(scene.seed);
  const agenda = new Agenda();
  const server = limiter(scene.algorithm, scene.limit, scene.window);
  const phase = random() * 1_000_000;
  const outcome: Outcome = { used: 0, refused: 0, sent: 0, longestWait: 0, perClient: [], passedPerSecond: [], refusedPerSecond: [] };
  let passed = 0;
  const lag = () => -scene.lag * Math.log(1 - random());

  for (let client = 0; client < scene.clients; client++) {
    const pace = new Pace(scene.below);
    const queue: { since: number; attempt: number }[] = [];
    let wake = 0;
    const underWay = new Set<number>();
    let order = 0;
    outcome.perClient.push(0);

    const pump = (now: number) => {
      for (let call = queue[0]; call; call = queue[0]) {
        const wait = pace.wait(now);
        if (wait > 0) {
          const mine = ++wake;
          agenda.add(now + Math.ceil(wait) + lag(), (then) => mine === wake && pump(then));
          return;
        }
        queue.shift();
        send(call, now);
      }
    };

    const send = (call: { since: number; attempt: number }, sentAt: number) => {
      pace.sent(sentAt);
      const sent = { sentAt, order: ++order };
      underWay.add(sent.order);
      outcome.sent += 1;
      const latency = scene.latency[0] + random() * (scene.latency[1] - scene.latency[0]);
      agenda.add(sentAt + latency / 2 + lag(), (now) => {
        const answer = server.call(now + phase);
        const quota = {
          policy: "p",
          limit: scene.limit,
          remaining: answer.remaining,
          // whole seconds since 1970, rounded up
          reset: Math.ceil((now + phase + answer.reset) / 1000) * 1000 - (now + phase),
          window: scene.saysWindow ? scene.window : undefined,
        };
        agenda.add(now + latency / 2 + lag(), (then) => {
          underWay.delete(sent.order);
          const inFlight = underWay.size;
          if (answer.passed) {
            passed += 1;
            outcome.perClient[client]! += 1;
            const second = Math.floor(now / 1000);
            outcome.passedPerSecond[second] = (outcome.passedPerSecond[second] ?? 0) + 1;
            outcome.longestWait = Math.max(outcome.longestWait, then - call.since);
            pace.passed(then, sent, quota, inFlight);
            queue.push({ since: then, attempt: 0 });
          } else {
            outcome.refused += 1;
            const second = Math.floor(now / 1000);
            outcome.refusedPerSecond[second] = (outcome.refusedPerSecond[second] ?? 0) + 1;
            const retryAfter = Math.max(1, Math.ceil(answer.retryAfter / 1000)) * 1000;
            pace.denied(then, sent, then + retryAfter, quota, true);
            const back = retryAfter + random() * 500 * 2 ** Math.min(call.attempt, 5);
            agenda.add(then + back, (later) => {
              queue.unshift({ ...call, attempt: call.attempt + 1 });
              pump(later);
            });
          }
          pump(then);
        });
      });
    };

    for (let caller = 0; caller < scene.callers; caller++) {
      agenda.add(random() * scene.start, (now) => {
        queue.push({ since: now, attempt: 0 });
        pump(now);
      });
    }
  }

  agenda.run(scene.duration);
  outcome.used = passed / ((scene.limit * scene.duration) / scene.window);
  outcome.refused /= outcome.sent;
  return outcome;
}

/** What is to be done when; a binary heap. */
class Agenda {
  private readonly heap: { time: number; order: number; run: (now: number) => void }[] = [];
  private order = 0;

  add(time: number, run: (now: number) => void): void {
    const { heap } = this;
    let at = heap.push({ time, order: this.order++, run }) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.before(parent, at)) break;
      this.swap(at, parent);
      at = parent;
    }
  }

  run(until: number): void {
    for (let next = this.pop(); next && next.time < until; next = this.pop()) next.run(next.time);
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
