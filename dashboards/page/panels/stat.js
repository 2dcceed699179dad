// One large figure with a small chart; beyond its threshold it is marked in words and colour.

import { format } from "../format.js";

const [WIDTH, HEIGHT] = [100, 24];

export function stat(panel, body) {
  const value = document.createElement("p");
  value.className = "value";
  const note = document.createElement("p");
  note.className = "note";
  const course = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  course.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  course.setAttribute("preserveAspectRatio", "none");
  course.setAttribute("aria-hidden", "true");
  course.innerHTML = '<path class="area"/><path class="line"/>';
  body.append(value, note, course);

  return {
    update(answers, window) {
      const points = answers[0][0]?.points ?? [];
      const now = points.at(-1);
      // a series that ended before the last two steps has no current value
      const known = now && now[0] >= window.end - 2 * window.step ? now[1] : null;
      const bad = panel.threshold !== undefined && known !== null && known >= panel.threshold;
      value.textContent = format(known, panel.unit);
      note.textContent = bad && panel.threshold !== 1 ? `over ${format(panel.threshold, panel.unit)}` : "";
      body.parentElement.classList.toggle("bad", bad);
      draw(course, panel.sparkline ? points : [], window);
      return true;
    },
  };
}

function draw(course, points, { start, end }) {
  const largest = Math.max(...points.map(([, value]) => value ?? 0), Number.MIN_VALUE);
  const place = ([time, value]) => {
    const x = ((time - start) / (end - start)) * WIDTH;
    return `${x.toFixed(2)} ${(HEIGHT - 1 - (value / largest) * (HEIGHT - 3)).toFixed(2)}`;
  };
  const runs = [[]];
  for (const point of points) {
    if (point[1] === null) runs.push([]);
    else runs.at(-1).push(point);
  }
  const lines = runs.filter((run) => run.length > 1);
  const path = (close) => lines.map((run) => `M${run.map(place).join("L")}${close(run)}`).join("");
  const foot = ([time]) => place([time, 0]).split(" ")[0];
  course.querySelector(".line").setAttribute("d", path(() => ""));
  course.querySelector(".area").setAttribute("d", path((run) => `L${foot(run.at(-1))} ${HEIGHT}L${foot(run[0])} ${HEIGHT}Z`));
}
