// Reads Grafana's JSON, the only definition of panels and queries, into what the page draws.

/** @returns {Promise<{title: string, from: string, refresh: string, panels: Panel[]}>} panels in reading order */
export async function loadDashboard(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  const json = await response.json();
  const panels = json.panels.map(readPanel);
  panels.sort((a, b) => a.place.y - b.place.y || a.place.x - b.place.x);
  return { title: json.title, from: json.time.from.replace("now-", ""), refresh: json.refresh, panels };
}

function readPanel({ id, type, title, description, gridPos, fieldConfig, options, targets, transformations }) {
  const { unit = "short", decimals, noValue = "No data in this range", thresholds } = fieldConfig.defaults;
  return {
    id,
    type,
    title,
    description,
    place: gridPos,
    unit,
    decimals,
    noValue,
    /** From here on it is bad. */
    threshold: thresholds?.steps.find((step) => step.value !== null)?.value,
    queries: targets.map(({ expr, legendFormat, instant }) => ({ expr, legend: legendFormat, instant: !!instant })),
    sparkline: options?.graphMode === "area",
    columns: transformations?.find((one) => one.id === "organize")?.options ?? {},
  };
}

/** A series' name by Grafana's `{{label}}`; a label that is not there is left out. */
export function nameOf(labels, legend) {
  const name = (legend ?? "").replace(/{{\s*([\w-]+)\s*}}/g, (_, label) => labels[label] ?? "").trim();
  return name || Object.entries(labels).map(([key, value]) => `${key}=${value}`).join(" ") || "value";
}
