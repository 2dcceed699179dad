// Whether what is shown can be believed: the word in the header, and a line under it where there is more to say.

import { clock } from "./format.js";

const WORDS = { live: "Live", empty: "No data yet", blind: "Envoy not reachable", unreachable: "Prometheus not reachable" };
let last;

/** @param state live, empty, blind (Prometheus answers, Envoy does not) or unreachable */
export function say(state, reason) {
  const now = clock(Date.now() / 1000);
  if (state === "live") last = now;
  const status = document.getElementById("status");
  status.dataset.state = state;
  document.getElementById("status-text").textContent = state === "live" ? `Live, ${now}` : WORDS[state];
  document.body.classList.toggle("stale", state === "unreachable" || state === "blind");

  const seen = last ? ` What is shown is of ${last}.` : "";
  const banner = document.getElementById("banner");
  const text = {
    live: "",
    empty: "No data yet. The first figures come some seconds after Envoy has had its first requests.",
    blind: `Prometheus cannot read Envoy's metrics: ${reason}. Is Envoy running?${seen}`,
    unreachable: `Prometheus does not answer on ${reason}. \`make dashboard\` starts it.${seen}`,
  }[state];
  // announced to a screen reader only when it changes
  if (banner.textContent !== text) banner.textContent = text;
  banner.hidden = !text;
}
