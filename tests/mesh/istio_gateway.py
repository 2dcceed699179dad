"""Istio's ingress gateway: the shipped gateway.yaml and redis-call.yaml, unchanged, with Redis Cluster behind TLS and a
password. What callers, the upstream, Redis, metrics and the access log get."""
import doctor
import re
import time

from cluster import BIN, UPSTREAM, get, run, wait
from istio import EDGE
from kubelet import Load
from report import equal, expect

SERVICE = {
    "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "upstream", "namespace": "istio-ingress"},
    "spec": {"hosts": ["upstream.example"], "location": "MESH_EXTERNAL", "resolution": "STATIC",
             "ports": [{"number": 8000, "name": "http", "protocol": "HTTP"}], "endpoints": [{"address": UPSTREAM}]}}


def ask(pod, amount, key, *more):
    """Requests from outside with one API key, as fast as answers come."""
    return Load(pod.address, EDGE, "shop.example", amount, 0, f"x-api-key={key}", *more).result()


def counts(pod, key="first"):
    """Waits until a request is counted by Redis."""
    wait("a counted request", lambda: ask(pod, 1, key)["kinds"].get("passed"), log=pod.log)
    wait("a request counted by Redis", lambda: ask(pod, 1, key) and redis_counted(pod), 20, log=pod.log)


def redis_counted(pod, port=15000):
    lines = pod.admin("stats?filter=headgate_requests_total", port).splitlines()
    return sum(int(line.rsplit(": ", 1)[1]) for line in lines if ";by=redis" in line)


def up(istio):
    """The gateway with its routes to the upstream."""
    istio.cluster.apply(SERVICE)
    istio.route("upstream.example", 8000)
    return istio.gateway("edge-0")


def one_gateway(report, istio):
    cluster = istio.cluster
    istio.apply("gateway.yaml", "redis-call.yaml")
    pod = up(istio)
    pod.must_be_ready()
    with report.test("istio_gateway_counts_and_denies"):
        counts(pod)
        result = ask(pod, 105, "bob", "x-ratelimit-remaining=999")
        equal(result["kinds"], {"passed": 100, "denied": 5}, "105 calls of one key")
        headers = result["first"]["200"]["headers"]
        equal(headers["x-ratelimit-limit"], "100", "X-RateLimit-Limit")
        equal(headers["x-ratelimit-remaining"], "99", "X-RateLimit-Remaining")
        denied = result["first"]["429"]["headers"]
        expect(1 <= int(denied["retry-after"]) <= 60, f"Retry-After of a denial: {denied}")
        upstream = result["first"]["200"]["body"]
        expect('"x-ratelimit-remaining": "99"' in upstream, f"the upstream reads the quota, not what the caller sent: {upstream}")
    with report.test("istio_gateway_counts_in_redis_by_tls_and_password"):
        keys = [key for key in cluster.keys() if key.startswith("ratelimit:main:{api_key:")]
        expect(len(keys) >= 2 and all(re.fullmatch(r"ratelimit:main:\{api_key:[0-9a-f]{32}\}.*", key) for key in keys),
               f"counters under keyed hashes: {cluster.keys()}")
        for node in range(3):
            clients = cluster.redis_cli("client", "list", node=node)
            expect("user=headgate" in clients, f"connections of the user headgate: {clients}")
            errors = cluster.redis_cli("info", "errorstats", node=node)
            expect("MOVED" not in errors, f"each call goes to the right node: {errors}")
    with report.test("istio_gateway_has_labelled_metrics"):
        text = get(f"http://{pod.address}:15090/stats/prometheus")[2]
        expect(re.search(r'^headgate_requests_total\{.*by="redis".*decision="allowed".*\} [1-9]', text, re.M) or
               re.search(r'^headgate_requests_total\{.*decision="allowed".*by="redis".*\} [1-9]', text, re.M),
               "headgate_requests_total by decision: " + "\n".join(x for x in text.splitlines() if "headgate_requests" in x)[:800])
        expect(re.search(r'^headgate_requests_total\{[^}]*decision="denied"', text, re.M), "denials in the metrics")
    with report.test("istio_gateway_is_counted_by_what_doctor_says"):
        doctor.says_counted(pod)
    with report.test("istio_gateway_has_an_access_log"):
        wait("the access log", lambda: re.search(r"access 429 headgate_denied denied (redis|cache)", pod.log.read_text()), 20)
        expect("access 200 via_upstream allowed redis" in pod.log.read_text(), "a request that passed")
    with report.test("istio_gateway_refuses_nothing_of_the_manifests"):
        equal(istio.rejects(), 0, "updates that proxies refused")
        log = pod.log.read_text()
        bad = [line for line in log.splitlines() if re.search(r"\t(warning|warn|error|critical)\t.*(wasm|headgate|redis)", line, re.I)]
        equal([line for line in bad if "rate_limit_exceeded" not in line][:3], [], "warnings in the log")
    dump = cluster.dir / "config-of-gateway.json"
    dump.write_text(pod.admin("config_dump"))
    with report.test("istioctl_shows_what_the_walk_through_looks_for"):
        # By a dump in place of the pod's name, which needs a kubelet.
        for what, names in (("bootstrap", ["internal_listener"]), ("listeners -o json", ['"redis_call"']),
                            ("clusters", ["redis_call", "redis "]), ("ecds", ["headgate-redis-call", "headgate-gateway"])):
            out = run(BIN / "istioctl", "proxy-config", *what.split(), "--file", dump)
            expect(all(name in out for name in names), f"proxy-config {what}: {names} in {out[:1000]}")
    with report.test("istio_gateway_counts_by_an_envoy_filter"):
        istio.remove("gateway.yaml")
        wait("no filter", lambda: ask(pod, 1, "none")["kinds"].get("uncounted"), log=pod.log)
        istio.apply("gateway-filter.yaml")
        counts(pod)
        equal(ask(pod, 105, "carol")["kinds"], {"passed": 100, "denied": 5}, "105 calls of one key")
    with report.test("istio_gateway_is_rolled_back_without_a_loss"):
        time.sleep(2)  # the filter hands its metrics on once a second
        counted = redis_counted(pod)
        load = Load(pod.address, EDGE, "shop.example", "10s", 40, "x-api-key=back-{n}")
        wait("the load", lambda: redis_counted(pod) > counted)
        istio.remove("gateway-filter.yaml")
        wait("no filter", lambda: ask(pod, 1, "none")["kinds"].get("uncounted"), log=pod.log)
        istio.remove("redis-call.yaml")
        result = load.result()
        expect(set(result["kinds"]) == {"passed", "uncounted"}, f"while the manifests are deleted: {result['kinds']} {result['statuses']}")
    istio.remove("gateway.yaml", "gateway-filter.yaml", "redis-call.yaml")
    return pod
