// The limiter's four algorithms as Headgate's contract has them, counting in memory: for simulations, and for the
// server in place of Envoy.

export type Algorithm = "log" | "fixed" | "counter" | "gcra";

export interface Answer {
  passed: boolean;
  remaining: number;
  /** Ms until the whole quota is back without further calls. */
  reset: number;
  /** Ms until the next call would pass. */
  retryAfter: number;
}

/** One counter. `now` is in ms since 1970 and never runs backwards. */
export interface Limiter {
  call(now: number): Answer;
}

/** @param window ms */
export function limiter(algorithm: Algorithm, limit: number, window: number): Limiter {
  return { call: ALGORITHMS[algorithm](limit, window) };
}

type Law = (limit: number, window: number) => (now: number) => Answer;

const log: Law = (limit, window) => {
  const times: number[] = [];
  return (now) => {
    while (times.length > 0 && times[0]! <= now - window) times.shift();
    const passed = times.length < limit;
    if (passed) times.push(now);
    return {
      passed,
      remaining: limit - times.length,
      reset: times.length > 0 ? times[times.length - 1]! + window - now : 0,
      retryAfter: passed ? 0 : times[0]! + window - now,
    };
  };
};

const fixed: Law = (limit, window) => {
  let number = -1;
  let count = 0;
  return (now) => {
    if (Math.floor(now / window) !== number) {
      number = Math.floor(now / window);
      count = 0;
    }
    const passed = count < limit;
    if (passed) count += 1;
    const reset = (number + 1) * window - now;
    return { passed, remaining: limit - count, reset, retryAfter: reset };
  };
};

const counter: Law = (limit, window) => {
  let number = -1;
  let count = 0;
  let last = 0;
  return (now) => {
    const current = Math.floor(now / window);
    if (current !== number) {
      last = current === number + 1 ? count : 0;
      count = 0;
      number = current;
    }
    const into = now - number * window;
    const used = () => last * (1 - into / window) + count;
    const passed = used() + 1 <= limit;
    if (passed) count += 1;
    // when enough of the last window has left this one; if this one alone is full, the next must have begun
    const free = count + 1 <= limit && last > 0 ? window * (1 - (limit - 1 - count) / last) - into : window - into;
    return {
      passed,
      remaining: Math.max(0, Math.floor(limit - used())),
      reset: (count > 0 ? 2 : 1) * window - into,
      retryAfter: passed ? 0 : Math.max(1, Math.min(free, window - into)),
    };
  };
};

const gcra: Law = (limit, window) => {
  const interval = window / limit;
  let arrival = 0;
  return (now) => {
    const next = Math.max(now, arrival) + interval;
    const passed = next - now <= window + 1e-6;
    if (passed) arrival = next;
    const backlog = Math.max(0, arrival - now);
    return {
      passed,
      remaining: Math.floor((window - backlog) / interval + 1e-6),
      reset: backlog,
      retryAfter: passed ? 0 : next - now - window,
    };
  };
};

const ALGORITHMS: Record<Algorithm, Law> = { log, fixed, counter, gcra };
