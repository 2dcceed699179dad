// The colours of lines, from the style sheet, which has one set for light and one for dark.

const COLOURS = 8;
const DASHES = [[], [6, 3], [2, 3]];

/** @param index 0 and up; after the last colour they begin again, dashed */
export const lineStyle = (index) => ({
  variable: `--series-${index % COLOURS}`,
  dash: DASHES[Math.floor(index / COLOURS) % DASHES.length],
});

export const colour = (variable) => getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
