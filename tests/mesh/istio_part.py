"""The part `istio`: one API server and one istiod for all its tests."""
import os

import istio_changes
import istio_gateway
import istio_sidecars
import manifests
from alerts import Prometheus
from cluster import Cluster
from istio import Istio


def run(report):
    only = os.environ.get("ONLY", "").split()      # for work on the suite: gateway sidecars changes
    cluster = Cluster()
    cluster.redis()
    cluster.registry()
    cluster.upstream()
    istio = Istio(cluster)
    manifests.istio(report, istio)
    if not only or "gateway" in only:
        istio_gateway.one_gateway(report, istio).end()
    if not only or "sidecars" in only:
        istio_sidecars.run(report, istio)
    if not only or "changes" in only:
        cluster.apply(istio_gateway.SERVICE)
        istio.route("upstream.example", 8000)
        prometheus = Prometheus(cluster, "127.0.0.1:15014")
        places = istio_changes.places(istio)
        for form in istio_changes.FORMS:
            istio_changes.changes(report, istio, form, places, prometheus)
