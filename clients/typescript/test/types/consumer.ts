// A program that uses the package by its name, as it is packed: compiled for Node without the DOM's types and for a
// browser with them (see node.json, browser.json), never run.

import { CircuitOpenError, cacheApi, createRateLimitFetch, isStale, type RateLimitFetch } from "headgate-fetch";

const api: RateLimitFetch = createRateLimitFetch({
  cache: cacheApi("things"),
  retry: { limit: 2 },
  pacing: false,
  onEvent({ type, detail }) {
    if (type === "limited") detail.reason satisfies "denied" | "paced";
    if (type === "retrying") detail.attempt satisfies number;
  },
});
const inPlaceOfFetch: typeof fetch = api;
const heard = new AbortController();
api.events.addEventListener("recovered", ({ detail }) => detail.confirmed satisfies boolean, { signal: heard.signal });
api.events.addEventListener("circuit-open", ({ detail }) => detail.delay satisfies number, { once: true });

// @ts-expect-error: no such event
api.events.addEventListener("recoverd", () => undefined);
// @ts-expect-error: no such option
createRateLimitFetch({ maxwait: 1 });

export async function use(): Promise<boolean> {
  try {
    await api(new URL("https://api.example.com/"), { method: "POST", body: "x" });
    return isStale(await inPlaceOfFetch(new Request("https://api.example.com/")));
  } catch (error) {
    return error instanceof CircuitOpenError && error.delay > 0 && error.url !== "";
  }
}
