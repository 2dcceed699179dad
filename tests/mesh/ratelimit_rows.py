"""What results.md of the benchmark must say of each row of envoyproxy/ratelimit: ratelimit_rows.py FILE KEYS SECONDS"""
import re
import sys

# Calls of Redis per request, give or take those that are under way when the load ends, and the share that is denied. Where
# all are denied, the service asks Redis once for each key, and then its local cache.
EXPECTED = {"ratelimit": (1, 0), "ratelimit/cluster": (1, 0), "ratelimit/four": (4, 0), "ratelimit/denied": (0, 100)}


def cells(text, name):
    """The row's cells, by the columns' names, of the table with the figures."""
    header = None
    for line in text.splitlines():
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if "Redis calls" in row and "denied" in row:
            header = row
        elif header and row[0] == f"`{name}`" and len(row) == len(header):
            return dict(zip(header, row))
    raise SystemExit(f"FAILED: no figures of {name}; left out? {[line for line in text.splitlines() if 'left out' in line]}")


def main():
    text, keys, seconds, failed = open(sys.argv[1]).read(), int(sys.argv[2]), int(sys.argv[3]), 0
    for name, (calls, denied) in EXPECTED.items():
        row = cells(text, name)
        rate = float(re.match(r"[\d,]+", next(value for column, value in row.items() if "/s" in column))[0].replace(",", ""))
        seen = float(row["Redis calls"]), float(row["denied"].rstrip("%"))
        once = keys / (rate * seconds) if denied and rate else 0
        good = rate > 0 and -0.05 * max(calls, 1) <= seen[0] - calls <= 0.05 * max(calls, 1) + once and seen[1] == denied
        failed += not good
        print(f"{'ok    ' if good else 'FAILED'} {name}: {seen[0]} calls of Redis per request, {seen[1]:.0f}% denied, {rate:.0f}/s")
    print(f"meshes: {len(EXPECTED) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
