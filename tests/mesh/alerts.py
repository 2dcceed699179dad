"""Prometheus with the shipped alert rules, their windows shortened, in a mesh: which alerts have fired."""
import json
import time
import urllib.parse

from cluster import Failed, get, wait
from sandbox import ROOT

# The shipped windows are minutes; a test's are seconds.
SHORTER = (("15m", "20s"), ("[5m]", "[6s]"), ("for: 2m", "for: 2s"), ("for: 10m", "for: 3s"))
ADDRESS = "127.0.0.1:9090"


class Prometheus:
    def __init__(self, cluster, control_plane):
        self.cluster, self.dir = cluster, cluster.dir / "prometheus"
        self.dir.mkdir()
        rules = (ROOT / "dashboards/rules.yaml").read_text()
        for long, short in SHORTER:
            rules = rules.replace(long, short)
        (self.dir / "rules.yaml").write_text(rules)
        self.targets = {}
        self.write()
        (self.dir / "prometheus.yaml").write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"},
            "rule_files": [str(self.dir / "rules.yaml")],
            "scrape_configs": [
                {"job_name": "control-plane", "static_configs": [{"targets": [control_plane]}]},
                {"job_name": "pods", "metrics_path": "/stats/prometheus", "honor_labels": True,
                 "file_sd_configs": [{"files": [str(self.dir / "targets.json")], "refresh_interval": "1s"}]}]}))
        process = cluster.start("prometheus", "prometheus", f"--config.file={self.dir}/prometheus.yaml", f"--web.listen-address={ADDRESS}",
                                f"--storage.tsdb.path={self.dir}/data")
        wait("Prometheus", lambda: get(f"http://{ADDRESS}/-/ready")[0] == 200, log=process.log)

    def write(self):
        found = [{"targets": [target], "labels": labels} for target, labels in self.targets.values()]
        new = self.dir / "targets.new"
        new.write_text(json.dumps(found))
        new.rename(self.dir / "targets.json")

    def watch(self, pod, port, **labels):
        """Scrapes a pod as the documentation's job does: with its name and its labels."""
        self.targets[pod.name] = (f"{pod.address}:{port}", {"pod": pod.name, "headgate": pod.labels.get("headgate", "")} | labels)
        self.write()

    def forget(self, pod):
        self.targets.pop(pod.name, None)
        self.write()

    def query(self, expression):
        answer = get(f"http://{ADDRESS}/api/v1/query?query={urllib.parse.quote(expression)}")[2]
        return json.loads(answer)["data"]["result"]

    def fired(self, alert, since, *pods, seconds=30):
        """Waits until the alert has fired after `since`, a time.time(), for each of the pods, if any; fails if it does not."""
        for selector in [f',pod="{pod.name}"' for pod in pods] or [""]:
            def asked():
                window = max(1, int(time.time() - since))
                return self.query(f'max_over_time(ALERTS{{alertname="{alert}",alertstate="firing"{selector}}}[{window}s])')
            try:
                wait(alert, asked, seconds)
            except Failed:
                states = self.query("ALERTS")
                raise Failed(f"the alert {alert}{selector} has not fired; alerts: {[one['metric'] for one in states]}") from None

    def stays_quiet(self, seconds=5):
        """Fails if one of the mesh's alerts fires for no cause; those of an earlier mistake end by themselves."""
        # A pod that is watched again has its old counts, for which an alert may fire until their window has passed.
        wait("each pod is scraped", lambda: len(self.query('up{job="pods"}')) >= len(self.targets))
        time.sleep(3)
        wait("no alert", lambda: not self.firing(), 60)
        time.sleep(seconds)
        if found := self.firing():
            raise Failed(f"alerts without a cause: {found}")

    def firing(self):
        """The mesh's alerts that fire now."""
        found = self.query('ALERTS{alertstate="firing",alertname=~"HeadgateUpdateRefused|HeadgateModuleNotFetched|'
                           'HeadgateCountsNothing|HeadgateOldConfiguration"}')
        return [one["metric"]["alertname"] for one in found]
