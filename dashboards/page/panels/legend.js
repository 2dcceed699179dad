// Which line is which, with its latest figure; a click or Enter hides a line, and shows it again.

import { format } from "../format.js";

export function legend(panel, body) {
  const list = document.createElement("ul");
  list.className = "legend";
  body.append(list);
  const hidden = new Set();
  let keys = [];

  const key = (plot, { name, style: { variable, dash } }, at) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", !hidden.has(name));
    button.title = `Hide or show ${name}`;
    button.innerHTML = '<svg viewBox="0 0 16 4" aria-hidden="true"><path d="M0 2h16"/></svg><span class="name"></span> <span class="number"></span>';
    button.style.setProperty("--colour", `var(${variable})`);
    button.querySelector("path").style.strokeDasharray = dash.join(" ");
    button.querySelector(".name").textContent = name;
    button.addEventListener("click", () => {
      if (!hidden.delete(name)) hidden.add(name);
      plot.setSeries(at + 1, { show: !hidden.has(name) });
      button.setAttribute("aria-pressed", !hidden.has(name));
    });
    button.addEventListener("pointerenter", () => plot.setSeries(at + 1, { focus: true }));
    button.addEventListener("pointerleave", () => plot.setSeries(null, { focus: true }));
    if (hidden.has(name)) plot.setSeries(at + 1, { show: false });
    item.append(button);
    return item;
  };

  return {
    /** New lines, on a new plot. */
    attach(plot, lines) {
      keys = lines.map((line, at) => key(plot, line, at));
      list.replaceChildren(...keys);
    },
    /** New figures of the same lines. */
    update(lines) {
      lines.forEach(({ values }, at) => {
        // series without events come last
        keys[at].classList.toggle("zero", values.every((value) => !value));
        keys[at].querySelector(".number").textContent = format(values.findLast((value) => value !== null), panel.unit);
      });
    },
  };
}
