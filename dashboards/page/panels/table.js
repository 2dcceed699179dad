// The labels of an instant query's series, a row each; columns by the panel's `organize` transformation.

export function table(panel, body) {
  const { excludeByName = {}, indexByName = {}, renameByName = {} } = panel.columns;
  const element = document.createElement("table");
  body.append(element);

  return {
    update(answers) {
      const rows = answers.flat().map(({ labels }) => labels);
      const names = [...new Set(rows.flatMap(Object.keys))].filter((name) => !excludeByName[name]);
      names.sort((a, b) => (indexByName[a] ?? 99) - (indexByName[b] ?? 99) || a.localeCompare(b));
      const first = names[0];
      rows.sort((a, b) => `${a[first]}`.localeCompare(`${b[first]}`));
      const head = document.createElement("thead");
      head.append(line(names.map((name) => cell("th", renameByName[name] ?? name))));
      const content = document.createElement("tbody");
      content.append(...rows.map((row) => line(names.map((name) => cell("td", row[name] ?? "", name)))));
      element.replaceChildren(head, content);
      return rows.length > 0;
    },
  };
}

function line(cells) {
  const row = document.createElement("tr");
  row.append(...cells);
  return row;
}

function cell(kind, text, label) {
  const element = document.createElement(kind);
  if (kind === "th") element.scope = "col";
  const content = document.createElement("span");
  content.textContent = text;
  // firing, pending, critical, warning have a look of their own
  if (label) content.dataset.value = text;
  element.append(content);
  return element;
}
