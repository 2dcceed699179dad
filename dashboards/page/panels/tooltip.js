// The figures at one time, beside the pointer or, by the arrow keys, beside the time that was stepped to.

import { clock, format } from "../format.js";

const ROWS = 8;

/** @param now the content of the chart: its plot and its lines */
export function tooltip(panel, chart, now) {
  const box = document.createElement("div");
  box.className = "tooltip";
  box.hidden = true;
  box.setAttribute("aria-live", "polite");
  chart.append(box);
  chart.tabIndex = 0;
  chart.setAttribute("role", "application");
  chart.setAttribute("aria-label", `${panel.title}: chart over time. Left and right arrow keys read the figures.`);

  const hide = () => now().plot?.setCursor({ left: -10, top: -10 });
  chart.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") hide();
    const { plot, lines } = now();
    if (!by || !plot) return;
    event.preventDefault();
    const times = plot.data[0];
    const seen = (at) => lines.some(({ values }) => values[at] !== null);
    let at = plot.cursor.idx ?? times.length;
    do at += by;
    while (at >= 0 && at < times.length && !seen(at));
    if (at >= 0 && at < times.length) plot.setCursor({ left: plot.valToPos(times[at], "x"), top: 0 });
  });
  chart.addEventListener("blur", hide);

  return {
    /** @param plot whose crosshair has moved */
    move(plot) {
      const { idx: at, left } = plot.cursor;
      const meant = chart.matches(":hover") || document.activeElement === chart;
      const rows = at === null || left < 0 || !meant ? [] : rowsAt(now().lines, plot, at);
      box.hidden = rows.length === 0;
      if (box.hidden) return;
      const time = document.createElement("p");
      time.textContent = clock(plot.data[0][at]);
      box.replaceChildren(time, ...rows.slice(0, ROWS).map((row) => line(row, panel.unit)));
      if (rows.length > ROWS) box.append(`and ${rows.length - ROWS} more`);
      const x = left + plot.bbox.left / devicePixelRatio;
      box.classList.toggle("before", x > chart.clientWidth / 2);
      box.style.setProperty("--x", `${x}px`);
    },
  };
}

function rowsAt(lines, plot, at) {
  return lines
    .map(({ name, style, values }, index) => ({ name, style, value: values[at], shown: plot.series[index + 1]?.show }))
    .filter(({ value, shown }) => shown && value !== null)
    .sort((a, b) => b.value - a.value);
}

function line({ name, style, value }, unit) {
  const row = document.createElement("div");
  row.style.setProperty("--colour", `var(${style.variable})`);
  const label = document.createElement("span");
  label.className = "name";
  label.textContent = name;
  const number = document.createElement("span");
  number.className = "number";
  number.textContent = format(value, unit);
  row.append(label, number);
  return row;
}
