#!/usr/bin/env python3
"""The part `func-e`: the README's line on the shipped envoy/envoy.yaml and its ports, with Redis Cluster beside it.

Envoy comes from ENVOY_PATH and, once, from a list of versions on loopback, with an archive of the same Envoy: no other
address can be reached from the sandbox."""
import hashlib
import http.client
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tarfile
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

sys.dont_write_bytecode = True
from sandbox import ROOT, RUN, TOOLS, allowed, enter, fail

LINE = "func-e run -c envoy/envoy.yaml"
ENVOY_VERSION = "1.40.0"
ENVOY = pathlib.Path(os.environ.get("ENVOY") or ROOT / f".tools/envoy-{ENVOY_VERSION}/envoy")
VERSIONS_PORT = 8181


def get(path="/", port=10000, **headers):
    """(status, body, headers), or None where nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.getheaders()}
    except OSError:
        return None
    finally:
        connection.close()


def counted():
    """Requests that Redis counted, as Envoy's figures have it."""
    answer = get("/stats?filter=headgate_requests_total", 9901)
    lines = answer[1].splitlines() if answer else []
    return sum(int(line.rsplit(" ", 1)[1]) for line in lines if ";by=redis" in line)


def wait(what, probe, process, seconds=60):
    end = time.monotonic() + seconds
    while not probe():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"{what}: not within {seconds} s, or func-e ended with {process.poll()}; see its log")
        time.sleep(0.2)


def shell(script, **environment):
    subprocess.run(["sh", "-c", script], check=True, cwd=ROOT, env=dict(os.environ, **environment), capture_output=True, text=True)


def stop_envoy():
    """Of what `make run` starts, all but Envoy is needed."""
    pid = int((RUN / "run/envoy.pid").read_text().split()[0])
    os.kill(pid, signal.SIGTERM)
    while get() or get("/ready", 9901):
        time.sleep(0.2)


def serve_versions():
    """A list of versions as func-e reads it, with one archive."""
    name = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    folder = RUN / "versions"
    folder.mkdir()
    archive = folder / f"envoy-v{ENVOY_VERSION}-linux-{name}.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(ENVOY, f"envoy-v{ENVOY_VERSION}-linux-{name}/bin/envoy")
    url = f"http://127.0.0.1:{VERSIONS_PORT}"
    release = {"releaseDate": "2026-01-01", "tarballs": {f"linux/{name}": f"{url}/{archive.name}"}}
    sums = {archive.name: hashlib.sha256(archive.read_bytes()).hexdigest()}
    (folder / "envoy-versions.json").write_text(json.dumps({"versions": {ENVOY_VERSION: release}, "sha256sums": sums}))

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_):
            pass

    threading.Thread(target=ThreadingHTTPServer(("127.0.0.1", VERSIONS_PORT), Handler).serve_forever, daemon=True).start()
    return f"{url}/envoy-versions.json"


def runs(name, expected, **environment):
    """The README's line: of 101 calls of one key 100 pass, Redis counts them, and the log has the path of Envoy."""
    began = time.monotonic()
    log = RUN / f"{name}.log"
    mine = {key: value for key, value in os.environ.items() if not key.startswith(("ENVOY", "FUNC_E"))}
    environment = mine | {"PATH": f"/run/bin:{mine['PATH']}", "FUNC_E_HOME": str(RUN / f"{name}-home")} | environment
    with open(log, "w") as file:
        process = subprocess.Popen(LINE.split(), cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait("Envoy", lambda: get("/ready", 9901), process)
        wait("a request that Redis counts", lambda: get("/", **{"x-api-key": "first"}) and counted(), process)
        for attempt in range(3):
            before = int(time.time()) // 60
            answers = [get("/", **{"x-api-key": f"{name}-{attempt}"}) for _ in range(101)]
            if int(time.time()) // 60 == before:
                break
        statuses = [answer and answer[0] for answer in answers]
        if statuses != [200] * 100 + [429]:
            raise SystemExit(f"of 101 calls {statuses.count(200)} pass and {statuses.count(429)} are denied: {statuses}")
        remaining = answers[0][2].get("x-ratelimit-remaining")
        if remaining != "99":
            raise SystemExit(f"X-RateLimit-Remaining of the first call: {remaining}")
        used = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        paths = [os.readlink(f"/proc/{pid}/exe") for pid in used]
        if not any(expected in path for path in paths):
            raise SystemExit(f"func-e runs {paths} instead of an Envoy under {expected}")
    except SystemExit:
        print(log.read_text(errors="replace")[-2000:], flush=True)
        raise
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    if get("/ready", 9901):
        raise SystemExit("Envoy is left running after func-e has ended")
    print(f"ok     {name} ({time.monotonic() - began:.0f} s)", flush=True)


def work():
    readme = (ROOT / "README.md").read_text()
    if f"`{LINE}`" not in readme:
        raise SystemExit(f"README.md does not have the line `{LINE}` any more")
    shell("scripts/run.sh start", RUN=str(RUN / "run"), ENVOY=str(ENVOY))
    stop_envoy()
    runs("func_e_runs_the_readme_line_by_envoy_path", str(ENVOY.resolve()), ENVOY_PATH=str(ENVOY))
    runs("func_e_runs_the_readme_line_by_a_version_list", str(RUN), ENVOY_VERSIONS_URL=serve_versions())
    print("meshes: 2 passed, 0 failed", flush=True)
    return 0


if __name__ == "__main__":
    for needed in (ENVOY, TOOLS / "bin/func-e", ROOT / "target/headgate.wasm"):
        if not needed.exists():
            fail(f"missing: {needed}; run: make setup build, and make test-meshes MESH=func-e")
    if not allowed():
        fail("no right to make network and mount namespaces here; run it as root, or leave it out of test-all by SKIP_MESHES=1.")
    sys.exit(enter("func-e", work))
