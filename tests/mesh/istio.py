"""Istio: istiod with the chart's own mesh configuration on the API server, and pods as its injector makes them out of
envoy/istio/workload.yaml, with Istio's agent and a stock Envoy."""
import json
import os
import pathlib
import shutil

from cluster import BIN, VERSION, Failed, get, run, wait
from kubelet import USER, Pod
from sandbox import ROOT

SOURCE = pathlib.Path("/run/istio")
MANIFESTS = ROOT / "envoy/istio"
EDGE = 8080                                       # the gateway's port
METRICS = "http://127.0.0.1:15014/metrics"        # istiod's
# What the manifests' comments ask of the mesh, an access log with Headgate's filter state, and what a stock Envoy needs:
# Istio's own filters (statistics, metadata exchange, ALPN) are in Istio's build of Envoy alone.
MESH = {
    "pathNormalization": {"normalization": "DECODE_AND_MERGE_SLASHES"},
    "accessLogFile": "/dev/stdout",
    "accessLogFormat": "access %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %FILTER_STATE(wasm.ratelimit_decision:PLAIN)% "
                       "%FILTER_STATE(wasm.ratelimit_by:PLAIN)% %FILTER_STATE(wasm.ratelimit_client:PLAIN)%\n",
    "enablePrometheusMerge": False,
    "defaultProviders": {"metrics": []},
}
WITHOUT_ISTIOS_FILTERS = {"PILOT_ENABLE_ALPN_FILTER": "false", "PILOT_ENABLE_METADATA_EXCHANGE": "false"}


class Istio:
    def __init__(self, cluster):
        self.cluster, self.dir = cluster, cluster.dir
        crds = (SOURCE / "manifests/charts/base/files/crd-all.gen.yaml").read_text()
        cluster.crds(crds, *(f"{name}.io" for name in (
            "wasmplugins.extensions.istio", "envoyfilters.networking.istio", "gateways.networking.istio",
            "virtualservices.networking.istio", "serviceentries.networking.istio", "peerauthentications.security.istio")))
        for namespace in ("istio-system", "istio-ingress", "shop"):
            cluster.kubectl("create", "ns", namespace)
        cluster.secret("istio-ingress", "shop")
        for namespace in ("istio-ingress", "shop"):
            cluster.kubectl("apply", "-n", namespace, "-f", MANIFESTS / "bootstrap.yaml")
        self.chart()
        self.istiod()
        self.templates = self.inject()

    def chart(self):
        """The chart's ConfigMaps: the mesh configuration and the injector's."""
        values = self.dir / "values.json"
        values.write_text(json.dumps({"meshConfig": MESH}))
        chart = self.dir / "istiod-chart"
        shutil.copytree(SOURCE / "manifests/charts/istio-control/istio-discovery", chart, symlinks=False)
        run("chmod", "-R", "u+w", chart)
        rendered = run(BIN / "helm", "template", "istiod", chart, "-n", "istio-system", "-f", values, "-s", "templates/configmap.yaml",
                       "-s", "templates/istiod-injector-configmap.yaml")
        self.cluster.apply(rendered)
        mesh = self.cluster.read("configmap", "istio", "istio-system")["data"]["mesh"]
        injector = self.cluster.read("configmap", "istio-sidecar-injector", "istio-system")["data"]
        for name, text in (("mesh.yaml", mesh), ("inject.yaml", injector["config"]), ("values-of-injector.json", injector["values"])):
            (self.dir / name).write_text(text)

    def istiod(self):
        env = dict(os.environ, POD_NAMESPACE="istio-system", POD_NAME="istiod-0", PILOT_ENABLE_AMBIENT="false",
                   INJECTION_WEBHOOK_CONFIG_NAME="", VALIDATION_WEBHOOK_CONFIG_NAME="", **WITHOUT_ISTIOS_FILTERS)
        process = self.cluster.start(
            "istiod", BIN / "pilot-discovery", "discovery", "--kubeconfig", self.cluster.config, "--meshConfig", self.dir / "mesh.yaml",
            "--networksConfig", self.dir / "none", "--httpAddr", "127.0.0.1:18080", "--httpsAddr", "127.0.0.1:15017", "--grpcAddr",
            "127.0.0.1:15010", "--secureGRPCAddr", ":15012", "--monitoringAddr", "127.0.0.1:15014", "--ctrlz_port", "0", cwd=self.dir, env=env)
        self.log = process.log
        wait("istiod", lambda: get("http://127.0.0.1:18080/ready")[0] == 200, log=process.log)

    def inject(self):
        """The pod templates of workload.yaml, by name, as `istioctl kube-inject` makes them."""
        injected = run(BIN / "istioctl", "kube-inject", "--kubeconfig", self.cluster.config, "--revision", "default",
                       "--injectConfigFile", self.dir / "inject.yaml", "--meshConfigFile", self.dir / "mesh.yaml",
                       "--valuesFile", self.dir / "values-of-injector.json", "-f", MANIFESTS / "workload.yaml", timeout=120)
        (self.dir / "injected.yaml").write_text(injected)
        self.cluster.apply(injected)
        found = {}
        for namespace, name in (("istio-ingress", "istio-ingressgateway"), ("shop", "orders")):
            template = self.cluster.read("deployment", name, namespace)["spec"]["template"]
            # The account that Istio's chart gives to a gateway, and one for each service.
            template["spec"]["serviceAccountName"] = name
            # A stock Envoy has no istio_requests_total: Envoy's own count of requests, for the alert on proxies that count
            # nothing.
            template["metadata"]["annotations"]["sidecar.istio.io/statsInclusionSuffixes"] = "downstream_rq_completed"
            found[name] = template
        return found

    def apply(self, *names, change=lambda text: text):
        """Shipped manifests, unchanged unless a test changes them."""
        for name in names:
            self.cluster.apply(change((MANIFESTS / name).read_text()))

    def remove(self, *names):
        for name in names:
            self.cluster.kubectl("delete", "-f", MANIFESTS / name, "--ignore-not-found", check=False)

    # Pods

    def start(self, pod, environment=None):
        # The agent's programs are where its image has them.
        template = pathlib.Path("/var/lib/istio/envoy/envoy_bootstrap_tmpl.json")
        if not template.exists():
            template.parent.mkdir(parents=True)
            shutil.copy(SOURCE / "tools/packaging/common/envoy_bootstrap.json", template)
        env = {"SSL_CERT_FILE": os.environ["SSL_CERT_FILE"]} | (environment or {})
        for init in pod.template["spec"].get("initContainers", []):
            if init["name"] == "istio-init":
                pod.inside(BIN / "pilot-agent", *init["args"])
        pod.container("istio-proxy", BIN / "pilot-agent", env, user=USER)

    def gateway(self, name="edge", environment=None):
        """A pod of the ingress gateway."""
        pod = Pod(self.cluster, "istio-ingress", name, self.templates["istio-ingressgateway"])
        self.start(pod, environment)
        return pod

    def sidecar(self, name, limited=False, environment=None):
        """A pod of the namespace shop with an application and a sidecar; `limited` as `orders` in workload.yaml."""
        template = json.loads(json.dumps(self.templates["orders"]))
        labels, spec = template["metadata"]["labels"], template["spec"]
        labels["app"] = labels["service.istio.io/canonical-name"] = spec["serviceAccountName"] = name
        if not limited:
            del labels["headgate"]
        pod = Pod(self.cluster, "shop", f"{name}-0", template)
        self.service(pod, name)
        pod.app()
        self.start(pod, environment)
        return pod

    def service(self, pod, name):
        """A Service with this pod behind it; `pod.to` is its cluster address."""
        meta = {"name": name, "namespace": pod.namespace}
        self.cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {
            "selector": {"app": name}, "ports": [{"name": "http", "port": 8080, "targetPort": 8080}]}})
        self.cluster.apply({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": meta | {"labels": {"kubernetes.io/service-name": name}},
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": [pod.address], "conditions": {"ready": True},
                           "targetRef": {"kind": "Pod", "name": pod.name, "namespace": pod.namespace}}]})
        pod.to = self.cluster.kubectl("get", "svc", name, "-n", pod.namespace, "-o", "jsonpath={.spec.clusterIP}")
        pod.host = f"{name}.{pod.namespace}.svc.cluster.local:8080"

    def route(self, host, port):
        """The gateway's routes, all to one service."""
        self.cluster.apply({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "edge", "namespace": "istio-ingress"},
            "spec": {"selector": {"istio": "ingressgateway"}, "servers": [
                {"port": {"number": EDGE, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}})
        self.cluster.apply({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "edge", "namespace": "istio-ingress"},
            "spec": {"hosts": ["*"], "gateways": ["edge"], "http": [
                {"route": [{"destination": {"host": host, "port": {"number": port}}}]}]}})

    # What operators look at

    def rejects(self):
        """How many updates proxies have refused, by istiod's metric."""
        lines = [line for line in get(METRICS)[2].splitlines() if line.startswith("pilot_total_xds_rejects")]
        return sum(float(line.split()[-1]) for line in lines)


def conversions(pod):
    """The agent's counts of modules, by result: istio_agent_wasm_config_conversion_count at the pod's port 15020."""
    found = {}
    for line in get(f"http://{pod.address}:15020/stats/prometheus")[2].splitlines():
        if line.startswith("istio_agent_wasm_config_conversion_count"):
            found[line.split('result="')[1].split('"')[0]] = float(line.split()[-1])
    return found


def image(tag):
    """A change of a manifest: another tag for its images."""
    def change(text):
        if f"/headgate:{VERSION}" not in text:
            raise Failed("the manifest names no image of this release")
        return text.replace(f"/headgate:{VERSION}", f"/headgate:{tag}")
    return change
