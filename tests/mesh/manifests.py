"""The shipped manifests as the API server and the meshes' own tools read them."""
from cluster import BIN, run
from report import expect
from sandbox import ROOT



def dry_run(cluster, path):
    """`kubectl apply --dry-run=server`: what it prints, or an error."""
    return cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", path)


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
            out = run(BIN / "istioctl", "analyze", "--use-kube=false", path)
            expect("No validation issues" in out, f"{path.name}: {out}")


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
