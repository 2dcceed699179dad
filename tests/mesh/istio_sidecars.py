"""Istio's sidecars: pods in network namespaces with captured traffic and mutual TLS; the shipped sidecar.yaml and
redis-call.yaml, unchanged. Callers are identified by their SPIFFE identity."""
import doctor
import re

from cluster import Failed, wait
from istio import EDGE
from kubelet import Load
from report import equal, expect

STRICT = {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
          "metadata": {"name": "default", "namespace": "shop"}, "spec": {"mtls": {"mode": "STRICT"}}}


def call(caller, service, amount, *more):
    """Requests out of a pod, by the service's cluster address: its sidecar takes them."""
    return Load(service.to, 8080, service.host, amount, 0, *more, pod=caller).result()


def plain(service, amount, *more):
    """Requests without mutual TLS, from outside of the mesh, straight to the pod."""
    return Load(service.address, 8080, service.host, amount, 0, *more).result()


def lost(result):
    """The first answer of each kind that is neither a pass nor a denial."""
    return {status: seen["body"][:200] for status, seen in result["first"].items() if status not in ("200", "429")}


def counted(caller, service, seconds=30):
    """Waits until calls are counted, on each connection of the caller's workers: the first response on one that was open
    before the filter was put in comes by the old chain."""
    wait("counted calls", lambda: not set(call(caller, service, 16)["kinds"]) - {"passed", "denied"}, seconds, log=service.log)


def run(report, istio):
    orders, web, batch = istio.sidecar("orders", limited=True), istio.sidecar("web"), istio.sidecar("batch")
    for pod in (orders, web, batch):
        pod.must_be_ready()
    istio.apply("sidecar.yaml", "redis-call.yaml")
    (istio.cluster.dir / "config-of-sidecar.json").write_text(orders.admin("config_dump"))
    with report.test("istio_injected_template_has_what_workload_yaml_says"):
        template = istio.templates["orders"]
        spec = template["spec"]
        proxy = next(one for one in spec["containers"] + spec.get("initContainers", []) if one["name"] == "istio-proxy")
        names = {one["name"] for one in proxy["env"]}
        expect({"HEADGATE_HASH_KEY", "HEADGATE_REDIS_PASSWORD", "ISTIO_BOOTSTRAP_OVERRIDE"} <= names, f"environment: {names}")
        expect(any(one["mountPath"] == "/etc/headgate" for one in proxy["volumeMounts"]), "the mount of the CA")
        equal(template["metadata"]["labels"]["security.istio.io/tlsMode"], "istio", "the injector's label")
    with report.test("istio_sidecar_limits_each_peer_by_its_identity"):
        counted(batch, orders)
        result = call(web, orders, 105)
        equal(result["kinds"], {"passed": 100, "denied": 5}, "105 calls of web")
        equal(call(batch, orders, 3)["kinds"], {"passed": 3}, "batch has a counter of its own")
        equal(call(web, orders, 3, "x-api-key=other")["kinds"], {"denied": 3}, "a key of its own changes nothing")
        keys = istio.cluster.keys()
        # `:` is written %3A in a key.
        expect(any("ns/shop/sa/web" in key for key in keys), f"the peer's identity is the client: {keys}")
        logged = re.compile(r"access 200 via_upstream allowed redis peer:spiffe(:|%3A)//cluster\.local/ns/shop/sa/web$", re.M)
        wait("the peer in the access log", lambda: logged.search(orders.log.read_text()), 20, log=orders.log)
    with report.test("istio_sidecar_is_counted_by_what_doctor_says"):
        doctor.says_counted(orders)
    with report.test("istio_sidecar_limits_no_outbound_calls"):
        result = call(orders, web, 130)
        equal(result["kinds"], {"uncounted": 130}, f"130 calls of orders to web: {result['statuses']} {lost(result)}")
    with report.test("istio_sidecar_refuses_callers_without_mutual_tls"):
        equal(plain(orders, 3)["statuses"], {"403": 3}, "without a key")
        made_up = plain(orders, 120, "x-api-key=made-up-{n}")
        equal(made_up["statuses"], {"403": 120}, "120 calls with made-up keys")
        equal(made_up["first"]["403"]["headers"].get("server"), "istio-envoy", "the proxy answers")
    with report.test("istio_sidecar_shares_one_counter_as_the_comment_says"):
        # The variant that sidecar.yaml describes for a mesh that is being moved to mutual TLS.
        def moving(text):
            line = re.search(r"#   - (\{name: without-tls.*\})", text)[1]
            return text.replace("on_no_client: deny", "on_no_client: allow").replace("    limits:\n", f"    limits:\n    - {line}\n")
        istio.apply("sidecar.yaml", change=moving)
        wait("the policy", lambda: plain(orders, 1)["kinds"].get("passed"))
        result = plain(orders, 120, "x-api-key=made-up-{n}")
        passed = result["kinds"].get("passed", 0)
        expect(90 <= passed <= 99 and result["kinds"]["denied"] == 120 - passed, f"120 calls with made-up keys: {result['kinds']}")
        istio.apply("sidecar.yaml")
        wait("the shipped policy", lambda: plain(orders, 1)["statuses"] == {"403": 1})
    with report.test("istio_strict_mode_resets_callers_without_mutual_tls"):
        istio.cluster.apply(STRICT)
        wait("STRICT", lambda: plain(orders, 1)["kinds"].get("lost") and "403" not in plain(orders, 1)["statuses"])
        equal(call(batch, orders, 3)["kinds"], {"passed": 3}, "batch, by mutual TLS")
        istio.cluster.kubectl("delete", "peerauthentication", "default", "-n", "shop")
    behind_gateway(report, istio, orders)
    with report.test("istio_sidecar_limits_peers_by_an_envoy_filter"):
        istio.remove("sidecar.yaml")
        wait("no filter", lambda: call(batch, orders, 1)["kinds"].get("uncounted"))
        istio.apply("sidecar-filter.yaml")
        counted(batch, orders)
        kinds = call(batch, orders, 110)["kinds"]
        expect(set(kinds) == {"passed", "denied"} and kinds["denied"] >= 10, f"110 calls of batch: {kinds}")
        equal(call(orders, web, 10)["kinds"], {"uncounted": 10}, "outbound calls")
    istio.remove("sidecar.yaml", "sidecar-filter.yaml")
    with report.test("istio_sidecars_refuse_nothing_of_the_manifests"):
        equal(istio.rejects(), 0, "updates that proxies refused")
    for pod in (orders, web, batch):
        pod.end()


def behind_gateway(report, istio, orders):
    """Outside users come by the ingress gateway, which is the one peer of the service behind it."""
    istio.apply("gateway.yaml")
    istio.route("orders.shop.svc.cluster.local", 8080)
    edge = istio.gateway("edge-1")
    edge.must_be_ready()

    def users(amount, key):
        return Load(edge.address, EDGE, "shop.example", amount, 0, f"x-api-key={key}").result()

    wait("the gateway", lambda: users(1, "first")["kinds"].get("passed"), log=edge.log)
    with report.test("istio_users_behind_a_gateway_do_not_share_a_limit"):
        for user in ("ann", "bea", "cem"):
            equal(users(70, user)["kinds"], {"passed": 70}, f"70 calls of {user}, 210 of all")
        equal(users(35, "ann")["kinds"], {"passed": 30, "denied": 5}, "the gateway counts each user")
    with report.test("istio_without_the_line_for_gateways_users_share"):
        # What the policy would do without its override: this test must be able to fail.
        def without(text):
            found = re.sub(r"      overrides:\n(?:      .*\n)+", "", text)
            if found == text:
                raise Failed("sidecar.yaml has no overrides")
            return found
        istio.apply("sidecar.yaml", change=without)
        wait("the policy", lambda: "unlimited" not in orders.admin("config_dump"), log=orders.log)
        kinds = [users(70, user)["kinds"] for user in ("dan", "eva", "fay")]
        expect(sum(one.get("passed", 0) for one in kinds) <= 105, f"70 calls of each of three: {kinds}")
        istio.apply("sidecar.yaml")
        wait("the shipped policy", lambda: "unlimited" in orders.admin("config_dump"), log=orders.log)
    edge.end()
    istio.remove("gateway.yaml")
