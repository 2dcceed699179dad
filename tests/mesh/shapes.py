"""The abridged configurations of tests/e2e/mesh/shapes against what the control planes really send: every field of a
shape is in the configuration dump of a real proxy, with the same value. What a shape leaves out is not looked at."""
import fnmatch
import json
import re

from cluster import BIN, run
from report import expect
from sandbox import ROOT

SHAPES = ROOT / "tests/e2e/mesh/shapes"


def read(name, folder):
    """A shape's YAML, by helm, which is at hand; Python has no parser of its own."""
    chart = folder / "yaml-chart"
    if not chart.exists():
        (chart / "templates").mkdir(parents=True)
        (chart / "Chart.yaml").write_text("apiVersion: v2\nname: yaml\nversion: 0.1.0\n")
        (chart / "templates/values.yaml").write_text("{{ toJson .Values }}\n")
    rendered = run(BIN / "helm", "template", "yaml", chart, "-f", SHAPES / f"{name}.yaml")
    return json.loads(next(line for line in rendered.splitlines() if line.startswith("{")))


def real(dump):
    """One configuration out of a dump: the bootstrap, with what came by discovery in its static resources and routes in
    their connection managers."""
    sections = {one["@type"].rsplit(".", 1)[1]: one for one in dump["configs"]}
    config = sections["BootstrapConfigDump"]["bootstrap"]
    resources = config.setdefault("static_resources", {})
    resources["listeners"] = [one["listener"] for one in sections["ListenersConfigDump"].get("static_listeners", [])] + [
        one["active_state"]["listener"] for one in sections["ListenersConfigDump"].get("dynamic_listeners", []) if "active_state" in one]
    clusters = sections["ClustersConfigDump"]
    resources["clusters"] = [one["cluster"] for kind in ("static_clusters", "dynamic_active_clusters") for one in clusters.get(kind, [])]
    routes = {one["route_config"]["name"]: one["route_config"] for one in sections["RoutesConfigDump"].get("dynamic_route_configs", [])}
    for manager in managers(resources["listeners"]):
        if "rds" in manager:
            manager["route_config"] = routes[manager["rds"]["route_config_name"]]
    return config


def managers(value):
    if isinstance(value, dict):
        if str(value.get("@type", "")).endswith("HttpConnectionManager"):
            yield value
        value = list(value.values())
    for one in value if isinstance(value, list) else []:
        yield from managers(one)


def same(wanted, found):
    if isinstance(wanted, bool) or isinstance(found, bool) or wanted in ("", None):
        return wanted == (found or type(wanted)())
    duration = lambda value: float(value[:-1]) if re.fullmatch(r"[\d.]+s", value) else value
    if isinstance(wanted, str) and isinstance(found, str):
        return duration(wanted) == duration(found)
    try:   # 64 bits are text in JSON
        return float(wanted) == float(found or 0)
    except (TypeError, ValueError):
        return wanted == found


def differences(wanted, found, path=""):
    """(path, text) of what the shape has otherwise than the real configuration."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return [(path, f"{json.dumps(wanted)[:120]} is not there")] if wanted else []
        return [one for key, value in wanted.items() for one in differences(value, found.get(key), f"{path}.{key}")]
    if isinstance(wanted, list):
        return in_order(wanted, found or [], path)
    return [] if same(wanted, found) else [(path, f"{wanted!r} in the shape, {found!r} for real")]


def in_order(wanted, found, path):
    """The elements of a list, by name where they have one; others of the real list may be between them."""
    at, different = 0, []
    for one in wanted:
        key = one.get("name") or one.get("tag_name") if isinstance(one, dict) else None
        if key:
            places = [n for n in range(len(found)) if key in (found[n].get("name"), found[n].get("tag_name"))]
            if not places:
                different.append((f"{path}/{key}", "is not there"))
                continue
            where = min(places, key=lambda n: len(differences(one, found[n])))   # filter chains share names
            if where < at and "filters" in path:
                different.append((f"{path}/{key}", "comes earlier"))
            different += differences(one, found[where], f"{path}/{key}")
        else:
            where = next((n for n in range(len(found)) if not differences(one, found[n])), None)
            if where is None:
                only = differences(one, found[0], f"{path}/") if len(found) == 1 else [(f"{path}/", f"no element with {json.dumps(one)[:120]}")]
                different += only
                continue
        at = where
    return different


def compare(report, folder, name, dump, left):
    """A test: the shape `name` against the file `dump`. `left` are patterns of the paths that may differ, and do."""
    with report.test(f"shape_{name.replace('-', '_')}_is_a_part_of_the_real_one"):
        shape = read(name, folder)
        if "static_resources" not in shape and "node" not in shape:
            shape = {"static_resources": shape}
        found = differences(shape, real(json.loads((folder / dump).read_text())))
        unused = [pattern for pattern in left if not any(fnmatch.fnmatchcase(path, pattern) for path, _ in found)]
        found = [f"{path}: {text}" for path, text in found if not any(fnmatch.fnmatchcase(path, pattern) for pattern in left)]
        expect(not found, "\n      ".join([f"{len(found)} differences:", *found]))
        expect(not unused, f"no longer different: {unused}")
