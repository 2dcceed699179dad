// A page whose buttons rest while the API limits it. `?api=` names the API, on another origin; `&caller=` us.

import { createRateLimitFetch, readQuotas } from "./headgate-fetch/index.js";

const query = new URLSearchParams(location.search);
const api = query.get("api");
const caller = query.get("caller") ?? crypto.randomUUID();
const at = (id) => document.getElementById(id);
const counts = { done: 0, waiting: 0, refused: 0 };

/** The browser's fetch; shows the quota of each answer. */
async function watchedFetch(input, init) {
  const response = await fetch(input, init);
  if (response.status === 429) counts.refused += 1;
  const [quota] = readQuotas(response.headers, Date.now());
  if (quota?.limit) showQuota(quota.remaining, quota.limit);
  return response;
}

const limitedFetch = createRateLimitFetch({ fetch: watchedFetch });

limitedFetch.events.addEventListener("limited", ({ detail }) => {
  tell("limited", detail.reason === "paced" ? "little is left: calls are spaced" : `refused with ${detail.status}`);
  rest(detail.delay, detail.reason === "paced" ? "Slowing down" : "Too many calls");
});
limitedFetch.events.addEventListener("retrying", ({ detail }) => {
  tell("retrying", `in ${seconds(detail.delay)}, try ${detail.attempt}`);
  rest(detail.delay, "Too many calls");
});
limitedFetch.events.addEventListener("circuit-open", ({ detail }) => {
  tell("circuit-open", `next probe in ${seconds(detail.delay)}`);
  rest(detail.delay, "The API is overloaded");
});
limitedFetch.events.addEventListener("recovered", () => {
  tell("recovered", "calls pass again");
  wake();
});

at("one").addEventListener("click", () => send());
at("many").addEventListener("click", () => {
  for (let i = 0; i < 20; i++) send();
});

async function send() {
  counts.waiting += 1;
  show();
  try {
    const response = await limitedFetch(api, { headers: { "x-demo": caller } });
    if (response.ok) counts.done += 1;
  } catch (error) {
    tell(error.name, error.message);
  }
  counts.waiting -= 1;
  show();
}

let until = 0;
let ticking;

/** Buttons off, toast on, until `wake`. */
function rest(delay, title) {
  until = Math.max(until, performance.now() + delay);
  at("toast-title").textContent = title;
  at("toast").hidden = false;
  for (const button of document.querySelectorAll("button")) button.disabled = true;
  ticking ??= setInterval(tick, 100);
  tick();
}

function tick() {
  const left = until - performance.now();
  const { waiting } = counts;
  const calls = `${waiting} ${waiting === 1 ? "call waits" : "calls wait"}`;
  at("toast-text").textContent = left > 0 ? `${calls}, the next one goes in ${seconds(left)}` : `${calls}, they go one by one`;
}

function wake() {
  clearInterval(ticking);
  ticking = undefined;
  until = 0;
  at("toast").hidden = true;
  for (const button of document.querySelectorAll("button")) button.disabled = false;
}

function tell(name, text) {
  document.querySelector("#events .none")?.remove();
  const line = document.createElement("li");
  line.className = name;
  const [time, event, rest] = ["time", "b", "span"].map((tag) => document.createElement(tag));
  time.textContent = seconds(performance.now());
  event.textContent = name;
  rest.textContent = text;
  line.append(time, event, rest);
  at("events").prepend(line);
}

function showQuota(remaining, limit) {
  at("rule").textContent = limit;
  const meter = document.querySelector("meter");
  meter.max = limit;
  meter.low = limit / 4;
  meter.high = limit / 2;
  meter.optimum = limit;
  meter.value = remaining;
  at("left-text").textContent = `${remaining} of ${limit}`;
  show();
}

function show() {
  for (const [name, count] of Object.entries(counts)) at(name).textContent = `${count}`;
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}
