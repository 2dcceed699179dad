// Prometheus's HTTP API: range and instant queries with Grafana's variables filled in, and how the scrape fares.

import { seconds } from "./format.js";

/** It does not answer at all, or something else answers in its place. */
export class Unreachable extends Error {}

/** So many points a line at most, whatever the range. */
const POINTS = 240;

export class Prometheus {
  /** @param base where it is served, with a slash at the end */
  constructor(base) {
    this.base = base;
  }

  /** The scraped Envoy that fares best: its health, its last error, and the scrape interval in seconds. */
  async target(signal) {
    const { activeTargets } = await this.#get("targets", { state: "active" }, signal);
    const best = activeTargets.find(({ health }) => health === "up") ?? activeTargets[0];
    if (!best) return { health: "none", lastError: "it has no targets", scrapeInterval: 15 };
    return { ...best, scrapeInterval: seconds(best.scrapeInterval) };
  }

  /** The queried range, aligned to its step so that lines do not move between refreshes. All in seconds. */
  window(range, scrapeInterval) {
    const step = Math.max(scrapeInterval, Math.ceil(range / POINTS));
    const end = Math.floor(Date.now() / 1000 / step) * step;
    // as Grafana has it
    const rateInterval = Math.max(4 * scrapeInterval, step + scrapeInterval);
    return { start: end - Math.floor(range / step) * step, end, step, range, rateInterval };
  }

  /** @returns {Promise<{labels: object, legend: string, points: [number, number | null][]}[]>} */
  async run({ expr, legend, instant }, window, signal) {
    const query = expr
      .replaceAll("$__rate_interval", `${window.rateInterval}s`)
      .replaceAll("$__range", `${window.range}s`);
    const { start, end, step } = window;
    const { result } = instant
      ? await this.#get("query", { query }, signal)
      : await this.#get("query_range", { query, start, end, step }, signal);
    return result.map(({ metric, value, values }) => ({
      labels: metric,
      legend,
      points: (values ?? [value]).map(([time, text]) => [time, Number.isFinite(+text) ? +text : null]),
    }));
  }

  async #get(path, parameters, signal) {
    const url = new URL(`api/v1/${path}?${new URLSearchParams(parameters)}`, this.base);
    let answer;
    try {
      const response = await fetch(url, { signal });
      answer = await response.json();
    } catch {
      throw new Unreachable(this.base.host);
    }
    if (answer.status !== "success") throw new Error(answer.error ?? "Prometheus refuses this query.");
    return answer.data;
  }
}
