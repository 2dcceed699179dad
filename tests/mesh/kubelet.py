"""A kubelet for one container of a pod: what its pod template says, as a process in a network and a mount namespace.

Known are the volumes, environment sources and arguments that Istio's injector and Envoy Gateway write; what is not known
here is an error, so that nothing of a template is left out unseen."""
import base64
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import sys

from cluster import BRIDGE, HOST, NETWORK, Failed, get, minute, run, wait

HERE = pathlib.Path(__file__).resolve().parent
USER = "1337"                         # the proxy's user of Istio: what it sends is not captured


class Pod:
    """A network namespace with an address and, in the API server, a Pod with the template's labels."""
    numbers = itertools.count(11)

    def __init__(self, cluster, namespace, name, template, labels=None):
        number = next(Pod.numbers)   # pods are made in several threads
        self.cluster, self.namespace, self.name = cluster, namespace, name
        self.address, self.net = f"{NETWORK}.{number}", f"net-{name}"
        self.template = json.loads(json.dumps(template))
        self.labels = template["metadata"].get("labels", {}) | (labels or {})
        self.account = template["spec"].get("serviceAccountName") or "default"
        self.processes = []
        run("ip", "netns", "add", self.net)
        run("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", self.net)
        run("ip", "link", "set", f"v{number}", "master", BRIDGE, "up")
        # Without a default route, calls to cluster addresses fail before they are captured.
        for words in (f"addr add {self.address}/24 dev eth0", "link set lo up", "link set eth0 up", f"route add default via {HOST}"):
            run("ip", "-n", self.net, *words.split())
        for key, value in template["spec"].get("securityContext", {}).items():
            for one in value if key == "sysctls" else []:
                self.inside("sysctl", "-qw", f"{one['name']}={one['value']}")
        self.register()

    def register(self):
        cluster = self.cluster
        cluster.kubectl("create", "sa", self.account, "-n", self.namespace, check=False)
        cluster.apply({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name, "namespace": self.namespace, "labels": self.labels},
            "spec": {"serviceAccountName": self.account, "nodeName": "node",
                     "containers": [{"name": "main", "image": "image", "ports": [{"containerPort": 8080}]}]}})
        cluster.kubectl("patch", "pod", self.name, "-n", self.namespace, "--subresource=status", "--type=merge", "-p", json.dumps(
            {"status": {"phase": "Running", "podIP": self.address, "podIPs": [{"ip": self.address}],
                        "conditions": [{"type": "Ready", "status": "True"}]}}))

    def inside(self, *arguments, **options):
        return run("ip", "netns", "exec", self.net, *arguments, **options)

    # What the kubelet makes of a container

    def field(self, path):
        known = {"metadata.name": self.name, "metadata.namespace": self.namespace, "status.podIP": self.address, "status.hostIP": HOST,
                 "spec.serviceAccountName": self.account, "spec.nodeName": "node"}
        if path.startswith("metadata.annotations['"):
            return self.template["metadata"].get("annotations", {}).get(path.split("'")[1], "")
        if path in ("metadata.labels", "metadata.annotations"):
            what = self.labels if path.endswith("labels") else self.template["metadata"].get("annotations", {})
            return "".join(f"{k}={json.dumps(v)}\n" for k, v in what.items())
        return known[path]

    def object(self, kind, name, wait_for=True):
        read = lambda: self.cluster.kubectl("get", kind, name, "-n", self.namespace, "-o", "json", check=False)
        return json.loads(wait(f"{kind} {name}", read) if wait_for else read() or "{}")

    def environment(self, container):
        found = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "HOSTNAME": self.name}
        for one in container.get("env", []):
            source = one.get("valueFrom", {})
            if "fieldRef" in source:
                value = self.field(source["fieldRef"]["fieldPath"])
            elif "secretKeyRef" in source:
                secret = self.object("secret", source["secretKeyRef"]["name"])
                value = base64.b64decode(secret["data"][source["secretKeyRef"]["key"]]).decode()
            elif "resourceFieldRef" in source:
                value = {"limits.cpu": "2", "limits.memory": "1073741824"}[source["resourceFieldRef"]["resource"]]
            elif source:
                raise Failed(f"{one}: not known to this kubelet")
            else:
                value = one.get("value", "")
            found[one["name"]] = re.sub(r"\$\((\w+)\)", lambda m: found.get(m[1], m[0]), value)
        return found

    def volume(self, volume, at):
        at.mkdir(parents=True)
        if "secret" in volume or "configMap" in volume:
            kind, name = ("secret", volume["secret"]["secretName"]) if "secret" in volume else ("configmap", volume["configMap"]["name"])
            source = volume.get("secret") or volume["configMap"]
            held = self.object(kind, name, not source.get("optional"))
            data = {k: v.encode() for k, v in held.get("data", {}).items()} if kind == "configmap" else {}
            coded = held.get("data", {}) if kind == "secret" else held.get("binaryData", {})
            data |= {k: base64.b64decode(v) for k, v in coded.items()}
            for item in source.get("items") or [{"key": k, "path": k} for k in data]:
                (at / item["path"]).write_bytes(data[item["key"]])
        elif "downwardAPI" in volume:
            for item in volume["downwardAPI"]["items"]:
                (at / item["path"]).write_text(self.field(item["fieldRef"]["fieldPath"]))
        elif "projected" in volume:
            for source in volume["projected"]["sources"]:
                token = source["serviceAccountToken"]
                (at / token["path"]).write_text(self.cluster.kubectl(
                    "create", "token", self.account, "-n", self.namespace, "--audience", token["audience"]).strip())
        elif set(volume) == {"name", "emptyDir"}:
            at.chmod(0o777)
        else:
            raise Failed(f"{volume}: not known to this kubelet")

    def refresh(self, name):
        """A ConfigMap or Secret has changed: its files in the running container, as the kubelet brings them."""
        volume = next(one for one in self.template["spec"]["volumes"] if one["name"] == name)
        at, new = self.volumes[name], self.volumes[name].with_name(f"{name}-new")
        self.volume(volume, new)
        for file in new.iterdir():
            file.replace(at / file.name)
        new.rmdir()

    def container(self, name, binary, environment=None, more=(), user=None):
        """Starts a container of the template, with the program `binary` in place of its image's."""
        spec = self.template["spec"]
        containers = spec["containers"] + spec.get("initContainers", [])
        container = next(one for one in containers if one["name"] == name)
        root = self.cluster.dir / f"pod-{self.name}"
        shutil.rmtree(root, ignore_errors=True)   # of an earlier pod with this name
        self.volumes = {one["name"]: root / one["name"] for one in spec.get("volumes", [])}
        for volume in spec.get("volumes", []):
            self.volume(volume, self.volumes[volume["name"]])
        if user:
            run("chown", "-R", f"{user}:{user}", root)
        env = self.environment(container) | (environment or {})
        binds = [(self.volumes[m["name"]], m["mountPath"], m.get("subPath")) for m in container.get("volumeMounts", [])]
        lines = ["set -e", "mount -t tmpfs tmpfs /dev/shm"]  # Envoys that share it would take part in each other's restarts
        lines += [f"mkdir -p {at if not sub else pathlib.Path(at).parent}; " + (f"touch {at}; " if sub else "") +
                  f"mount --bind {what}{'/' + sub if sub else ''} {at}" for what, at, sub in binds]
        lines.append(f'exec setpriv --reuid {user} --regid {user} --clear-groups "$@"' if user else 'exec "$@"')
        arguments = [re.sub(r"\$\((\w+)\)", lambda m: env.get(m[1], m[0]), one) for one in container.get("args", [])]
        process = self.cluster.start(self.name, "ip", "netns", "exec", self.net, "unshare", "-m", "sh", "-c", "; ".join(lines),
                                     "sh", binary, *arguments, *more, env=env, cwd="/")
        self.processes.append(process)
        self.log = process.log
        return process

    def app(self, port=8080):
        """The service itself: the upstream's program."""
        self.processes.append(self.cluster.start(f"app-{self.name}", "ip", "netns", "exec", self.net, sys.executable,
                                                 HERE / "upstream.py", port))
        wait("the service", lambda: self.inside("curl", "-s", "-m", "2", f"http://127.0.0.1:{port}/", check=False))

    def end(self):
        self.cluster.stop(*self.processes)
        self.processes = []
        self.cluster.kubectl("delete", "pod", self.name, "-n", self.namespace, "--force", "--grace-period=0", check=False)
        run("ip", "netns", "del", self.net, check=False)

    # What tests ask

    def ready(self, seconds=60, path="/healthz/ready", port=15021):
        """Whether the pod reports ready within the time."""
        try:
            wait(self.name, lambda: get(f"http://{self.address}:{port}{path}", timeout=2)[0] == 200, seconds, log=self.log)
            return True
        except Failed:
            return False

    def must_be_ready(self, **options):
        if not self.ready(**options):
            raise Failed(f"{self.name} is not ready:\n{self.log.read_text(errors='replace')[-2500:]}")

    def admin(self, path, port=15000):
        return self.inside("curl", "-s", "-m", "10", f"http://127.0.0.1:{port}/{path}")

    def stat(self, name, port=15000):
        """The sum of the counters whose name contains this."""
        lines = self.admin(f"stats?filter={name}", port).splitlines()
        return sum(int(line.rsplit(": ", 1)[1]) for line in lines if re.search(r": \d+$", line))


class Load:
    """Requests that are under way: from a pod's network, or from outside."""

    def __init__(self, address, port, host, amount, *more, pod=None):
        if more[:1] == (0,) and amount >= 100:
            minute(10)
        inside = ["ip", "netns", "exec", pod.net] if pod else []
        command = [*inside, sys.executable, HERE / "client.py", address, port, host, amount, *more]
        self.process = subprocess.Popen([str(a) for a in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def result(self):
        out, errors = self.process.communicate()
        if self.process.returncode:
            raise Failed(f"the client: {errors[-800:]}")
        return json.loads(out)
