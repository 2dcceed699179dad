"""The shipped manifests as the API server and the meshes' own tools read them, and what finds a mistake before it is
applied: `headgate check` for a policy, a look at the registry for a tag."""
import os

from cluster import BIN, VERSION, run
from report import expect
from sandbox import ROOT



def dry_run(cluster, path):
    """`kubectl apply --dry-run=server`: what it prints, or an error."""
    return cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", path)


def headgate():
    """The native command: `make build-cli` or `make cli`."""
    out = os.environ.get("CARGO_TARGET_DIR") or ROOT / "target"
    found = [path for path in (f"{out}/debug/headgate", ROOT / "target/headgate") if os.access(path, os.X_OK)]
    expect(found, "missing: the command headgate; run: make build-cli")
    return found[0]


def first_gates(report, folder, *names):
    """What the documentation says to run before an update, on what is right and on what is wrong."""
    with report.test(f"first_gates_find_mistakes_in_{folder}"):
        for name in names:
            path = ROOT / "envoy" / folder / name
            run(headgate(), "check", path)
            wrong = path.read_text().replace("per-client, rate: 100/minute", "per-client, rate: many")
            out = run(headgate(), "check", "-", input=wrong, check=False)
            expect("limits[0].rate" in out and "error" in out, f"{name} with a wrong rate: {out}")
        found = [run("skopeo", "inspect", "--format", "{{.Digest}}", f"docker://registry.example.com/headgate:{tag}", check=False).strip()
                 for tag in (VERSION, "9.9.9")]
        expect(found[0].startswith("sha256:") and not found[1], f"digests of {VERSION} and 9.9.9: {found}")


def istio(report, mesh):
    cluster, folder = mesh.cluster, ROOT / "envoy/istio"
    with report.test("istio_manifests_are_taken_by_the_api_server"):
        for path in sorted(folder.glob("*.yaml")):
            out = dry_run(cluster, path)
            expect("server dry run" in out, f"{path.name}: {out}")
    with report.test("istio_wrong_manifest_is_refused_by_the_api_server"):
        wrong = (folder / "gateway.yaml").read_text().replace("failStrategy: FAIL_RELOAD", "failStrategy: RELOAD")
        out = cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=wrong, check=False)
        expect("server dry run" not in out, f"a wrong value: {out}")
    with report.test("istioctl_analyze_finds_no_issue"):
        for path in sorted(folder.glob("*.yaml")):
            out = run("sh", "-c", '"$0" analyze --use-kube=false "$1" 2>&1', BIN / "istioctl", path)
            expect("No validation issues" in out, f"{path.name}: {out}")
    first_gates(report, "istio", "gateway.yaml", "gateway-filter.yaml")


def kustomize(report, cluster):
    folder = ROOT / "envoy/kubernetes"
    with report.test("kubernetes_base_is_built_and_taken_by_the_api_server"):
        built = run(BIN / "kubectl", "kustomize", folder)
        for namespace in {line.split()[-1] for line in built.splitlines() if line.startswith("  namespace: ")}:
            cluster.kubectl("create", "ns", namespace, check=False)
        out = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=built)
        expect(out.count("server dry run") == built.count("\nkind: ") + built.startswith("kind: "), out)


def gateway(report, mesh):
    with report.test("gateway_manifests_are_taken_by_the_api_server"):
        for path in sorted((ROOT / "envoy/gateway").glob("*.yaml")):
            out = dry_run(mesh.cluster, path)
            expect("server dry run" in out, f"{path.name}: {out}")
    first_gates(report, "gateway", "policy.yaml", "policy-filter.yaml")
