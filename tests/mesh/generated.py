"""`headgate generate` with one plain Redis, as a user runs it: what it prints is applied, and requests are counted in that
Redis. With a cluster, TLS and a password its output is the shipped manifests, which the other tests run."""
import doctor
import envoy_gateway
import istio_gateway
from cluster import HOST, run, wait
from manifests import headgate
from report import equal, expect

PORT = 6400
POLICY = """# With a prefix of its own.
redis: {key_prefix: plain}
identify:
- {header: x-api-key}
- {address: {}}
on_ambiguous_client: deny
limits:
- {name: per-client, rate: 20/minute}   # few
"""


def redis(cluster):
    folder = cluster.dir / "plain-redis"
    folder.mkdir(exist_ok=True)
    process = cluster.start("plain-redis", "redis-server", "--bind", HOST, "--port", PORT, "--protected-mode", "no", "--save", "",
                            "--dir", folder)
    wait("the plain Redis", lambda: cli("ping") == "PONG", log=process.log)
    return process


def cli(*arguments):
    return run("redis-cli", "-h", HOST, "-p", PORT, *arguments, check=False).strip()


def generate(cluster, mesh, *options):
    policy = cluster.dir / "policy.yaml"
    policy.write_text(POLICY)
    return run(headgate(), "generate", mesh, "--policy", policy, "--redis", f"redis://{HOST}:{PORT}", *options)


def counted(ask, pod):
    """25 calls of one key: 20 pass, and the counter is in the plain Redis."""
    wait("a counted request", lambda: ask(pod, 1, "first")["kinds"].get("passed"), log=pod.log)
    wait("a counter in Redis", lambda: "plain:main:" in cli("--scan"), log=pod.log)
    equal(ask(pod, 25, "bob")["kinds"], {"passed": 20, "denied": 5}, "25 calls of one key")
    keys = cli("--scan").split()
    expect(len(keys) >= 2 and all(key.startswith("plain:main:{api_key:") for key in keys), f"counters: {keys}")


def istio(report, mesh):
    cluster, process = mesh.cluster, redis(mesh.cluster)
    text = generate(cluster, "istio", "--namespace", "istio-ingress")
    with report.test("istio_generated_manifests_count_in_a_plain_redis"):
        cluster.apply(text)
        pod = istio_gateway.up(mesh)
        pod.must_be_ready()
        counted(istio_gateway.ask, pod)
        doctor.says_counted(pod)
        equal(mesh.rejects(), 0, "updates that proxies refused")
        pod.end()
    cluster.kubectl("delete", "-f", "-", "--ignore-not-found", stdin=text, check=False)
    mesh.cluster.kubectl("apply", "-n", "istio-ingress", "-f", "-", stdin=bootstrap(text))
    cluster.stop(process)


def bootstrap(text):
    """The ConfigMap that all later pods mount."""
    return next(document for document in text.split("\n---\n") if "name: headgate-bootstrap" in document)


def gateway(report, mesh):
    cluster, process = mesh.cluster, redis(mesh.cluster)
    text = generate(cluster, "gateway")
    with report.test("gateway_generated_manifests_count_in_a_plain_redis"):
        cluster.apply(text)
        cluster.apply(envoy_gateway.ROUTE)
        pod = mesh.envoy()
        expect(envoy_gateway.ready(pod), f"ready: {pod.log.read_text()[-2000:]}")
        counted(envoy_gateway.ask, pod)
        doctor.says_counted(pod, envoy_gateway.ADMIN)
        equal(mesh.nacks(), 0, "updates that Envoys refused")
        pod.end()
    cluster.kubectl("delete", "-f", "-", "--ignore-not-found", stdin=text, check=False)
    # No garbage collector runs here, and the next test waits for a Deployment of its own.
    cluster.kubectl("delete", "deploy", "--all", "-n", envoy_gateway.NAMESPACE)
    cluster.stop(process)
