// The largest of several figures, as bars with their numbers beside them.

import { nameOf } from "../dashboard.js";
import { format } from "../format.js";

export function bars(panel, body) {
  const list = document.createElement("ol");
  list.className = "bars";
  body.append(list);

  return {
    update(answers) {
      const rows = answers
        .flat()
        .map(({ labels, legend, points }) => ({ name: nameOf(labels, legend), value: points.at(-1)?.[1] ?? 0 }))
        .sort((a, b) => b.value - a.value);
      list.replaceChildren(...rows.map((row) => bar(row, rows[0].value, panel)));
      return rows.length > 0;
    },
  };
}

function bar({ name, value }, largest, panel) {
  const item = document.createElement("li");
  const label = document.createElement("span");
  label.textContent = name;
  label.className = "name";
  const number = document.createElement("span");
  number.textContent = format(value, panel.unit, panel.decimals);
  number.className = "number";
  const length = document.createElement("span");
  length.className = "length";
  length.style.setProperty("--share", largest > 0 ? value / largest : 0);
  item.append(label, number, length);
  return item;
}
