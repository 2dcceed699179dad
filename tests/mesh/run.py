#!/usr/bin/env python3
"""make test-meshes: the shipped manifests in real meshes, on this machine.

    tests/mesh/run.py [--check] [istio|gateway|func-e|ratelimit|clients …]     all parts without a name

--check looks only whether this machine can run them.

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
from sandbox import LIBC, ROOT, allowed, enter, fail, lock

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


def program(part):
    """The parts that are programs of their own: tests/mesh/PART.sh or .py."""
    return next(path for path in (HERE / f"{part}.sh", HERE / f"{part}.py") if path.exists())


def could_build(parts):
    """One line for what this machine lacks, before anything is fetched or built."""
    programs = programs_of(parts)
    if programs and child(HERE / "build.sh", "--check", *programs) or "clients" in parts and child(HERE / "clients/build.sh", "--check"):
        sys.exit(1)


def is_set_up(parts):
    """One line for what `make setup-meshes build build-fault-injection` would bring."""
    if set(parts) & {"istio", "gateway"}:
        for program, package in PROGRAMS.items():
            if not shutil.which(program):
                fail(f"missing: {program} (Debian: apt-get install {package}).")
        for module in ("headgate.wasm", "headgate-fault-injection.wasm"):
            if not (ROOT / "target" / module).exists():
                fail(f"missing: target/{module}; run: make build build-fault-injection")


def programs_of(parts):
    return list(dict.fromkeys(program for part in parts for program in NEEDS[part]))


def child(*command):
    """Runs a command to its end, and with all that it starts no longer than this process; its exit code."""
    process = subprocess.Popen([str(one) for one in command], start_new_session=True,
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
    only_check = sys.argv[1:2] == ["--check"]
    parts = sys.argv[1 + only_check:] or list(NEEDS)
    for part in parts:
        if part not in NEEDS:
            fail(f"no such part: {part}; there are {', '.join(NEEDS)}")
    if set(parts) & {"istio", "gateway", "func-e"} and not allowed():
        fail("no right to make network and mount namespaces here; run it as root, or leave it out of test-all by SKIP_MESHES=1.")
    held = lock()
    could_build(parts)
    if only_check:
        return
    is_set_up(parts)
    programs = programs_of(parts)
    if programs and child(HERE / "build.sh", *programs):
        sys.exit(1)
    codes = {}
    for part in parts:
        print(f"meshes: {part}", flush=True)
        if part in ("istio", "gateway"):
            # Each in a process of its own, since a process enters a sandbox once.
            codes[part] = child(sys.executable, __file__, "--part", part)
        else:
            codes[part] = child(program(part))
    held.close()
    bad = [part for part, code in codes.items() if code]
    sys.exit(f"meshes: failed: {', '.join(bad)}" if bad else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        sys.exit(enter(sys.argv[2], lambda: in_sandbox(sys.argv[2])))
    main()
