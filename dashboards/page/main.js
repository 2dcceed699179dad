// Puts the page together: the dashboard's panels, the controls, and the loop that asks Prometheus for figures.

import { bars } from "./panels/bars.js";
import { controls } from "./controls.js";
import { loadDashboard } from "./dashboard.js";
import { frame } from "./panels/frame.js";
import { stat } from "./panels/stat.js";
import { table } from "./panels/table.js";
import { timeseries } from "./panels/timeseries.js";
import { Prometheus, Unreachable } from "./prometheus.js";
import { say } from "./status.js";

const KINDS = { timeseries, stat, bargauge: bars, table };
/** While Prometheus does not answer: in ms, whatever the chosen refresh. */
const RETRY = 5_000;

const prometheus = new Prometheus(new URL("..", document.baseURI));
const dashboard = await loadDashboard("headgate.json");
document.getElementById("title").textContent = dashboard.title;
document.title = dashboard.title;

const panels = dashboard.panels.map((panel) => {
  const { element, body, show } = frame(panel);
  document.getElementById("panels").append(element);
  const kind = KINDS[panel.type];
  if (!kind) show("error", `This page draws no panels of the type ${panel.type}.`);
  return { panel, show, view: kind?.(panel, body) };
});

let timer;
let asking;
const settings = controls(dashboard, refresh);

async function refresh() {
  clearTimeout(timer);
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  let wait = settings.refresh;
  try {
    const target = await prometheus.target(signal);
    const window = prometheus.window(settings.range, target.scrapeInterval);
    const found = await Promise.all(panels.map((one) => update(one, window, signal)));
    const blind = target.health === "down" || target.health === "none";
    say(blind ? "blind" : found.some(Boolean) ? "live" : "empty", target.lastError);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Unreachable)) throw error;
    say("unreachable", error.message);
    wait &&= Math.min(wait, RETRY);
  }
  // A hidden page asks nothing; coming back, it asks at once.
  if (wait && !document.hidden) timer = setTimeout(refresh, wait);
}

/** @returns whether there were figures */
async function update({ panel, show, view }, window, signal) {
  if (!view) return false;
  try {
    const answers = await Promise.all(panel.queries.map((query) => prometheus.run(query, window, signal)));
    const drawn = view.update(answers, window);
    show(drawn ? "data" : "empty", drawn ? "" : panel.noValue);
    return answers.some((series) => series.length > 0);
  } catch (error) {
    if (error instanceof Unreachable || signal.aborted) throw error;
    show("error", error.message);
    return false;
  }
}

document.addEventListener("visibilitychange", () => document.hidden || refresh());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const { view } of panels) view?.recolour?.();
});
refresh();
