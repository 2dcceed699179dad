// Which calls wait before they are sent, for how long, and which fail at once.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CircuitOpenError, QuotaWaitError, type RateLimitFetchOptions } from "../src/index.js";
import { Pace } from "../src/pacing/pace.js";
import { Queue, type Ticket } from "../src/pacing/queue.js";
import { Routes } from "../src/pacing/routes.js";
import { FakeClock, ok, refuse } from "./support/fake.js";
import { left, okWith, URL_, world } from "./support/world.js";

describe("pacing", () => {
  it("holds other calls back after a refusal, and lets them go one first", async () => {
    const { clock, fetch, sent } = world([refuse(429, "5", left(0, 100, 10)), okWith(left(50, 100, 10))]);
    const first = fetch(URL_);
    await clock.advance(10);
    const others = [1, 2, 3].map(() => fetch(URL_));
    await clock.advance(4_900);
    assert.equal(sent.length, 1);
    await clock.until(Promise.all([first, ...others]));
    const [, second] = sent;
    assert.ok(second && second.at - 1_000 >= 5_000, `${second?.at}`);
  });
  it("spaces calls when little is left, before any is refused", async () => {
    let remaining = 50;
    const { clock, fetch, sent } = world([() => new Response("", { headers: left(remaining--, 100, 10) })]);
    await clock.until(Promise.all(Array.from({ length: 10 }, () => fetch(URL_)))); // nothing is known yet
    await clock.until(Promise.all(Array.from({ length: 10 }, () => fetch(URL_))));
    const gaps = sent.slice(11).map(({ at }, i) => at - (sent[i + 10]?.at ?? 0));
    assert.equal(sent.length, 20);
    assert.ok(Math.min(...gaps) >= 25, `${gaps}`);
    assert.ok(Math.max(...gaps) <= 1_000, `${gaps}`);
  });
  it("does not hold back a caller, after a reload say, while half is left", async () => {
    let remaining = 70;
    const { clock, fetch } = world([() => new Response("", { headers: left(remaining--, 100, 60) })]);
    for (let i = 0; i < 15; i++) assert.ok((await clock.until(fetch(URL_))) <= 1_500);
  });
  it("does nothing of the kind where it is turned off", async () => {
    const { clock, fetch } = world([okWith(left(1, 100, 10))], { pacing: false });
    await clock.until(fetch(URL_));
    assert.equal(await clock.until(Promise.all(Array.from({ length: 10 }, () => fetch(URL_)))), 0);
  });
  it("holds back one policy's calls, not another's", async () => {
    const limits = (name: string, r: number) => ({ "ratelimit-policy": `"${name}";q=5;w=60`, ratelimit: `"${name}";r=${r};t=60` });
    const { clock, fetch } = world([
      ({ url }) =>
        url.endsWith("/login")
          ? new Response("", { status: 429, headers: { ...limits("login", 0), "retry-after": "20" } })
          : new Response("", { headers: limits("general", 5) }),
    ]);
    for (const path of ["/a", "/b", "/c"]) await clock.until(fetch(URL_ + path));
    const login = fetch(`${URL_}/login`);
    await clock.advance(10);
    assert.equal(await clock.until(fetch(`${URL_}/a`)), 0);
    assert.equal(await clock.until(fetch(`${URL_}/never-seen`)), 0);
    assert.ok((await clock.until(login)) > 19_000);
  });
  it("nor those of a policy in the refusal that did not refuse", async () => {
    const limits = {
      "ratelimit-policy": '"login";q=5;w=60, "general";q=100;w=60',
      ratelimit: '"login";r=0;t=60, "general";r=98;t=60',
    };
    const general = { "ratelimit-policy": '"general";q=100;w=60', ratelimit: '"general";r=99;t=60' };
    const { clock, fetch } = world([okWith(general), refuse(429, "60", limits), okWith(general)]);
    await clock.until(fetch(`${URL_}/a`));
    await clock.until(fetch(`${URL_}/login`));
    assert.ok((await clock.until(fetch(`${URL_}/a`))) <= 1_500);
  });
  it("lets a call go at the reset, though nothing was left before", () => {
    const pace = new Pace(0.5);
    const spent = { policy: "p", limit: 100, remaining: 0, reset: 3_600_000, window: 3_600_000 };
    pace.denied(10, { sentAt: 0, order: 1 }, 5_000, spent, true);
    assert.equal(pace.wait(4_000), 1_000);
    assert.equal(pace.wait(5_000), 0);
  });
  it("sends the call that began first, so a retry before later calls", async () => {
    const clock = new FakeClock();
    const queue = new Queue(clock, 0.5, 15_000);
    const turn = (since: number) => ({ url: URL_, since, deadline: 60_000, onHold: () => undefined });
    const ticket = (await queue.enter("GET /", turn(0))) as Ticket;
    queue.denied(ticket, [], clock.now() + 1_000);
    const went: string[] = [];
    void queue.enter("GET /", turn(20)).then(() => went.push("later"));
    void queue.enter("GET /", turn(10)).then(() => went.push("earlier"));
    await clock.advance(1_000);
    assert.deepEqual(went, ["earlier"]);
  });
  it("holds back one origin's calls, not another's", async () => {
    const { clock, fetch } = world([({ url }) => (url.includes("other") ? new Response() : refuse(429, "20")({} as never))]);
    void fetch(URL_);
    await clock.advance(10);
    assert.equal(await clock.until(fetch("https://other.example.com/")), 0);
  });
  it("after a refusal without numbers: one call, then two, then four", async () => {
    const { clock, fetch, sent } = world([refuse(429, "2"), async () => (await clockTick(50), new Response())]);
    const clockTick = (ms: number) => new Promise<void>((resolve) => clock.setTimeout(resolve, ms));
    const calls = [fetch(URL_)];
    await clock.advance(10);
    for (let i = 0; i < 7; i++) calls.push(fetch(URL_));
    await clock.until(Promise.all(calls));
    const perMoment = new Map<number, number>();
    for (const { at } of sent.slice(1)) perMoment.set(at, (perMoment.get(at) ?? 0) + 1);
    const counts = [...perMoment.values()];
    assert.equal(counts[0], 1);
    assert.ok((counts[1] ?? 0) <= 2 && (counts[2] ?? 0) <= 4, `${counts}`);
  });
  it("waits for no answer of a call that failed without one", async () => {
    const fails = () => Promise.reject(new TypeError("no network"));
    const { clock, fetch } = world([refuse(429, "1"), fails, ok], { retry: false });
    await clock.until(fetch(URL_));
    const [broken, next] = [fetch(URL_), fetch(URL_)].map((call) => call.catch((error: unknown) => error));
    await clock.until(Promise.all([broken, next]));
    assert.ok((await broken) instanceof TypeError);
    assert.equal(((await next) as Response).status, 200);
  });
  it("tries one call after maxDelay without a refusal, then faster", async () => {
    const { clock, fetch, sent } = world([okWith(left(0, 100, 3_600))], { pacing: { maxDelay: 4_000 } });
    await clock.until(fetch(URL_));
    const calls = Array.from({ length: 5 }, () => fetch(URL_));
    await clock.until(Promise.all(calls));
    const gaps = sent.slice(1).map(({ at }, i) => at - (sent[i]?.at ?? 0));
    assert.deepEqual(gaps, [4_000, 2_000, 1_000, 500, 250]);
  });
  it("tries one at a time, and none before Retry-After has passed", async () => {
    const slow = async () => (await new Promise<void>((resolve) => clock.setTimeout(resolve, 10_000)), new Response());
    const { clock, fetch, sent } = world([refuse(429, "20", left(0, 100, 3_600)), slow], { pacing: { maxDelay: 1_000 } });
    for (let i = 0; i < 4; i++) void fetch(URL_).catch(() => undefined);
    await clock.advance(100);
    const before = sent.length;
    for (let i = 0; i < 4; i++) void fetch(URL_).catch(() => undefined);
    await clock.advance(19_800);
    assert.equal(sent.length, before);
    await clock.advance(8_000);
    assert.ok(sent.length <= before + 2, `${sent.length - before}`); // the one of that moment, and a trial
  });
  it("but not faster if something is left that others may use", async () => {
    const { clock, fetch, sent } = world([okWith(left(1, 100, 3_600))], { pacing: { maxDelay: 4_000 } });
    await clock.until(fetch(URL_));
    await clock.until(Promise.all(Array.from({ length: 4 }, () => fetch(URL_))));
    const gaps = sent.slice(2).map(({ at }, i) => at - (sent[i + 1]?.at ?? 0));
    assert.deepEqual(gaps, [4_000, 4_000, 4_000]);
  });
  it("rejects with QuotaWaitError a call whose turn does not come within maxWait", async () => {
    const { clock, fetch, sent } = world([refuse(429, "30"), ok], { maxWait: 10_000 });
    await clock.until(fetch(URL_));
    const calls = Array.from({ length: 3 }, () => fetch(URL_).catch((error: unknown) => error));
    assert.ok((await clock.until(Promise.all(calls))) <= 10_000);
    const errors = (await Promise.all(calls)).filter((outcome) => outcome instanceof QuotaWaitError);
    assert.equal(errors.length + sent.length - 1, 3);
    assert.ok(errors.length > 0);
    assert.equal(errors[0]?.url, URL_);
  });
});

describe("the circuit", () => {
  const options: RateLimitFetchOptions = { retry: false, circuit: { failures: 3, cooldown: 1_000 }, random: () => 0.99 };

  it("fails fast after consecutive refusals, until a probe passes", async () => {
    const { clock, fetch, sent, eventTypes } = world([refuse(503), refuse(503), refuse(503), ok], options);
    for (let i = 0; i < 3; i++) await clock.until(fetch(URL_));
    await assert.rejects(fetch(URL_), (error: unknown) => {
      assert.ok(error instanceof CircuitOpenError);
      assert.equal(error.name, "CircuitOpenError");
      assert.equal(error.url, URL_);
      assert.ok(error.delay > 0 && error.delay <= 1_000);
      return true;
    });
    assert.equal(sent.length, 3);
    await clock.advance(1_000);
    const [probe, other] = [fetch(URL_), fetch(URL_).catch((error: unknown) => error)];
    assert.ok((await other) instanceof CircuitOpenError);
    assert.equal((await probe).status, 200);
    assert.equal((await fetch(URL_)).status, 200);
    assert.equal(eventTypes().filter((type) => type === "circuit-open").length, 1);
  });
  it("fails those that wait as well", async () => {
    const { clock, fetch } = world([refuse(503, "0"), refuse(503, "0"), refuse(503, "9")], options);
    for (let i = 0; i < 2; i++) await clock.until(fetch(URL_));
    const third = fetch(URL_);
    const waiting = fetch(`${URL_}?waiting`).catch((error: unknown) => error);
    await clock.until(third);
    await clock.until(waiting, 100);
    assert.ok((await waiting) instanceof CircuitOpenError);
    assert.equal(((await waiting) as CircuitOpenError).url, `${URL_}?waiting`);
  });
  it("takes the next call for the probe when one is aborted", async () => {
    const { clock, fetch } = world([refuse(503), refuse(503), refuse(503), ok], options);
    for (let i = 0; i < 3; i++) await clock.until(fetch(URL_));
    await clock.advance(1_000);
    await assert.rejects(fetch(URL_, { signal: AbortSignal.abort() }));
    assert.equal((await fetch(URL_)).status, 200);
  });
  it("takes the next call for the probe when one fails without an answer", async () => {
    const fails = () => Promise.reject(new TypeError("no network"));
    const { clock, fetch } = world([refuse(503), refuse(503), refuse(503), fails, ok], options);
    for (let i = 0; i < 3; i++) await clock.until(fetch(URL_));
    await clock.advance(1_000);
    await assert.rejects(fetch(URL_), TypeError);
    assert.equal((await fetch(URL_)).status, 200);
  });
  it("is one origin's", async () => {
    const { clock, fetch } = world([refuse(503), refuse(503), refuse(503), ok], options);
    for (let i = 0; i < 3; i++) await clock.until(fetch(URL_));
    assert.equal((await fetch("https://other.example.com/")).status, 200);
  });
  it("never opens where it is turned off", async () => {
    const { clock, fetch, sent } = world([refuse(503)], { ...options, circuit: false });
    for (let i = 0; i < 20; i++) await clock.until(fetch(URL_));
    assert.equal(sent.length, 20);
  });
});

describe("memory", () => {
  it("keeps the routes used last, and the policies that they meet", () => {
    const routes = new Routes(0.5);
    const first = routes.route("GET /0");
    const pace = routes.learn(first, "policy 0");
    for (let i = 1; i <= 300; i++) routes.learn(routes.route(`GET /${i}`), `policy ${i}`);
    assert.notEqual(routes.route("GET /0"), first);
    assert.notEqual(routes.learn(routes.route("GET /0"), "policy 0"), pace);
    assert.equal(routes.route("GET /300").policies.has("policy 300"), true);
    for (let i = 0; i < 100; i++) routes.learn(first, `limit ${i}`); // an operator changes it daily
    assert.ok(first.policies.size <= 8 && first.policies.has("limit 99"));
  });
});
