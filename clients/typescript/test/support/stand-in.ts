// A server that speaks Headgate's header contract and counts in its own memory. It runs in a process of its own, so
// that clients and server don't share a clock tick.

import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { limiter, type Limiter } from "./limiter.js";
import { LIMITS, type Form, type TestLimit } from "./policy.js";
import { start, stop } from "./process.js";
import type { Target } from "./target.js";

const SELF = fileURLToPath(import.meta.url);

export async function startStandIn(form: Form): Promise<Target> {
  const child = start(process.execPath, [SELF, form], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const port = await new Promise((resolve, reject) => {
    child.once("message", resolve);
    child.once("exit", () => reject(new Error("the stand-in does not start")));
  });
  return { url: `http://127.0.0.1:${port}`, name: "a stand-in", stop: () => stop(child) };
}

function serve(form: Form): void {
  const limiters = new Map<string, Limiter>();
  const server = createServer((request, response) => {
    response.setHeader("access-control-allow-origin", request.headers.origin ?? "*");
    response.setHeader("access-control-expose-headers", EXPOSED.join(", "));
    if (request.method === "OPTIONS") {
      response.setHeader("access-control-allow-methods", "GET, POST");
      response.setHeader("access-control-allow-headers", LIMITS.map(({ name }) => `x-${name}`).join(", "));
      response.writeHead(200).end();
      return;
    }
    const limit = LIMITS.find(({ name }) => request.headers[`x-${name}`]);
    if (!limit) return void response.end('{"fine": true}');
    const key = `${limit.name}:${request.headers[`x-${limit.name}`]}`;
    const counter = limiters.get(key) ?? limiter(limit.algorithm, limit.limit, limit.window * 1000);
    limiters.set(key, counter);
    const now = Date.now();
    const answer = counter.call(now);
    for (const [name, value] of figures(form, limit, answer.remaining, answer.reset, now)) response.setHeader(name, value);
    if (answer.passed) return void response.end('{"fine": true}');
    response.setHeader("retry-after", Math.max(1, Math.ceil(answer.retryAfter / 1000)));
    response.writeHead(429).end("Rate limit exceeded");
  });
  server.listen(0, "127.0.0.1", () => process.send?.((server.address() as { port: number }).port));
  process.on("disconnect", () => process.exit());
}

function figures(form: Form, limit: TestLimit, remaining: number, reset: number, now: number): [string, string][] {
  const seconds = Math.ceil(reset / 1000);
  const x: [string, string][] = [
    ["x-ratelimit-limit", `${limit.limit}`],
    ["x-ratelimit-remaining", `${remaining}`],
    ["x-ratelimit-reset", `${form === "default" ? Math.ceil((now + reset) / 1000) : seconds}`],
  ];
  if (form === "default") return x;
  return [
    ...x,
    ["ratelimit-policy", `"${limit.name}";q=${limit.limit};w=${limit.window}`],
    ["ratelimit", `"${limit.name}";r=${remaining};t=${seconds}`],
  ];
}

const EXPOSED = ["retry-after", "ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

if (process.argv[1] === SELF) serve(process.argv[2] as Form);
