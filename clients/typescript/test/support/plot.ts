// The storm as an SVG: answers in each second, one panel for each kind of caller, on one scale.

import { KIND_NAMES, LIMIT, WINDOW, refusedShare, used, type Result } from "./storm.js";

const WIDTH = 860;
const PANEL = 150;
const GAP = 62;
const LEFT = 56;
const RIGHT = 16;
const TOP = 44;

const STYLE = `
text { font: 13px system-ui, sans-serif; fill: #1b2330 }
.soft { fill: #5b6675 } .bold { font-weight: 600 }
.page { fill: #ffffff } .line { stroke: #dfe3e8 } .limit { stroke: #1b2330; stroke-dasharray: 4 4 }
.done { fill: #2457d6 } .refused { fill: #e08a1e }
@media (prefers-color-scheme: dark) {
  text { fill: #e8ecf2 } .soft { fill: #9aa6b5 }
  .page { fill: #10141b } .line { stroke: #2b3442 } .limit { stroke: #e8ecf2 }
  .done { fill: #7aa2ff } .refused { fill: #f5b454 }
}`;

export function plot(results: readonly Result[]): string {
  const seconds = Math.ceil(Math.max(...results.map(({ duration }) => duration)) / 1000);
  const most = Math.max(...results.flatMap(({ perSecond }) => perSecond.map((count) => (count ? count.done + count.refused : 0))));
  const top = Math.ceil(most / 50) * 50;
  const height = TOP + results.length * (PANEL + GAP);
  const x = (second: number) => LEFT + (second / seconds) * (WIDTH - LEFT - RIGHT);
  const bar = (x(1) - x(0)) * 0.8;

  const panels = results.map((result, i) => {
    const bottom = TOP + i * (PANEL + GAP) + PANEL + 18;
    const y = (count: number) => bottom - (count / top) * PANEL;
    const title = `${KIND_NAMES[result.kind]}: ${percent(refusedShare(result))} refused, ${percent(used(result))} of the limit used`;
    const grid = [0, top / 2, top].map(
      (count) =>
        `<line class="line" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${n(y(count))}" y2="${n(y(count))}"/>` +
        `<text class="soft" x="${LEFT - 8}" y="${n(y(count) + 4)}" text-anchor="end">${count}</text>`,
    );
    const bars = Array.from({ length: seconds }, (_, second) => {
      const { done, refused } = result.perSecond[second] ?? { done: 0, refused: 0 };
      const rect = (kind: string, from: number, to: number) =>
        to > from
          ? `<rect class="${kind}" x="${n(x(second))}" y="${n(y(to))}" width="${n(bar)}" height="${n(y(from) - y(to))}"/>`
          : "";
      return rect("done", 0, done) + rect("refused", done, done + refused);
    });
    const pace = y(LIMIT / (WINDOW / 1000));
    return [
      `<text class="bold" x="${LEFT}" y="${bottom - PANEL - 10}">${title}</text>`,
      ...grid,
      ...bars,
      `<line class="limit" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${n(pace)}" y2="${n(pace)}"/>`,
    ].join("\n");
  });
  const ticks = Array.from({ length: 5 }, (_, i) => Math.round((i * seconds) / 4)).map((second) => {
    const anchor = second === seconds ? "end" : second === 0 ? "start" : "middle";
    return `<text class="soft" x="${n(x(second))}" y="${height - 22}" text-anchor="${anchor}">${second} s</text>`;
  });
  const legend =
    `<rect class="done" x="${LEFT}" y="10" width="12" height="12"/><text x="${LEFT + 18}" y="21">done</text>` +
    `<rect class="refused" x="${LEFT + 70}" y="10" width="12" height="12"/><text x="${LEFT + 88}" y="21">refused (429)</text>` +
    `<line class="limit" x1="${LEFT + 195}" x2="${LEFT + 219}" y1="16" y2="16"/>` +
    `<text x="${LEFT + 226}" y="21">the limit's pace: ${LIMIT} in ${WINDOW / 1000} s</text>` +
    `<text class="soft" x="${WIDTH - RIGHT}" y="21" text-anchor="end">answers a second</text>`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img">`,
    `<title>Answers in each second of the storm</title>`,
    `<style>${STYLE}</style>`,
    `<rect class="page" width="${WIDTH}" height="${height}"/>`,
    legend,
    ...panels,
    ...ticks,
    `</svg>\n`,
  ].join("\n");
}

const percent = (part: number) => `${(part * 100).toFixed(1)}%`;

/** Short. */
const n = (value: number) => Number(value.toFixed(1));
