// Dates in HTTP headers (RFC 9110, section 5.6.7): the form that is sent, and the two obsolete ones that a
// recipient must still read; and RFC 3339, which some APIs use. `Date.parse` alone takes too much, and reads the third
// in local time.

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const TIME = "(?<hour>\\d\\d):(?<minute>\\d\\d):(?<second>\\d\\d)";
const FORMS = [
  `[A-Z][a-z]{2}, (?<day>\\d\\d) (?<month>[A-Z][a-z]{2}) (?<year>\\d{4}) ${TIME} GMT`,
  `[A-Z][a-z]{5,8}, (?<day>\\d\\d)-(?<month>[A-Z][a-z]{2})-(?<year>\\d\\d) ${TIME} GMT`,
  `[A-Z][a-z]{2} (?<month>[A-Z][a-z]{2}) (?<day>[ \\d]\\d) ${TIME} (?<year>\\d{4})`,
].map((form) => new RegExp(`^${form}$`));

/** 2026-05-23T12:00:30.5Z, with any offset. One without an offset could be meant in any time zone. */
const RFC_3339 = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)$/;

/** Milliseconds since 1970, or `undefined`. `now`, in the same unit, decides the century of a year with two digits. */
export function parseDate(text: string, now: number): number | undefined {
  const [, day, time, fraction = "", offset] = RFC_3339.exec(text.trim()) ?? [];
  if (day && time && offset) {
    const date = Date.parse(`${day}T${time}${offset.toUpperCase()}`) + Number(`0.${fraction || 0}`) * 1000;
    return Number.isNaN(date) ? undefined : date;
  }
  return parseHttpDate(text, now);
}

function parseHttpDate(text: string, now: number): number | undefined {
  for (const form of FORMS) {
    const parts = form.exec(text.trim())?.groups;
    if (!parts) continue;
    const [day, hour, minute, second] = [parts.day, parts.hour, parts.minute, parts.second].map(Number);
    const month = MONTHS.indexOf(parts.month ?? "");
    let year = Number(parts.year);
    if (parts.year?.length === 2) {
      const thisYear = new Date(now).getUTCFullYear();
      year += thisYear - (thisYear % 100);
      if (year > thisYear + 50) year -= 100;
    }
    const date = Date.UTC(year, month, day, hour, minute, second);
    // 31 February, 25 o'clock: Date.UTC would carry over. A leap second is the one carry that is meant.
    const sane = month >= 0 && new Date(date - (second === 60 ? 1000 : 0)).toUTCString().includes(
      `${String(day).padStart(2, "0")} ${MONTHS[month]} ${String(year).padStart(4, "0")} ${parts.hour}:${parts.minute}`,
    );
    return sane ? date : undefined;
  }
  return undefined;
}
