// Lines over time, by uPlot: one time axis and one crosshair for all charts of the page.

import uPlot from "../uplot/uPlot.esm.js";
import { nameOf } from "../dashboard.js";
import { axisUnit, clock, ticks } from "../format.js";
import { colour, lineStyle } from "../palette.js";
import { legend } from "./legend.js";
import { tooltip } from "./tooltip.js";

/** How far apart ticks of time are at least, in pixels: `12:05`, `12:05:30`. */
const [TICK, TICK_OF_SECONDS] = [52, 76];
const MINUTE = { hour: "2-digit", minute: "2-digit" };
const WHOLE = Array.from({ length: 28 }, (_, i) => [1, 2, 5][i % 3] * 10 ** Math.floor(i / 3));

export function timeseries(panel, body) {
  const chart = document.createElement("div");
  chart.className = "chart";
  const over = document.createElement("span");
  over.className = "axis-unit";
  over.textContent = axisUnit(panel.unit);
  over.setAttribute("aria-hidden", "true");
  chart.append(over);
  body.append(chart);
  const keys = legend(panel, body);

  /** A series keeps its colour as long as the page is open. */
  const places = new Map();
  let plot;
  let drawn = "";
  let lines = [];
  let data = [[], []];
  const tip = tooltip(panel, chart, () => ({ plot, lines }));

  const build = () => {
    plot?.destroy();
    plot = new uPlot(options(panel, chart, lines, tip.move), data, chart);
    keys.attach(plot, lines);
    keys.update(lines);
  };
  new ResizeObserver(() => {
    const { clientWidth: width, clientHeight: height } = chart;
    if (plot && width && height) plot.setSize({ width, height });
  }).observe(chart);

  return {
    update(answers, window) {
      const times = [];
      for (let time = window.start; time <= window.end; time += window.step) times.push(time);
      lines = answers.flat().map(({ labels, legend, points }) => ({ name: nameOf(labels, legend), points }));
      lines.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
      for (const line of lines) {
        if (!places.has(line.name)) places.set(line.name, places.size);
        line.style = lineStyle(places.get(line.name));
        line.values = onGrid(times, line.points);
      }
      data = [times, ...(lines.length ? lines.map(({ values }) => values) : [times.map(() => null)])];
      const names = lines.map(({ name }) => name).join("\n");
      if (!plot || names !== drawn) build();
      else {
        plot.setData(data);
        keys.update(lines);
      }
      drawn = names;
      return lines.some(({ values }) => values.some((value) => value !== null));
    },
    recolour: () => plot && build(),
  };
}

function onGrid(times, points) {
  const known = new Map(points);
  return times.map((time) => known.get(time) ?? null);
}

function options(panel, chart, lines, moved) {
  const ink = () => colour("--soft");
  const rule = { stroke: () => colour("--rule"), width: 1 };
  const series = lines.map(({ name, style: { variable, dash } }) => ({
    label: name,
    stroke: () => colour(variable),
    fill: lines.length === 1 ? () => `${colour(variable)}1f` : undefined,
    width: 1.75,
    dash,
    points: { show: false, filter: (plot, at) => lonely(plot.data[at]), size: 5 },
  }));
  return {
    width: chart.clientWidth || 300,
    height: chart.clientHeight || 160,
    legend: { show: false },
    padding: [axisUnit(panel.unit) ? 28 : 10, 22, 0, 0],
    focus: { alpha: 0.25 },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 }, sync: { key: "headgate", scales: ["x", null] } },
    scales: { x: { time: true }, y: { range: (_, least, most) => yRange(least, most) } },
    axes: [
      {
        stroke: ink,
        font: font(),
        grid: { show: false },
        ticks: { ...rule, size: 4 },
        gap: 4,
        space: (_, __, from, to, width) => (((to - from) / width) * TICK <= 30 ? TICK_OF_SECONDS : TICK),
        size: 28,
        values: timeTicks,
      },
      {
        stroke: ink,
        font: font(),
        grid: rule,
        ticks: { show: false },
        gap: 4,
        space: 32,
        size: (_, values) => 12 + 7 * Math.max(3, ...(values ?? []).map((text) => text.length)),
        values: (_, splits) => ticks(splits, panel.unit),
        ...(panel.unit === "short" ? { incrs: WHOLE } : {}),
      },
    ],
    series: [{}, ...(series.length ? series : [{ show: false }])],
    hooks: { setCursor: [moved] },
  };
}

/** Values between two gaps, which have no line to be seen by. */
function lonely(values) {
  const known = (at) => (values[at] ?? null) !== null;
  return values.flatMap((_, at) => (known(at) && !known(at - 1) && !known(at + 1) ? [at] : []));
}

function yRange(least, most) {
  if (!(most > 0)) return [Math.min(0, least ?? 0), 1];
  return uPlot.rangeNum(Math.min(0, least), most, { min: { pad: 0 }, max: { pad: 0.08 } });
}

function timeTicks(_, times, __, ___, step) {
  return times.map((time) => clock(time, step < 60 ? undefined : MINUTE));
}

const font = () => `12px ${getComputedStyle(document.body).fontFamily}`;
