// Time as an argument: everything that waits or measures takes a Clock, so that tests own time.

export interface Clock {
  /** Milliseconds that never run backwards; waits are measured by it. */
  now(): number;
  /** Milliseconds since 1970; only for headers that name a date. */
  wall(): number;
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** Ms; a longer timer fires at once. */
export const MAX_TIMER = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer as Parameters<typeof clearTimeout>[0]),
};

/** Resolves after `ms`; rejects with the signal's reason as soon as it aborts. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = () => {
      clock.clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = clock.setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** A wait of any length: what is longer than a timer can be ends early. */
export function timer(clock: Clock, run: () => void, ms: number): unknown {
  return clock.setTimeout(run, Math.min(ms, MAX_TIMER));
}

/** A timer for which Node need not stay alive. Browsers have no such notion. */
export function background(timer: unknown): unknown {
  (timer as { unref?: () => void } | undefined)?.unref?.();
  return timer;
}
