"""The part `gateway`: Envoy Gateway with the shipped manifests, unchanged, with Redis Cluster behind TLS and a password."""
import doctor
import os
import re

import admission
import gateway_changes
import generated
import manifests
import shapes
from alerts import Prometheus
from cluster import Cluster, get, wait
from envoy_gateway import ADMIN, ROUTE, EnvoyGateway, ask, ready
from istio_gateway import redis_counted
from report import equal, expect


def run(report):
    only = os.environ.get("ONLY", "").split()
    cluster = Cluster()
    cluster.redis()
    cluster.registry()
    cluster.upstream()
    mesh = EnvoyGateway(cluster)
    manifests.gateway(report, mesh)
    admission.check(report, cluster, "gateway", "EnvoyExtensionPolicy", "EnvoyPatchPolicy")
    generated.gateway(report, mesh)
    manifests.kustomize(report, cluster)
    mesh.apply("gateway.yaml", "policy.yaml", "redis-call.yaml")
    cluster.apply(ROUTE)
    pod = mesh.envoy()
    with report.test("gateway_envoy_starts_from_its_deployment"):
        expect(ready(pod), f"ready: {pod.log.read_text()[-2000:]}")
        wait("a counted request", lambda: ask(pod, 1, "first")["kinds"].get("passed"), log=pod.log)
        wait("a request counted by Redis", lambda: ask(pod, 1, "first") and redis_counted(pod, ADMIN), log=pod.log)
    with report.test("gateway_conditions_are_all_true"):
        for kind, name in (("gatewayclass", "headgate"), ("envoyextensionpolicy", "headgate"), ("envoypatchpolicy", "headgate"),
                           ("clienttrafficpolicy", "headgate"), ("httproute", "all")):
            found = mesh.conditions(kind, name)
            expect(found and all(status == "True" for _, status, _ in found), f"{kind}/{name}: {found}")
        # Programmed needs an address, which a load balancer gives.
        found = [one for one in mesh.conditions("gateway", "edge") if one[0] != "Programmed"]
        expect(found and all(status == "True" for kind, status, _ in found), f"gateway/edge: {found}")
    with report.test("gateway_counts_and_denies"):
        result = ask(pod, 105, "bob", "x-ratelimit-remaining=999")
        equal(result["kinds"], {"passed": 100, "denied": 5}, "105 calls of one key")
        equal(result["first"]["200"]["headers"]["x-ratelimit-remaining"], "99", "X-RateLimit-Remaining")
        expect(1 <= int(result["first"]["429"]["headers"]["retry-after"]) <= 60, "Retry-After of a denial")
        expect('"x-ratelimit-remaining": "99"' in result["first"]["200"]["body"], "the upstream reads the quota")
    with report.test("gateway_has_labelled_metrics"):
        text = wait("metrics", lambda: get(f"http://{pod.address}:19001/stats/prometheus")[2])
        for decision in ("allowed", "denied"):
            expect(re.search(rf'^headgate_requests_total\{{[^}}]*decision="{decision}"', text, re.M), f"{decision} in the metrics")
    with report.test("gateway_is_counted_by_what_doctor_says"):
        doctor.says_counted(pod, ADMIN)
    (cluster.dir / "config-of-gateway.json").write_text(pod.admin("config_dump", ADMIN))
    # Its names are on the command line; the upstream's address is one of the test's own.
    shapes.compare(report, cluster.dir, "envoy-gateway", "config-of-gateway.json", [
        ".node.*", ".static_resources.clusters/httproute/*.type", ".static_resources.clusters/httproute/*.load_assignment.*"])
    pod.end()
    mesh.remove("policy.yaml")
    if not only or "changes" in only:
        prometheus = Prometheus(cluster, "127.0.0.1:19001")
        for form in gateway_changes.FORMS:
            gateway_changes.changes(report, mesh, form, prometheus)
