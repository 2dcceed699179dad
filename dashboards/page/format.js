// Numbers as people read them: three figures, the unit that Grafana's schema names.

const UNITS = { reqps: "req/s", percentunit: "%", s: "s", short: "" };
const SCALES = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
const TIMES = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]];
const DURATIONS = { ms: 1e-3, s: 1, m: 60, h: 3600, d: 86400 };

/** @returns the value with its unit, in words of their own for a value that is not there */
export function format(value, unit, decimals) {
  if (value === null || value === undefined) return "–";
  const [number, suffix] = parts(value, unit, value, decimals);
  return suffix === "%" ? `${number}%` : [number, suffix].filter(Boolean).join(" ");
}

/** The ticks of one axis: one scale and as many decimals for all of them. */
export function ticks(values, unit) {
  const largest = Math.max(...values.map(Math.abs));
  const [divisor, prefix] = scale(largest, unit);
  const step = values.length > 1 ? Math.abs(values[1] - values[0]) / divisor : 1;
  const decimals = [0, 1, 2, 3].find((places) => Math.abs(step * 10 ** places - Math.round(step * 10 ** places)) < 1e-6) ?? 4;
  const suffix = unit === "percentunit" ? "%" : unit === "s" ? ` ${prefix}` : prefix;
  return values.map((value) => (value === 0 && unit !== "percentunit" ? "0" : (value / divisor).toFixed(decimals) + suffix));
}

/** The label of an axis whose ticks do not contain the unit. */
export const axisUnit = (unit) => (unit === "reqps" ? UNITS.reqps : "");

function parts(value, unit, like, decimals) {
  const [divisor, prefix] = scale(Math.abs(like), unit);
  const number = figures(value / divisor, divisor > 1 ? undefined : decimals);
  if (unit === "s" || unit === "percentunit") return [number, prefix];
  return [number + prefix, UNITS[unit] ?? unit];
}

function scale(size, unit) {
  if (unit === "percentunit") return [0.01, "%"];
  if (unit === "s") return TIMES.find(([least]) => size >= least * 0.9995) ?? (size ? TIMES[2] : TIMES[1]);
  return SCALES.find(([divisor]) => size >= Math.max(divisor * 0.9995, 9_999.5)) ?? [1, ""];
}

function figures(number, decimals) {
  const size = Math.abs(number);
  if (number !== 0 && size < 0.01 && decimals === undefined) return "<0.01";
  const places = decimals ?? (size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2);
  return number.toLocaleString("en-GB", { maximumFractionDigits: places });
}

/** A duration of Prometheus or Grafana (`1m30s`), in seconds. */
export function seconds(text) {
  let sum = 0;
  for (const [, number, unit] of text.matchAll(/([\d.]+)(ms|[smhd])/g)) sum += number * DURATIONS[unit];
  return sum;
}

/** @param time in seconds since 1970 */
export const clock = (time, options = { timeStyle: "medium" }) => new Date(time * 1000).toLocaleTimeString("en-GB", options);
