"""Tests by name, and the table of changes under load."""
import contextlib
import time
import traceback

from cluster import Failed

HEADER = "| mesh | form | change | sent | passed | uncounted | denied | lost | counters continue | a proxy that starts then |\n" \
         "|---|---|---|---|---|---|---|---|---|---|"


class Report:
    def __init__(self, folder):
        self.folder, self.passed, self.failed, self.rows, self.notes = folder, [], [], [], []
        self.began = time.monotonic()

    @contextlib.contextmanager
    def test(self, name):
        """A test; what it raises is reported, and the next one runs."""
        began = time.monotonic()
        try:
            yield
        except Exception as error:
            self.failed.append(name)
            print(f"test {name} … FAILED ({time.monotonic() - began:.1f} s)", flush=True)
            if isinstance(error, (Failed, AssertionError)):
                where = traceback.extract_tb(error.__traceback__)
                lines = [f"{one.filename.rsplit('/', 1)[-1]}:{one.lineno}" for one in where if "/mesh/" in one.filename]
                print(f"    {error}\n    at {', '.join(lines)}", flush=True)
            else:
                traceback.print_exc()
        else:
            self.passed.append(name)
            print(f"test {name} … ok ({time.monotonic() - began:.1f} s)", flush=True)

    def row(self, mesh, form, change, result, continues="", starts=""):
        kinds = result["kinds"]
        figures = [result["sent"]] + [kinds.get(kind, 0) for kind in ("passed", "uncounted", "denied", "lost")]
        row = "| " + " | ".join(map(str, [mesh, form, change, *figures, continues, starts])) + " |"
        self.rows.append(row)
        print(f"    {row}  {result['statuses']}", flush=True)

    def end(self):
        """Prints the table and the count, and returns the exit code."""
        if self.rows:
            table = "\n".join([HEADER, *self.rows, "", *self.notes])
            (self.folder / "table.md").write_text(table + "\n")
            print(f"\n{table}\n")
        for name in self.failed:
            print(f"failed: {name}")
        print(f"meshes: {time.monotonic() - self.began:.0f} s; logs in target/meshes")
        print(f"{len(self.passed)} passed, {len(self.failed)} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def expect(condition, message):
    if not condition:
        raise Failed(message)


def equal(found, wanted, what):
    expect(found == wanted, f"{what}: {found!r}, and not {wanted!r}")
