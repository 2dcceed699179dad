"""Envoy Gateway: changes under load, and mistakes, for both forms of the filter."""
import time

from cluster import Failed, wait
from envoy_gateway import ADMIN, EDGE, NAMESPACE, ask, ready
from istio import image
from istio_changes import RATE, SECONDS, SETTLE, both, nothing_lost, rate
from istio_gateway import redis_counted
from kubelet import Load
from report import expect
from sandbox import ROOT

FORMS = {"EnvoyExtensionPolicy": "policy.yaml", "EnvoyPatchPolicy": "policy-filter.yaml"}
MODULE = "/etc/headgate/module/headgate.wasm"


def file(name):
    """A change of a manifest: another file for the module."""
    def change(text):
        if MODULE not in text:
            raise Failed("the manifest names no module")
        return text.replace(MODULE, f"/etc/headgate/module/{name}")
    return change


def path(text):
    """A path that does not lead anywhere."""
    found = text.replace("name=='envoy.filters.network.http_connection_manager'", "name=='envoy.http_connection_manager'")
    if found == text:
        raise Failed("the manifest has no path")
    return found


class Changes:
    def __init__(self, report, mesh, form, pod):
        self.report, self.mesh, self.form, self.file, self.pod = report, mesh, form, FORMS[form], pod
        self.number = 0

    def policy(self, *changes):
        self.mesh.apply(self.file, change=both(*changes))

    def call(self, name="headgate.wasm"):
        self.mesh.apply("redis-call.yaml", change=file(name))

    def under_load(self, what, change, seconds=SECONDS, starts=False, limit=100):
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
        self.report.row("Envoy Gateway", self.form, what, result, continues, fresh)
        return result, continues, fresh

    def fresh(self):
        """What an Envoy does that starts now."""
        pod = self.mesh.envoy()
        is_ready = ready(pod, 28)  # 16 s: Envoy waits for the endpoints of its own Service, which only a cluster has
        result = ask(pod, 10, f"fresh-{self.form}-{self.number}")
        time.sleep(1.5)
        by = ", counted by Redis" if redis_counted(pod, ADMIN) else ", not counted by Redis" if result["kinds"].get("passed") else ""
        pod.end()
        return f"{'ready' if is_ready else 'not ready'}; {result['statuses']}{by}"


def changes(report, mesh, form, prometheus):
    mesh.apply(FORMS[form], "redis-call.yaml")
    pod = mesh.envoy()
    expect(ready(pod), pod.log.read_text()[-1500:])
    wait("the form", lambda: ask(pod, 1, "first")["kinds"].get("passed"), log=pod.log)
    wait("Redis", lambda: ask(pod, 1, "first") and redis_counted(pod, ADMIN), log=pod.log)
    on = Changes(report, mesh, form, pod)
    prometheus.watch(pod, 19001)
    with report.test(f"gateway_{form.lower()}_alerts_are_quiet_before"):
        time.sleep(5)
        expect(not prometheus.quiet(), f"alerts without a cause: {prometheus.quiet()}")
    name, is_file = form.lower(), form == "EnvoyPatchPolicy"
    policy = ("envoypatchpolicy", "headgate-filter") if is_file else ("envoyextensionpolicy", "headgate")

    def status():
        return [one for one in mesh.conditions(*policy) if one[1] != "True"]

    with report.test(f"gateway_{name}_new_policy_loses_nothing"):
        result, continues, _ = on.under_load("a new policy", lambda: on.policy(rate("90/minute")), limit=90)
        nothing_lost(result, continues, "a new policy")
    on.policy()
    time.sleep(2)

    with report.test(f"gateway_{name}_refused_policy_keeps_the_old"):
        nacks, since = mesh.nacks(), time.time()
        rejected = pod.stat("listener_manager.lds.update_rejected", ADMIN)
        result, continues, fresh = on.under_load("a policy that is refused", lambda: on.policy(rate("many")), starts=True)
        nothing_lost(result, continues, "a refused policy")
        expect(pod.stat("listener_manager.lds.update_rejected", ADMIN) > rejected, "Envoy counts the refusal")
        expect(mesh.nacks() > nacks, "xds_nack_total counts the refusal")
        prometheus.fired("HeadgateUpdateRefused", since)
        report.notes.append(f"Envoy Gateway, {form}: conditions of a policy that Envoy refused and that are not True: {status()}")
    with report.test(f"gateway_{name}_mended_policy_is_taken"):
        result, continues, _ = on.under_load("the policy mended", lambda: on.policy())
        nothing_lost(result, continues, "the policy mended")

    with report.test(f"gateway_{name}_missing_module"):
        wrong, what = (file("headgate-9.9.9.wasm"), "a file that does not exist") if is_file else (image("9.9.9"), "a tag that does not exist")
        result, continues, fresh = on.under_load(what, lambda: on.policy(wrong), starts=True)
        report.notes.append(f"Envoy Gateway, {form}: with {what}, conditions that are not True: {status()}")
        if is_file:
            nothing_lost(result, continues, what)
        else:
            expect(result["statuses"].get("500", 0) > 100, f"every request is answered 500: {result['statuses']}")
            expect(status(), "the policy's status says why")
        on.policy()
        wait("counting", lambda: ask(pod, 1, "again")["kinds"].get("passed"))
        time.sleep(2)

    with report.test(f"gateway_{name}_missing_file_for_redis_call"):
        result, continues, fresh = on.under_load("a file that does not exist, for redis_call", lambda: on.call("headgate-9.9.9.wasm"), starts=True)
        nothing_lost(result, continues, "a missing file for redis_call")
        on.call()
        time.sleep(2)

    with report.test(f"gateway_{name}_registry_down"):
        mesh.cluster.registry_down()
        try:
            result, continues, fresh = on.under_load("the registry is down, and a new policy", lambda: on.policy(rate("90/minute")), starts=True, limit=90)
            nothing_lost(result, continues, "the registry is down")
            result, continues, fresh = on.under_load("the registry is down, and Envoy Gateway restarts", mesh.restart, seconds=14, starts=True, limit=90)
            if is_file:
                nothing_lost(result, continues, "Envoy Gateway restarts")
        finally:
            mesh.cluster.registry_up()
            mesh.restart()  # which fetches the image at once, and not when its back-off ends
            on.policy()
            wait("counting", lambda: ask(pod, 1, "again")["kinds"].get("passed"), 60)
            time.sleep(2)

    with report.test(f"gateway_{name}_new_version_loses_nothing"):
        # The next module beside this one, in the same ConfigMap, and in the running pod after the kubelet's sync.
        mesh.cluster.kubectl("delete", "configmap", "headgate-module", "-n", NAMESPACE)
        mesh.cluster.kubectl("create", "configmap", "headgate-module", "-n", NAMESPACE, f"--from-file={ROOT}/target/headgate.wasm",
                             f"--from-file=headgate-next.wasm={ROOT}/target/headgate-fault-injection.wasm")
        pod.refresh("headgate-module")
        result, continues, _ = on.under_load("a new version, redis_call first", lambda: on.call("headgate-next.wasm"))
        nothing_lost(result, continues, "a new version for redis_call")
        new = file("headgate-next.wasm") if is_file else image("next")
        result, continues, fresh = on.under_load("a new version, then the filter", lambda: on.policy(new), starts=True)
        nothing_lost(result, continues, "a new version for the filter")
    with report.test(f"gateway_{name}_version_rolled_back"):
        result, continues, _ = on.under_load("the version rolled back, the filter first", lambda: on.policy())
        nothing_lost(result, continues, "roll-back of the filter")
        result, continues, _ = on.under_load("then redis_call", lambda: on.call())
        nothing_lost(result, continues, "roll-back of redis_call")

    with report.test(f"gateway_{name}_redis_away_at_start"):
        mesh.cluster.redis_down()
        try:
            fresh = mesh.envoy()
            expect(ready(fresh), "a proxy is ready without Redis")
            result = ask(fresh, 105, "without")
            report.row("Envoy Gateway", form, "Redis is away when a proxy starts", result, "", "counts locally")
            expect(result["kinds"] == {"passed": 100, "denied": 5}, f"counted locally: {result['kinds']}")
        finally:
            mesh.cluster.redis()
        wait("Redis counts again", lambda: ask(fresh, 1, "with") and redis_counted(fresh, ADMIN), 40, log=fresh.log)
        fresh.end()

    if is_file:
        with report.test("gateway_envoypatchpolicy_wrong_path"):
            # No form of a patch keeps the filter here: Envoy Gateway leaves the patch out. The status says so, and an alert.
            since = time.time()
            result, continues, fresh = on.under_load("a wrong path in the policy", lambda: on.policy(path), seconds=16, starts=True)
            report.notes.append(f"Envoy Gateway, {form}: with a wrong path, conditions that are not True: {status()}")
            expect(("Programmed", "False") in [one[:2] for one in status()], "the policy's status says that it is not in place")
            expect(not result["kinds"].get("lost") and result["kinds"].get("uncounted", 0) > 100, f"requests pass uncounted: {result['kinds']}")
            prometheus.fired("HeadgateCountsNothing", since)
            on.policy()
            wait("counting", lambda: ask(pod, 1, "again")["kinds"].get("passed"))
    prometheus.forget(pod)
    pod.end()
    mesh.remove(FORMS[form])
