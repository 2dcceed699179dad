"""Envoy Gateway: its control plane on the API server, and Envoys started from the Deployment that it creates."""
import base64
import json
import os
import pathlib
import time

from cluster import BIN, UPSTREAM, get, run, wait
from kubelet import Load, Pod
from sandbox import ROOT

SOURCE = pathlib.Path("/run/gateway")
MANIFESTS = ROOT / "envoy/gateway"
NAMESPACE = "envoy-gateway-system"
EDGE, ADMIN = 10080, 19000                   # Envoy Gateway lets its proxies listen on 10000 + 80
METRICS = f"http://127.0.0.1:19001/metrics"  # Envoy Gateway's
CRDS = ("gatewayclasses.gateway.networking.k8s.io", *(f"{one}.gateway.envoyproxy.io" for one in (
    "envoyextensionpolicies", "envoypatchpolicies", "envoyproxies", "backends", "clienttrafficpolicies")))
# Its own configuration: what gateway.yaml's comment asks for, and Backend for the upstream without a Service.
CONFIGURATION = """apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyGateway
gateway: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
provider: {type: Kubernetes, kubernetes: {leaderElection: {disable: true}}}
extensionApis: {enableEnvoyPatchPolicy: true, enableBackend: true}
"""
ROUTE = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: upstream, namespace: default}
spec: {endpoints: [{fqdn: {hostname: upstream.test, port: 8000}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all, namespace: default}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: upstream}]}]}
"""


class EnvoyGateway:
    def __init__(self, cluster):
        self.cluster, self.number, self.pods = cluster, 0, []
        cluster.resolve({UPSTREAM: "upstream.test"})
        crds = run(BIN / "helm", "template", "crds", SOURCE / "charts/gateway-crds-helm", "--set", "crds.gatewayAPI.enabled=true",
                   "--set", "crds.envoyGateway.enabled=true")
        cluster.crds(crds, *CRDS)
        cluster.kubectl("create", "ns", NAMESPACE)
        cluster.secret(NAMESPACE)
        cluster.kubectl("create", "configmap", "headgate-module", "-n", NAMESPACE, f"--from-file={ROOT}/target/headgate.wasm")
        env = dict(os.environ, KUBECONFIG=str(cluster.config), ENVOY_GATEWAY_NAMESPACE=NAMESPACE)
        run(BIN / "envoy-gateway", "certgen", "--disable-topology-injector", env=env)
        certs = pathlib.Path("/run/certs")
        certs.mkdir()
        for name, value in cluster.read("secret", "envoy-gateway", NAMESPACE)["data"].items():
            (certs / name).write_bytes(base64.b64decode(value))
        (cluster.dir / "gateway.yaml").write_text(CONFIGURATION)
        self.start()

    def start(self):
        """The control plane, with an empty cache of modules as after a restart of its pod."""
        cache = self.cluster.dir / f"cache-{time.monotonic_ns()}"
        cache.mkdir()
        env = dict(os.environ, KUBECONFIG=str(self.cluster.config), ENVOY_GATEWAY_NAMESPACE=NAMESPACE)
        script = f'mkdir -p /certs /var/lib/eg && mount -t tmpfs tmpfs /certs && mount --bind /run/certs /certs && mount --bind {cache} /var/lib/eg && exec "$@"'
        self.process = self.cluster.start("envoy-gateway", "unshare", "-m", "sh", "-c", script, "sh", BIN / "envoy-gateway", "server",
                                          "--config-path", self.cluster.dir / "gateway.yaml", env=env, cwd=self.cluster.dir)

    def restart(self):
        self.cluster.stop(self.process)
        self.start()
        wait("Envoy Gateway", lambda: get(METRICS)[0] == 200, log=self.process.log)

    def apply(self, *names, change=lambda text: text):
        for name in names:
            self.cluster.apply(change((MANIFESTS / name).read_text()))

    def remove(self, *names):
        for name in names:
            self.cluster.kubectl("delete", "-f", MANIFESTS / name, "--ignore-not-found", check=False)

    def envoy(self):
        """An Envoy of the gateway, from the Deployment that Envoy Gateway has made."""
        def deployments():
            return json.loads(self.cluster.kubectl("get", "deploy", "-n", NAMESPACE, "-o", "json"))["items"]
        deployment = wait("the Deployment of the gateway's Envoy", deployments, log=self.process.log)[0]
        self.number += 1
        pod = Pod(self.cluster, NAMESPACE, f"edge-{self.number}", deployment["spec"]["template"])
        self.pods = [*(one for one in self.pods if one.processes), pod]
        self.endpoints(deployment["metadata"]["labels"])
        pod.container("envoy", "/usr/local/bin/envoy")
        return pod

    def endpoints(self, labels):
        """The endpoints of the gateway's own Service, as a cluster's controller writes them. Without any, Envoy waits 15 s for
        them before it is ready."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items() if "owning-gateway" in key)
        service = json.loads(self.cluster.kubectl("get", "svc", "-n", NAMESPACE, "-l", selector, "-o", "json"))["items"][0]
        meta, ports = service["metadata"], service["spec"]["ports"]
        self.cluster.apply({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": meta["name"], "namespace": NAMESPACE,
                         "labels": meta["labels"] | {"kubernetes.io/service-name": meta["name"]}},
            "ports": [{"name": one["name"], "port": one["targetPort"], "protocol": "TCP"} for one in ports],
            "endpoints": [{"addresses": [pod.address], "conditions": {"ready": True}} for pod in self.pods]})

    def conditions(self, kind, name="headgate", namespace="default"):
        """All conditions of an object's status, as (type, status, message)."""
        def walk(value):
            if isinstance(value, dict):
                yield from ((c["type"], c["status"], c["message"]) for c in value.get("conditions") or [])
                value = value.values()
            for one in value if not isinstance(value, (str, int, float, bool, type(None))) else []:
                yield from walk(one)
        return list(walk(self.cluster.read(kind, name, namespace).get("status", {})))

    def nacks(self):
        """How many updates Envoys have refused, by Envoy Gateway's metric."""
        lines = [line for line in get(METRICS)[2].splitlines() if line.startswith("xds_nack_total")]
        return sum(float(line.split()[-1]) for line in lines)


def ready(pod, seconds=40):
    """By the readiness probe of Envoy Gateway's Deployment."""
    return pod.ready(seconds, path="/ready", port=19003)


def ask(pod, amount, key, *more):
    return Load(pod.address, EDGE, "shop.example", amount, 0, f"x-api-key={key}", *more).result()
