// The card around a panel: its title, its description, its place in the grid, and its text without data.

export function frame(panel) {
  const element = document.createElement("section");
  element.className = `panel ${panel.type}`;
  element.dataset.state = "waiting";
  const { x, w, h } = panel.place;
  element.style.setProperty("--column", `${x + 1} / span ${w}`);
  element.style.setProperty("--height", h);

  const heading = document.createElement("h2");
  heading.id = `panel-${panel.id}`;
  heading.textContent = panel.title;
  element.setAttribute("aria-labelledby", heading.id);
  element.append(heading);
  if (panel.description) {
    const description = document.createElement("p");
    description.className = "description";
    description.textContent = panel.description;
    element.append(description);
  }
  const body = document.createElement("div");
  body.className = "body";
  const message = document.createElement("p");
  message.className = "message";
  element.append(body, message);

  const show = (state, text = "") => {
    element.dataset.state = state;
    message.textContent = text;
  };
  return { element, body, show };
}
