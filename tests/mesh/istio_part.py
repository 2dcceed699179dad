"""The part `istio`: one API server and one istiod for all its tests."""
import os

import admission
import generated
import istio_changes
import istio_gateway
import istio_sidecars
import manifests
import shapes
from alerts import Prometheus
from cluster import Cluster
from istio import Istio

# In the fast tests endpoints are in the cluster itself.
DISCOVERED = [".static_resources.clusters/*bound|*.type", ".static_resources.clusters/*bound|*.load_assignment"]


def run(report):
    only = os.environ.get("ONLY", "").split()      # for work on the suite: gateway sidecars changes
    cluster = Cluster()
    cluster.redis()
    cluster.registry()
    cluster.upstream()
    istio = Istio(cluster)
    manifests.istio(report, istio)
    admission.check(report, cluster, "istio", "WasmPlugin", "EnvoyFilter")
    generated.istio(report, istio)
    if not only or "gateway" in only:
        istio_gateway.one_gateway(report, istio).end()
        # The pod's own name and address; a version that only a release of Istio has in it.
        shapes.compare(report, cluster.dir, "istio-bootstrap", "config-of-gateway.json", [".node.id", ".node.metadata.ISTIO_VERSION"])
        shapes.compare(report, cluster.dir, "istio-gateway", "config-of-gateway.json", DISCOVERED)
    if not only or "sidecars" in only:
        istio_sidecars.run(report, istio)
        shapes.compare(report, cluster.dir, "istio-sidecar", "config-of-sidecar.json", DISCOVERED)
    if not only or "changes" in only:
        cluster.apply(istio_gateway.SERVICE)
        istio.route("upstream.example", 8000)
        prometheus = Prometheus(cluster, "127.0.0.1:15014")
        places = istio_changes.places(istio)
        for form in istio_changes.FORMS:
            istio_changes.changes(report, istio, form, places, prometheus)
