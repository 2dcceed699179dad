// The time range and the refresh interval. They are kept in the address, so that a link shows the same charts.

import { seconds } from "./format.js";

const RANGES = { "5m": "5 min", "15m": "15 min", "1h": "1 h", "6h": "6 h", "24h": "24 h" };
const REFRESHES = { "off": "off", "2s": "2 s", "5s": "5 s", "10s": "10 s", "30s": "30 s", "1m": "1 min" };

/** @returns the settings in force: range in seconds, refresh in ms (0: off) */
export function controls(dashboard, changed) {
  const address = new URL(location.href);
  const range = fill("range", RANGES, address.searchParams.get("range"), dashboard.from);
  const refresh = fill("refresh", REFRESHES, address.searchParams.get("refresh"), dashboard.refresh);
  const form = document.getElementById("controls");
  form.addEventListener("change", () => {
    for (const select of [range, refresh]) address.searchParams.set(select.name, select.value);
    history.replaceState(null, "", address);
    changed();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    changed();
  });
  return {
    get range() {
      return seconds(range.value);
    },
    get refresh() {
      return 1000 * seconds(refresh.value);
    },
  };
}

function fill(id, choices, ...wishes) {
  const select = document.getElementById(id);
  for (const [value, text] of Object.entries(choices)) select.append(new Option(text, value));
  select.value = wishes.find((wish) => wish in choices) ?? Object.keys(choices)[1];
  return select;
}
