"""Envoy Gateway: changes under load, and mistakes, for both forms of the filter."""
import time

from changes import Changes, Edge, both, nothing_lost, rate, replace
from cluster import wait
from envoy_gateway import ADMIN, EDGE, NAMESPACE, ready
from istio import image
from report import expect
from sandbox import ROOT

FORMS = {"EnvoyExtensionPolicy": "policy.yaml", "EnvoyPatchPolicy": "policy-filter.yaml"}
MODULE = "/etc/headgate/module/headgate.wasm"
ALWAYS = replace("code: {type: Image, ", "code: {type: Image, pullPolicy: Always, ")


def file(name):
    """A change of a manifest: another file for the module."""
    return replace(MODULE, f"/etc/headgate/module/{name}")


# A path in the patch that does not lead anywhere.
WRONG_PATH = replace("name=='envoy.filters.network.http_connection_manager'", "name=='envoy.http_connection_manager'")


class Gateway(Edge):
    """An Envoy of the gateway."""
    admin = ADMIN

    def ready(self, pod, seconds):
        return ready(pod, seconds)


class GatewayChanges(Changes):
    def __init__(self, report, mesh, form, pod):
        super().__init__(report, form, [Gateway("Envoy Gateway", pod, EDGE, mesh.envoy)])
        self.mesh = mesh

    def policy(self, *changes):
        self.mesh.apply(FORMS[self.form], change=both(*changes))

    def call(self, name="headgate.wasm"):
        self.mesh.apply("redis-call.yaml", change=file(name))


def changes(report, mesh, form, prometheus):
    mesh.apply(FORMS[form], "redis-call.yaml")
    pod = mesh.envoy()
    expect(ready(pod), pod.log.read_text()[-1500:])
    on = GatewayChanges(report, mesh, form, pod)
    edge = on.places[0]
    wait("counts by Redis", edge.counts, log=pod.log)
    prometheus.watch(pod, 19001)
    name, is_file = form.lower(), form == "EnvoyPatchPolicy"
    policy = ("envoypatchpolicy", "headgate-filter") if is_file else ("envoyextensionpolicy", "headgate")

    def status():
        return [one for one in mesh.conditions(*policy) if one[1] != "True"]

    with report.test(f"gateway_{name}_counts_and_alerts_are_quiet"):
        found = edge.ask(edge.client(), 105)["kinds"]
        expect(found == {"passed": 100, "denied": 5}, f"105 calls of one key: {found}")
        expect(mesh.conditions(*policy) and not status(), f"conditions: {mesh.conditions(*policy)}")
        prometheus.stays_quiet()

    with on.test(f"gateway_{name}_new_policy_loses_nothing"):
        on.new_policy()

    with on.test(f"gateway_{name}_refused_policy_keeps_the_old"):
        nacks, since = mesh.nacks(), time.time()
        rejected = pod.stat("listener_manager.lds.update_rejected", ADMIN)
        found = on.under_load("a policy that is refused", lambda: on.policy(rate("many")))
        nothing_lost(found, "a refused policy")
        expect(pod.stat("listener_manager.lds.update_rejected", ADMIN) > rejected, "Envoy counts the refusal")
        expect(mesh.nacks() > nacks, "xds_nack_total counts the refusal")
        prometheus.fired("HeadgateUpdateRefused", since)
        report.notes.append(f"Envoy Gateway, {form}: conditions of a policy that Envoy refused and that are not True: {status()}")
        on.mended_policy()

    with on.test(f"gateway_{name}_missing_module"):
        wrong, what = (file("headgate-9.9.9.wasm"), "a file that does not exist") if is_file else (image("9.9.9"), "a tag that does not exist")
        found = on.under_load(what, lambda: on.policy(wrong))
        report.notes.append(f"Envoy Gateway, {form}: with {what}, conditions that are not True: {status()}")
        answered_500(found, what, not is_file)
        if not is_file:
            expect(status(), "the policy's status says why")
        found = on.under_load("that rolled back", on.policy, starts=False)
        if is_file:
            nothing_lost(found, "roll-back")

    with on.test(f"gateway_{name}_missing_file_for_redis_call"):
        found = on.under_load("a file that does not exist, for redis-call.yaml", lambda: on.call("headgate-9.9.9.wasm"))
        nothing_lost(found, "a missing file for redis-call.yaml")

    with on.test(f"gateway_{name}_registry_down"):
        mesh.cluster.registry_down()
        try:
            found = on.under_load("the registry is down, and a new policy", lambda: on.policy(rate("90/minute")), limit=90)
            nothing_lost(found, "the registry is down")
            on.settle("90")
            if not is_file:
                found = on.under_load("the same with the pull policy Always", lambda: on.policy(ALWAYS, rate("80/minute")), limit=90)
                answered_500(found, "the registry is down, Always", True)
                on.policy(rate("90/minute"))
                on.settle("90")
            found = on.under_load("the registry is down, and Envoy Gateway restarts", mesh.restart, seconds=14, limit=90)
            answered_500(found, "Envoy Gateway restarts", not is_file)
        finally:
            mesh.cluster.registry_up()
            mesh.restart()  # which fetches the image at once, and not when its back-off ends

    with on.test(f"gateway_{name}_new_version_and_back_loses_nothing"):
        # The next module beside this one, in the same ConfigMap, and in the running pod after the kubelet's sync.
        modules = mesh.cluster.kubectl("create", "configmap", "headgate-module", "-n", NAMESPACE, "--dry-run=client", "-o", "yaml",
                                       f"--from-file={ROOT}/target/headgate.wasm",
                                       f"--from-file=headgate-next.wasm={ROOT}/target/headgate-fault-injection.wasm")
        mesh.cluster.kubectl("replace", "-f", "-", stdin=modules)
        pod.refresh("headgate-module")
        new = file("headgate-next.wasm") if is_file else image("next")
        on.new_version_and_back(lambda: on.call("headgate-next.wasm"), lambda: on.policy(new))

    with report.test(f"gateway_{name}_redis_away_at_start"):
        on.away_at_start(mesh.cluster.redis_down, mesh.cluster.redis)

    if is_file:
        with on.test("gateway_envoypatchpolicy_wrong_path"):
            # No form of a patch keeps the filter here: Envoy Gateway leaves the patch out. The status says so, and an alert.
            since = time.time()
            found = on.under_load("a wrong path in the patch", lambda: on.policy(WRONG_PATH), seconds=16)
            report.notes.append(f"Envoy Gateway, {form}: with a wrong path, conditions that are not True: {status()}")
            expect(("Programmed", "False") in [one[:2] for one in status()], "the policy's status says that it is not in place")
            kinds = found[0].kinds
            expect(not kinds.get("lost") and kinds.get("uncounted", 0) > 100, f"requests pass uncounted: {kinds}")
            prometheus.fired("HeadgateCountsNothing", since, pod)
    prometheus.forget(pod)
    pod.end()
    mesh.remove(FORMS[form])


def answered_500(found, what, refused):
    """In the second-choice form every route is answered 500; in the other one nothing is lost."""
    if not refused:
        return nothing_lost(found, what)
    for one in found:
        expect(one.statuses.get("500", 0) >= 50, f"{what}: every request is answered 500: {one.statuses}")
