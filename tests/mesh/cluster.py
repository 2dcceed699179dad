"""What a mesh stands on, as processes in the sandbox: a Kubernetes API server with etcd, Redis Cluster behind TLS and a
password, a registry with the module's images behind TLS, and an upstream.

Addresses and names are those of the shipped manifests: /etc/hosts has the names, so the manifests need no change."""
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

from sandbox import ROOT, RUN, mount

BIN = pathlib.Path("/run/bin")
BRIDGE, HOST = "mesh0", "10.55.0.1"   # what the control planes, Redis and the registry listen on
NETWORK, UPSTREAM = "10.55.0", "10.55.0.2"
VERSION = next(line.split('"')[1] for line in (ROOT / "Cargo.toml").read_text().splitlines() if line.startswith("version = "))
NAMES = {
    HOST: "redis.redis.svc.cluster.local registry.example.com istiod.istio-system.svc istiod.istio-system.svc.cluster.local "
          "envoy-gateway.envoy-gateway-system.svc.cluster.local envoy-gateway.envoy-gateway-system.svc.cluster.local. "
          "envoy-gateway",
    "127.0.0.1": "localhost",
}


class Failed(Exception):
    """What a test saw is not what it must see."""


def run(*arguments, check=True, **options):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, **options)
    if check and done.returncode:
        raise Failed(f"{' '.join(map(str, arguments))[:200]}: {(done.stdout + done.stderr)[-1500:]}")
    return done.stdout


def get(url, timeout=5, **headers):
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read().decode(errors="replace")


def minute(left):
    """Waits until the clock's minute has this many seconds left. The shipped limits weight the minute before, so exact figures
    need all of their calls in one minute."""
    rest = 60 - time.time() % 60
    if rest < left:
        time.sleep(rest + 0.1)


def wait(what, probe, seconds=60, log=None):
    """What `probe` returns once that is true; OSError counts as not yet."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := probe():
                return found
        except OSError:
            pass
        time.sleep(0.2)
    tail = "\n" + log.read_text(errors="replace")[-1500:] if log and log.exists() else ""
    raise Failed(f"{what}: not within {seconds} s{tail}")


class Cluster:
    def __init__(self):
        self.dir = RUN
        self.started = []
        self.resolve()
        # With an address of its own: otherwise a bridge takes its ports' lowest one, which changes with each pod that comes or
        # goes, and the other pods then send to the old one until they ask for it again, for up to a minute.
        run("ip", "link", "add", BRIDGE, "address", "02:00:00:00:00:01", "type", "bridge")
        run("ip", "addr", "add", f"{HOST}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        self.certificates()
        self.api_server()

    def resolve(self, names=None):
        NAMES.update(names or {})
        # No server listens there, so a name that is not in /etc/hosts is unknown at once.
        pathlib.Path("/etc/resolv.conf").unlink(missing_ok=True)
        pathlib.Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        pathlib.Path("/etc/hosts").write_text("".join(f"{address} {all}\n" for address, all in NAMES.items()))

    def start(self, name, *arguments, **options):
        """A process; what it prints is in its `log`."""
        log = self.dir / f"{name}.log"
        log.touch()
        log.chmod(0o666)  # an access log in /dev/stdout is opened by the proxy's user
        process = subprocess.Popen([str(a) for a in arguments], stdout=open(log, "a"), stderr=subprocess.STDOUT, **options)
        process.log = log
        self.started.append(process)
        return process

    def stop(self, *processes):
        for process in processes or reversed(self.started):
            process.terminate()
        for process in processes or self.started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process in self.started and processes:
                self.started.remove(process)

    def end(self):
        self.stop()
        run("ip", "link", "del", BRIDGE, check=False)

    def certificates(self):
        """A certificate authority; Redis's certificate by the project's script, the registry's by the same authority,
        which every program in the sandbox trusts."""
        self.tls = self.dir / "tls"
        run(ROOT / "scripts/certificates.sh", self.tls)
        (self.tls / "registry.ext").write_text("subjectAltName=DNS:registry.example.com\n")
        run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=registry.example.com", "-keyout", "registry.key",
            "-out", "registry.csr", cwd=self.tls)
        run("openssl", "x509", "-req", "-in", "registry.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days",
            "30", "-extfile", "registry.ext", "-out", "registry.pem", cwd=self.tls)
        os.environ["SSL_CERT_FILE"] = str(self.tls / "ca.pem")
        run("chmod", "-R", "a+rX", self.tls)

    def api_server(self):
        etcd, peer, d = "http://127.0.0.1:2379", "http://127.0.0.1:2380", self.dir
        self.start("etcd", BIN / "etcd", "--data-dir", d / "etcd", "--unsafe-no-fsync", "--listen-client-urls", etcd,
                   "--advertise-client-urls", etcd, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                   "--initial-cluster", f"default={peer}")
        run("openssl", "genrsa", "-out", d / "sa.key", "2048")
        (d / "tokens.csv").write_text("admin-token,admin,admin,system:masters\n")
        self.start("kube-apiserver", BIN / "kube-apiserver", "--etcd-servers", etcd, "--bind-address", "127.0.0.1",
                   "--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none", "--secure-port", "6443",
                   "--cert-dir", d / "certs", "--token-auth-file", d / "tokens.csv", "--authorization-mode", "RBAC",
                   "--service-account-key-file", d / "sa.key", "--service-account-signing-key-file", d / "sa.key",
                   "--service-account-issuer", "https://kubernetes.default.svc",
                   "--service-cluster-ip-range", "10.96.0.0/16", "--disable-admission-plugins", "ServiceAccount")
        self.config = d / "kubeconfig"
        server = {"server": "https://127.0.0.1:6443", "insecure-skip-tls-verify": True}
        self.config.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "mesh",
            "clusters": [{"name": "mesh", "cluster": server}],
            "users": [{"name": "admin", "user": {"token": "admin-token"}}],
            "contexts": [{"name": "mesh", "context": {"cluster": "mesh", "user": "admin"}}]}))
        wait("the API server", lambda: self.kubectl("get", "--raw", "/readyz", check=False) == "ok",
             log=d / "kube-apiserver.log")

    def kubectl(self, *arguments, check=True, stdin=None):
        # A cache of its own: in the user's, another API server at this address may have other kinds.
        return run(BIN / "kubectl", "--kubeconfig", self.config, "--cache-dir", self.dir / "kubectl", *arguments, check=check, input=stdin)

    def apply(self, manifest):
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        return self.kubectl("apply", "-f", "-", stdin=text)

    def read(self, kind, name, namespace="default"):
        return json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json"))

    def patch(self, kind, name, namespace, path, value):
        self.kubectl("patch", kind, name, "-n", namespace, "--type=json", "-p",
                     json.dumps([{"op": "replace", "path": path, "value": value}]))

    def crds(self, text, *names):
        self.kubectl("apply", "--server-side", "-f", "-", stdin=text)
        for name in names:
            self.kubectl("wait", "--for=condition=established", f"crd/{name}", "--timeout=60s")

    def secret(self, *namespaces):
        """As the manifests' comments say, in each namespace whose proxies count."""
        for namespace in namespaces:
            self.kubectl("create", "secret", "generic", "headgate", "-n", namespace, "--from-literal=hash-key=secret",
                         "--from-literal=redis-password=change-me", f"--from-file=redis-ca.pem={self.tls}/ca.pem")

    def redis(self):
        """Three masters, TLS alone, with the users of envoy/redis-users.acl and one who may create the cluster."""
        tls, users = self.tls, self.dir / "users.acl"
        users.write_text((ROOT / "envoy/redis-users.acl").read_text() + "user admin on >admin ~* &* +@all\n")
        self.nodes = []
        for number in range(3):
            at = self.dir / f"redis-{number}"
            fresh = not (at / "nodes.conf").exists()
            at.mkdir(exist_ok=True)
            self.nodes.append(self.start(
                at.name, "redis-server", "--bind", HOST, "--dir", at, "--save", "", "--appendonly", "no", "--port", "0",
                "--tls-port", 6379 + number, "--cluster-enabled", "yes", "--tls-cluster", "yes", "--tls-auth-clients", "no",
                "--cluster-require-full-coverage", "no", "--tls-ca-cert-file", tls / "ca.pem", "--aclfile", users,
                "--tls-cert-file", tls / "redis.pem", "--tls-key-file", tls / "redis.key"))
        for number in range(3):
            wait("Redis", lambda: "PONG" in self.redis_cli("ping", node=number, check=False))
        if fresh:
            self.redis_cli("--cluster", "create", *(f"{HOST}:{6379 + n}" for n in range(3)), "--cluster-yes")
        for number in range(3):
            wait("Redis Cluster", lambda: "cluster_state:ok" in self.redis_cli("cluster", "info", node=number))

    def redis_cli(self, *arguments, node=0, check=True):
        return run("redis-cli", "-h", HOST, "-p", 6379 + node, "--tls", "--cacert", self.tls / "ca.pem", "--sni",
                   "redis.internal", "--user", "admin", "--pass", "admin", "--no-auth-warning", *arguments, check=check)

    def keys(self):
        return sorted(key for node in range(3) for key in self.redis_cli("--scan", node=node).split())

    def registry(self):
        """registry.example.com with this release, and `next`: a module with another script, as after an upgrade."""
        self.registry_up()
        for module, tag in (("headgate.wasm", VERSION), ("headgate-fault-injection.wasm", "next")):
            image = self.dir / f"image-{tag}"
            run(sys.executable, ROOT / "scripts/image.py", ROOT / "target" / module, image)
            run("skopeo", "copy", "-q", f"oci:{image}:{VERSION}", f"docker://registry.example.com/headgate:{tag}",
                "--dest-tls-verify=false")

    def registry_up(self):
        (self.dir / "registry.yml").write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {self.dir}/registry}}}}\nhttp: {{addr: '{HOST}:443', tls: "
            f"{{certificate: {self.tls}/registry.pem, key: {self.tls}/registry.key}}}}\n")
        self.registry_process = self.start("registry", "docker-registry", "serve", self.dir / "registry.yml")
        wait("the registry", lambda: run("curl", "-sk", "https://registry.example.com/v2/", check=False) == "{}")

    def registry_down(self):
        self.stop(self.registry_process)

    def redis_down(self):
        self.stop(*self.nodes)

    def upstream(self):
        """A service outside of the mesh, with an address of its own: an endpoint with a proxy's address would lend the
        proxy its labels."""
        run("ip", "addr", "add", f"{UPSTREAM}/24", "dev", BRIDGE)
        self.start("upstream", sys.executable, pathlib.Path(__file__).parent / "upstream.py", 8000)
        wait("the upstream", lambda: get(f"http://{UPSTREAM}:8000/")[0] == 200)


def stock_envoy():
    """Envoy where pods have it: a copy of Envoy that may be executed by any user."""
    envoy = os.environ.get("ENVOY") or str(ROOT / ".tools/envoy-1.40.0/envoy")
    at = pathlib.Path("/usr/local/bin/envoy")
    at.write_bytes(b"")
    at.chmod(0o755)
    mount("--bind", os.path.realpath(envoy), at)
