// A wrapper on a fake clock, against a server that answers by script.

import { createRateLimitFetch, type RateLimitEvent, type RateLimitFetchOptions } from "../../src/index.js";
import { FakeClock, script } from "./fake.js";

export const URL_ = "https://api.example.com/things";
type Answers = Parameters<typeof script> extends [unknown, ...infer Rest] ? Rest : never;

export function world(answers: Answers, options: RateLimitFetchOptions = {}) {
  const clock = new FakeClock();
  const server = script(clock, ...answers);
  const events: RateLimitEvent[] = [];
  const fetch = createRateLimitFetch({
    fetch: server.fetch,
    clock,
    random: () => 0.5,
    onEvent: (event) => events.push(event),
    ...options,
  });
  return { clock, fetch, events, sent: server.sent, eventTypes: () => events.map(({ type }) => type) };
}

export const left = (remaining: number, limit: number, reset: number) => ({
  "x-ratelimit-limit": `${limit}`,
  "x-ratelimit-remaining": `${remaining}`,
  "x-ratelimit-reset": `${reset}`,
});
export const okWith = (headers: Record<string, string>) => () => new Response("fine", { headers });
