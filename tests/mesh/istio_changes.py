"""Istio: changes under load, and mistakes, in a gateway and in a sidecar at the same time, for both forms of the filter."""
import re
import time

from changes import RATE, Changes, Edge, Place, both, nothing_lost, rate, replace
from cluster import VERSION, wait
from istio import EDGE, conversions, image
from kubelet import Load
from report import expect

FORMS = {"WasmPlugin": ("gateway.yaml", "sidecar.yaml"), "EnvoyFilter": ("gateway-filter.yaml", "sidecar-filter.yaml")}
# How each form asks for the pull policy Always. The agent then fetches the image at each new version of the WasmPlugin; an
# EnvoyFilter tells it no version, so it goes on with what it has.
ALWAYS = {
    "WasmPlugin": replace("imagePullPolicy: IfNotPresent", "imagePullPolicy: Always"),
    "EnvoyFilter": replace("host_env_keys: [HEADGATE_HASH_KEY]}",
                           "host_env_keys: [HEADGATE_HASH_KEY], key_values: {ISTIO_META_WASM_IMAGE_PULL_POLICY: Always}}"),
}
AGAIN = 61   # seconds after which the quota of a client is full again


def for_load(text):
    """The service `web` makes the requests of the load: a rate of its own, and the algorithm that `auto` is without it.
    Gateways' manifests stay as they are."""
    line = r'- {source: peer, value: "spiffe://cluster.local/ns/shop/sa/web", rate: 10000/minute}'
    return re.sub(r"( +)overrides:\n", rf"\g<1>algorithm: sliding_window_log\n\g<0>\g<1>{line}\n", text)


class Service(Place):
    """A service with a sidecar: clients are other services, by their identities."""
    name = "Istio, sidecar"

    def __init__(self, istio):
        self.istio, self.number = istio, 0
        self.pod = istio.sidecar("orders", limited=True)
        self.web, self.probe, *self.callers = [istio.sidecar(name) for name in ("web", "probe", *(f"caller-{n}" for n in range(5)))]
        for pod in (self.pod, *self.pods()):
            pod.must_be_ready()
            pod.called = time.monotonic() - AGAIN

    def pods(self):
        return [self.web, self.probe, *self.callers]

    def client(self):
        caller = min(self.callers, key=lambda one: one.called)
        time.sleep(max(0.0, caller.called + AGAIN - time.monotonic()))
        return caller

    def another(self):
        return self.web

    def ask(self, client, amount, pod=None):
        service = pod or self.pod
        try:
            return Load(service.to, 8080, service.host, amount, 0, pod=client).result()
        finally:
            client.called = time.monotonic()

    def warm(self):
        """Calls until each caller's connections are with the new filter: the first response on one that was open when the
        filter was put in comes by the old chain."""
        for caller in self.pods():
            wait(f"counted calls of {caller.name}", lambda: not set(self.ask(caller, 20)["kinds"]) - {"passed", "denied"}, log=self.pod.log)
            caller.called = time.monotonic() - AGAIN   # that was another instance of the limit

    def load(self, seconds):
        return Load(self.pod.to, 8080, self.pod.host, f"{seconds}s", RATE, pod=self.web)

    def start(self):
        self.number += 1
        return self.istio.sidecar(f"fresh-{self.number}", limited=True)

    def ready(self, pod, seconds):
        is_ready = pod.ready(seconds)
        for caller in (self.web, *self.callers):   # they learn of the new service at their own pace
            wait(f"{caller.name} knows {pod.host}", lambda: f"{pod.address}:8080::health_flags::healthy" in caller.admin("clusters"))
        return is_ready


def places(istio):
    """The gateway and the service of all the changes."""
    names = iter(range(1000))
    service = Service(istio)
    pod = istio.gateway("edge")
    pod.must_be_ready()
    return [Edge("Istio, gateway", pod, EDGE, lambda: istio.gateway(f"fresh-edge-{next(names)}")), service]


class IstioChanges(Changes):
    def __init__(self, report, istio, form, places):
        super().__init__(report, form, places)
        self.istio, self.pods = istio, [place.pod for place in places]

    def policy(self, *changes):
        self.istio.apply(*FORMS[self.form], change=both(for_load, *changes))

    def call(self, tag=VERSION):
        self.istio.apply("redis-call.yaml", change=image(tag))

    def failures(self):
        """Modules that the agent of each proxy could not fetch or hand on."""
        return [sum(number for result, number in conversions(pod).items() if result != "success") for pod in self.pods]


def changes(report, istio, form, on_places, prometheus):
    on, name, fails_well = IstioChanges(report, istio, form, on_places), form.lower(), form == "EnvoyFilter"
    on.call()
    on.policy(rate("97/minute"), lambda text: text.replace("instance: sidecar", "instance: warm"))
    on.settle("97")
    on.each(lambda place: place.warm())
    on.policy()
    on.settle()
    for place in on.places:
        wait("Redis", lambda: place.counts(), log=place.pod.log)
        prometheus.watch(place.pod, 15020)
    with report.test(f"istio_{name}_counts_and_alerts_are_quiet"):
        found = on.each(lambda place: place.ask(place.client(), 105)["kinds"])
        expect(all(kinds == {"passed": 100, "denied": 5} for kinds in found), f"105 calls of one client: {found}")
        prometheus.stays_quiet()

    with on.test(f"istio_{name}_new_policy_loses_nothing"):
        on.new_policy()

    with on.test(f"istio_{name}_refused_policy_keeps_the_old"):
        rejects, since = istio.rejects(), time.time()
        found = on.under_load("a policy that is refused", lambda: on.policy(rate("many")))
        nothing_lost(found, "a refused policy")
        expect(istio.rejects() > rejects, "pilot_total_xds_rejects counts the refusal")
        prometheus.fired("HeadgateUpdateRefused", since)
        on.mended_policy()

    with on.test(f"istio_{name}_missing_tag"):
        failures, since = on.failures(), time.time()
        found = on.under_load("a tag that does not exist", lambda: on.policy(image("9.9.9")))
        denied_by_the_agent(found, "a missing tag", not fails_well)
        expect(all(now > before for now, before in zip(on.failures(), failures)),
               f"istio_agent_wasm_config_conversion_count counts the failure: {failures}, {on.failures()}")
        prometheus.fired("HeadgateModuleNotFetched", since, *on.pods)
        found = on.under_load("the tag rolled back", on.policy, starts=False)
        if fails_well:
            nothing_lost(found, "roll-back")

    with on.test(f"istio_{name}_missing_tag_for_redis_call"):
        since = time.time()
        found = on.under_load("a tag that does not exist, for redis-call.yaml", lambda: on.call("9.9.9"))
        nothing_lost(found, "a missing tag for redis-call.yaml")
        prometheus.fired("HeadgateModuleNotFetched", since, *on.pods)
        prometheus.fired("HeadgateUpdateRefused", since)
        on.policy(rate("80/minute"))
        time.sleep(4)
        late = [place.limit() for place in on.places]
        report.notes.append(f"Istio, {form}: with a missing tag for redis-call.yaml, a new policy arrives: {[one == '80' for one in late]}")
        on.call()
        on.settle("80")

    with on.test(f"istio_{name}_registry_down"):
        istio.cluster.registry_down()
        try:
            found = on.under_load("the registry is down, and a new policy", lambda: on.policy(rate("90/minute")), limit=90)
            nothing_lost(found, "the registry is down")
            on.settle("90")
        finally:
            istio.cluster.registry_up()
    with on.test(f"istio_{name}_registry_down_pull_always"):
        on.policy(ALWAYS[form], rate("95/minute"))
        on.settle("95")
        on.policy(ALWAYS[form])
        on.settle()
        istio.cluster.registry_down()
        try:
            found = on.under_load("the same with the pull policy Always", lambda: on.policy(ALWAYS[form], rate("90/minute")), limit=90)
            denied_by_the_agent(found, "the registry is down, Always", not fails_well, 1)
        finally:
            istio.cluster.registry_up()

    with on.test(f"istio_{name}_new_version_and_back_loses_nothing"):
        on.new_version_and_back(lambda: on.call("next"), lambda: on.policy(image("next")))

    with report.test(f"istio_{name}_redis_away_at_start"):
        on.away_at_start(istio.cluster.redis_down, istio.cluster.redis)

    if fails_well:
        old_configuration(report, istio, on, prometheus)
    else:
        with report.test(f"istio_{name}_fail_open_ends_the_counting"):
            # Why no manifest has it: every request passes, and nothing that callers get shows it.
            is_open = replace("failStrategy: FAIL_RELOAD", "failStrategy: FAIL_OPEN")
            on.policy(is_open)
            on.settle()
            since = time.time()
            found = on.under_load("a tag that does not exist, FAIL_OPEN", lambda: on.policy(is_open, image("9.9.9")), seconds=16)
            for one in found:
                expect(one.kinds.get("uncounted", 0) >= 100, f"{one.place.name}: requests pass uncounted: {one.kinds}")
            prometheus.fired("HeadgateCountsNothing", since, *on.pods)
    for pod in on.pods:
        prometheus.forget(pod)
    istio.remove(*FORMS[form])
    wait("no filter", lambda: all(place.ask(place.another(), 1)["kinds"].get("uncounted") for place in on.places))


def denied_by_the_agent(found, what, denied, least=50):
    """In the second-choice form the agent's replacement answers 403 (with the pull policy Always until istiod's next
    update, whatever that is about); in the other one nothing is lost."""
    if not denied:
        return nothing_lost(found, what)
    for one in found:
        expect(one.statuses.get("403", 0) >= least, f"{one.place.name}, {what}: the agent denies everything: {one.statuses}")


def old_configuration(report, istio, on, prometheus):
    """A gateway that istiod does not reach stays behind, and an alert finds it."""
    with on.test("istio_proxy_without_istiod_keeps_the_old_policy"):
        edge = on.places[0]
        pod = istio.gateway("edge-behind")
        pod.must_be_ready()
        wait("a proxy that counts", lambda: edge.counts(pod), log=pod.log)
        prometheus.watch(pod, 15020)
        pod.inside("iptables", "-A", "OUTPUT", "-p", "tcp", "--dport", "15012", "-j", "REJECT", "--reject-with", "tcp-reset")
        since = time.time()
        found = on.under_load("a new policy; one gateway does not reach istiod", lambda: on.policy(rate("90/minute")), limit=90, starts=False)
        nothing_lost(found, "a new policy")
        on.settle("90")
        result = edge.ask(edge.client(), 1, pod)
        expect(result["last"]["200"]["headers"]["x-ratelimit-limit"] == "100", f"the old policy in the other gateway: {result['last']}")
        prometheus.fired("HeadgateOldConfiguration", since)
        prometheus.forget(pod)
        pod.end()
