"""Istio: changes under load, and mistakes. Each for both forms of the filter, with what callers got, and what a proxy
does that starts while the mistake is in place."""
import time

from cluster import VERSION, Failed, wait
from istio import EDGE, conversions, image
from istio_gateway import ask, redis_counted
from kubelet import Load
from report import expect

FORMS = {"WasmPlugin": "gateway.yaml", "EnvoyFilter": "gateway-filter.yaml"}
SECONDS, SETTLE, RATE = 7, 2, 40


def rate(text_rate):
    """A change of a manifest: another rate for the limit per client."""
    def change(text):
        found = text.replace("{name: per-client, rate: 100/minute,", f"{{name: per-client, rate: {text_rate},")
        if found == text:
            raise Failed("the manifest has no limit per client of 100/minute")
        return found
    return change


def both(*changes):
    def change(text):
        for one in changes:
            text = one(text)
        return text
    return change


class Changes:
    """One form of the filter in a running gateway, `self.pod`."""

    def __init__(self, report, istio, form, pod):
        self.report, self.istio, self.form, self.file, self.pod = report, istio, form, FORMS[form], pod
        self.number = 0

    def policy(self, *changes):
        self.istio.apply(self.file, change=both(*changes))

    def call(self, tag):
        self.istio.apply("redis-call.yaml", change=image(tag))

    def under_load(self, what, change, seconds=SECONDS, starts=False, limit=100):
        """The change two seconds into a load of 40 clients, 60 calls a minute each, while one client's counter shows
        whether it goes on: 40 calls before and 65 after, of which 60 may pass. A new limit is at most 100, too: above that
        `algorithm: auto` counts in another form, which starts anew."""
        self.number += 1
        key = f"carry-{self.form}-{self.number}"
        before = ask(self.pod, 40, key)["kinds"]
        load = Load(self.pod.address, EDGE, "shop.example", f"{seconds}s", RATE, "x-api-key=load-{n}-" + f"{self.form}{self.number}")
        time.sleep(SETTLE)
        change()
        result = load.result()
        after = ask(self.pod, limit - 35, key)["kinds"]
        continues = "yes" if (before, after) == ({"passed": 40}, {"passed": limit - 40, "denied": 5}) else f"no: {before}, {after}"
        fresh = self.fresh() if starts else ""
        self.report.row("Istio", self.form, what, result, continues, fresh)
        return result, continues, fresh

    def fresh(self):
        """What a proxy does that starts now."""
        self.fresh_pod = pod = self.istio.gateway(f"fresh-{self.form.lower()}-{self.number}")
        ready = pod.ready(20)
        counted = redis_counted(pod)
        try:
            result = ask(pod, 10, f"fresh-{self.form}-{self.number}")
        finally:
            self.fresh_log = pod.log.read_text(errors="replace")
        time.sleep(1.5)  # the filter hands its metrics on once a second
        by = ", counted by Redis" if redis_counted(pod) > counted else ", not counted by Redis" if result["kinds"].get("passed") else ""
        pod.end()
        return f"{'ready' if ready else 'not ready'}; {result['statuses']}{by}"


def nothing_lost(result, continues, what):
    kinds = result["kinds"]
    expect(not kinds.get("lost") and not kinds.get("uncounted"), f"{what}: none lost and none uncounted: {kinds} {result['statuses']}")
    if continues is not None:
        expect(continues == "yes", f"{what}: the counters continue: {continues}")


def changes(report, istio, form, prometheus):
    istio.apply(FORMS[form], "redis-call.yaml")
    istio.route("upstream.example", 8000)
    pod = istio.gateway(f"edge-{form.lower()}")
    pod.must_be_ready()
    wait("the form", lambda: ask(pod, 1, "first")["kinds"].get("passed"), log=pod.log)
    wait("Redis", lambda: ask(pod, 1, "first") and redis_counted(pod), log=pod.log)
    on = Changes(report, istio, form, pod)
    prometheus.watch(pod, 15020)
    with report.test(f"istio_{form.lower()}_alerts_are_quiet_before"):
        time.sleep(5)
        expect(not prometheus.quiet(), f"alerts without a cause: {prometheus.quiet()}")
    name = form.lower()
    fails_well = form == "EnvoyFilter"

    with report.test(f"istio_{name}_new_policy_loses_nothing"):
        result, continues, _ = on.under_load("a new policy", lambda: on.policy(rate("90/minute")), limit=90)
        nothing_lost(result, continues, "a new policy")
        limits = {seen["headers"].get("x-ratelimit-limit") for seen in result["last"].values()}
        expect("90" in limits, f"the new policy is in place: {limits}")
    on.policy()
    time.sleep(2)

    with report.test(f"istio_{name}_refused_policy_keeps_the_old"):
        rejects, since = istio.rejects(), time.time()
        result, continues, fresh = on.under_load("a policy that is refused", lambda: on.policy(rate("many")), starts=True)
        nothing_lost(result, continues, "a refused policy")
        expect(istio.rejects() > rejects, "pilot_total_xds_rejects counts the refusal")
        prometheus.fired("HeadgateUpdateRefused", since)
    with report.test(f"istio_{name}_mended_policy_is_taken"):
        result, continues, _ = on.under_load("the policy mended", lambda: on.policy())
        nothing_lost(result, continues, "the policy mended")

    with report.test(f"istio_{name}_missing_tag"):
        failures, since = sum(v for k, v in conversions(pod).items() if k != "success"), time.time()
        result, continues, fresh = on.under_load("a tag that does not exist", lambda: on.policy(image("9.9.9")), starts=True)
        if fails_well:
            nothing_lost(result, continues, "a missing tag")
        else:  # what makes this form the second choice
            expect(result["statuses"].get("403", 0) > 100, f"the agent denies everything: {result['statuses']}")
        expect(sum(v for k, v in conversions(pod).items() if k != "success") > failures,
               f"istio_agent_wasm_config_conversion_count counts the failure: {conversions(pod)}")
        prometheus.fired("HeadgateModuleNotFetched", since)
    with report.test(f"istio_{name}_tag_rolled_back"):
        result, continues, _ = on.under_load("the tag rolled back", lambda: on.policy())
        if fails_well:
            nothing_lost(result, continues, "roll-back")
        wait("counting", lambda: ask(pod, 1, "again")["kinds"].get("passed"))

    with report.test(f"istio_{name}_missing_tag_for_redis_call"):
        result, continues, fresh = on.under_load("a tag that does not exist, for redis_call", lambda: on.call("9.9.9"), starts=True)
        nothing_lost(result, continues, "a missing tag for redis_call")
        on.policy(rate("80/minute"))
        time.sleep(4)
        late = ask(pod, 1, "late")["first"]["200"]["headers"]["x-ratelimit-limit"]
        report.notes.append(f"Istio, {form}: with a missing tag for redis_call, a new policy {'arrives' if late == '130' else 'does not arrive'}")
        on.call(VERSION)
        wait("the pending policy", lambda: ask(pod, 1, "late")["first"]["200"]["headers"]["x-ratelimit-limit"] == "80", 30)
        on.policy()
        time.sleep(2)

    with report.test(f"istio_{name}_registry_down"):
        istio.cluster.registry_down()
        try:
            result, continues, fresh = on.under_load("the registry is down, and a new policy", lambda: on.policy(rate("90/minute")),
                                                     starts=True, limit=90)
            nothing_lost(result, continues, "the registry is down")
        finally:
            istio.cluster.registry_up()
            on.policy()
            time.sleep(2)

    with report.test(f"istio_{name}_new_version_loses_nothing"):
        result, continues, _ = on.under_load("a new version, redis_call first", lambda: on.call("next"))
        nothing_lost(result, continues, "a new version for redis_call")
        result, continues, fresh = on.under_load("a new version, then the filter", lambda: on.policy(image("next")), starts=True)
        nothing_lost(result, continues, "a new version for the filter")
    with report.test(f"istio_{name}_version_rolled_back"):
        result, continues, _ = on.under_load("the version rolled back, the filter first", lambda: on.policy())
        nothing_lost(result, continues, "roll-back of the filter")
        result, continues, _ = on.under_load("then redis_call", lambda: on.call(VERSION))
        nothing_lost(result, continues, "roll-back of redis_call")

    with report.test(f"istio_{name}_redis_away_at_start"):
        istio.cluster.redis_down()
        try:
            fresh = istio.gateway(f"fresh-{name}-redis")
            expect(fresh.ready(30), "a proxy is ready without Redis")
            result = ask(fresh, 105, "without")
            report.row("Istio", form, "Redis is away when a proxy starts", result, "", "counts locally")
            expect(result["kinds"] == {"passed": 100, "denied": 5}, f"counted locally: {result['kinds']}")
        finally:
            istio.cluster.redis()
        wait("Redis counts again", lambda: ask(fresh, 1, "with") and redis_counted(fresh), 40, log=fresh.log)
        fresh.end()

    if form == "WasmPlugin":
        with report.test("istio_wasmplugin_fail_open_ends_the_counting"):
            # Why no manifest has it: every request passes, and nothing that callers get shows it.
            open_ = lambda text: text.replace("failStrategy: FAIL_RELOAD", "failStrategy: FAIL_OPEN")
            on.policy(open_)
            time.sleep(2)
            since = time.time()
            result, _, fresh = on.under_load("a tag that does not exist, FAIL_OPEN", lambda: on.policy(open_, image("9.9.9")), seconds=16)
            expect(result["kinds"].get("uncounted", 0) > 100, f"requests pass uncounted: {result['kinds']}")
            prometheus.fired("HeadgateCountsNothing", since)
    prometheus.forget(pod)
    pod.end()
    istio.remove(FORMS[form])
