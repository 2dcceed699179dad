#!/usr/bin/env python3
"""make test-meshes: the shipped manifests in real meshes, on this machine.

    tests/mesh/run.py [istio|gateway|func-e|ratelimit|clients …]     all parts without a name

Istio's and Envoy Gateway's own control planes run on a Kubernetes API server, with stock Envoys. There are no nodes and no
containers: a pod is a network namespace with processes. Needs Go (to build, once), root or the right to make namespaces,
and what `make test` needs. Only one run at a time."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
from sandbox import LIBC, ROOT, TOOLS, allowed, enter, fail, lock

HERE = pathlib.Path(__file__).resolve().parent
NEEDS = {
    "istio": ["etcd", "kubernetes", "istio", "helm"],
    "gateway": ["etcd", "kubernetes", "helm", "gateway"],
    "func-e": ["func-e"],
    "ratelimit": ["ratelimit"],
    "clients": [],
}
PROGRAMS = {
    "redis-server": "redis-server", "redis-cli": "redis-tools", "docker-registry": "docker-registry", "skopeo": "skopeo",
    "openssl": "openssl", "curl": "curl", "ip": "iproute2", "iptables-restore": "iptables", "setpriv": "util-linux",
    "prometheus": "prometheus",
}


def hook(part):
    """The parts that are programs of their own: tests/mesh/PART, .sh or .py."""
    found = [HERE / f"{part}{end}" for end in ("", ".sh", ".py")]
    return next((path for path in found if path.is_file() and os.access(path, os.X_OK)), None)


def preflight(parts):
    """One line for what is missing, before anything is built."""
    if set(parts) & {"istio", "gateway"}:
        for program, package in PROGRAMS.items():
            if not shutil.which(program):
                fail(f"missing: {program} (Debian: apt-get install {package}).")
        if not allowed():
            fail("no right to make network and mount namespaces here; run it as root, or leave it out of test-all by SKIP_MESHES=1.")
        for module in ("headgate.wasm", "headgate-fault-injection.wasm"):
            if not (ROOT / "target" / module).exists():
                fail(f"missing: target/{module}; run: make build build-fault-injection")


def child(*command, **environment):
    """Runs a command to its end, and with all that it starts no longer than this process; its exit code."""
    process = subprocess.Popen([str(one) for one in command], env=dict(os.environ, **environment), start_new_session=True,
                               preexec_fn=lambda: LIBC.prctl(1, signal.SIGKILL))  # PR_SET_PDEATHSIG

    def end(number, _):
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    return process.wait()


def in_sandbox(part):
    """A part in the sandbox; its exit code."""
    import cluster
    from report import Report
    report = Report(cluster.RUN)
    with report.test(f"{part}_comes_up_and_all_of_its_tests_run"):
        cluster.stock_envoy()
        import gateway_part
        import istio_part
        (istio_part if part == "istio" else gateway_part).run(report)
    return report.end()


def main():
    parts = sys.argv[1:] or [part for part in NEEDS if part in ("istio", "gateway") or hook(part)]
    for part in parts:
        if part not in NEEDS:
            fail(f"no such part: {part}; there are {', '.join(NEEDS)}")
        if part not in ("istio", "gateway") and not hook(part):
            fail(f"the part {part} is not there yet (tests/mesh/{part})")
    held = lock()
    preflight(parts)
    programs = list(dict.fromkeys(program for part in parts for program in NEEDS[part]))
    if programs and child(HERE / "build.sh", *programs):
        sys.exit(1)
    codes = {}
    for part in parts:
        print(f"meshes: {part}", flush=True)
        if part in ("istio", "gateway"):
            # Each in a process of its own, since a process enters a sandbox once.
            codes[part] = child(sys.executable, __file__, "--part", part)
        else:
            codes[part] = child(hook(part), MESH_BIN=str(TOOLS / "bin"), PROJECT=str(ROOT))
    held.close()
    bad = [part for part, code in codes.items() if code]
    sys.exit(f"meshes: failed: {', '.join(bad)}" if bad else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        sys.exit(enter(sys.argv[2], lambda: in_sandbox(sys.argv[2])))
    main()
