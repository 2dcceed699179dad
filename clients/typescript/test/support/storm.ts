// A storm: 50 callers who call again as soon as they are answered, and a limit of 100 in 10 s for all of them. Three
// kinds of callers at the same time, each kind under a limit of its own.

import { setMaxListeners } from "node:events";
import { createRateLimitFetch } from "../../src/index.js";

export const CALLERS = 50;
export const LIMIT = 100;
/** Ms. */
export const WINDOW = 10_000;
/** Ms after which plain callers try again. */
const PLAIN_RETRY = 250;

export type Kind = "plain" | "shared" | "independent";

export const KINDS: readonly Kind[] = ["plain", "shared", "independent"];

export const KIND_NAMES: Record<Kind, string> = {
  plain: `fetch, again after ${PLAIN_RETRY} ms`,
  shared: `one wrapper for all ${CALLERS}`,
  independent: `${CALLERS} wrappers`,
};

export interface Result {
  kind: Kind;
  /** Ms. */
  duration: number;
  sent: number;
  refused: number;
  done: number;
  /** Ms that the one who waited longest has waited, answered or not. */
  longestWait: number;
  /** Ms that 9 of 10 answers took at most: above 100 or so, the machine was busy with other things. */
  latency: number;
  /** Answers in each second of the storm. */
  perSecond: { done: number; refused: number }[];
}

export const refusedShare = ({ refused, sent }: Result) => refused / sent;
export const used = ({ done, duration }: Result) => done / ((LIMIT * duration) / WINDOW);

/** @param url whose answers obey the limit "storm". @param duration ms */
export function storm(url: string, duration: number): Promise<Result[]> {
  return Promise.all(KINDS.map((kind) => run(kind, url, duration)));
}

async function run(kind: Kind, url: string, duration: number): Promise<Result> {
  const result: Result = { kind, duration, sent: 0, refused: 0, done: 0, longestWait: 0, latency: 0, perSecond: [] };
  const latencies: number[] = [];
  const headers = { "x-storm": crypto.randomUUID() };
  const start = performance.now();
  const over = new AbortController();
  setMaxListeners(0, over.signal); // Node's fetch leaves one behind for every call
  setTimeout(() => over.abort(), duration);

  const counting: typeof fetch = async (...args) => {
    result.sent += 1;
    const sentAt = performance.now();
    const response = await fetch(...args);
    latencies.push(performance.now() - sentAt);
    const second = Math.floor((performance.now() - start) / 1000);
    const count = (result.perSecond[second] ??= { done: 0, refused: 0 });
    if (response.status === 429) result.refused += 1;
    count[response.status === 429 ? "refused" : "done"] += 1;
    return response;
  };
  const shared = createRateLimitFetch({ fetch: counting });
  const make = { plain: () => plain(counting), shared: () => shared, independent: () => createRateLimitFetch({ fetch: counting }) };

  const work = async (call: typeof fetch) => {
    while (!over.signal.aborted) {
      const since = performance.now();
      try {
        const response = await call(url, { headers, signal: over.signal });
        if (response.ok) result.done += 1;
        await response.arrayBuffer();
      } catch {
        // over; or the wrapper gave up, which counts as not done
        if (!over.signal.aborted) await new Promise((resolve) => setTimeout(resolve, 100));
      }
      result.longestWait = Math.max(result.longestWait, performance.now() - since);
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, () => work(make[kind]())));
  result.latency = latencies.sort((a, b) => a - b)[Math.floor(latencies.length * 0.9)] ?? 0;
  return result;
}

/** What many write: try again until it works. */
function plain(inner: typeof fetch): typeof fetch {
  return async (input, init) => {
    for (;;) {
      const response = await inner(input, init);
      if (response.status !== 429) return response;
      await response.arrayBuffer();
      await new Promise((resolve) => setTimeout(resolve, PLAIN_RETRY));
      init?.signal?.throwIfAborted();
    }
  };
}

/** The results in Markdown. */
export function table(results: readonly Result[]): string {
  const percent = (part: number) => `${(part * 100).toFixed(1)}%`;
  const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
  const rows = results.map((result) => [
    KIND_NAMES[result.kind],
    `${result.sent}`,
    percent(refusedShare(result)),
    `${result.done}`,
    percent(used(result)),
    seconds(result.longestWait),
  ]);
  const head = ["50 callers with", "sent", "429", "done", "of the limit", "longest wait"];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: string[]) =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join(" | ")} |`;
  const rule = `|${widths.map((width, i) => (i === 0 ? "-".repeat(width + 2) : `${"-".repeat(width + 1)}:`)).join("|")}|`;
  return [line(head), rule, ...rows.map(line)].join("\n");
}
