"""`headgate generate … --admission` on the API server: it takes every policy of the documentation and of the tests, and
refuses the broken ones as `kubectl apply` would be refused, with the path in the message."""
import json
import re
import ssl
import urllib.error
import urllib.request

from cluster import ROOT, run, wait
from manifests import headgate
from report import equal, expect

KINDS = {
    "WasmPlugin": ("extensions.istio.io/v1alpha1", "wasmplugins"),
    "EnvoyFilter": ("networking.istio.io/v1alpha3", "envoyfilters"),
    "EnvoyExtensionPolicy": ("gateway.envoyproxy.io/v1alpha1", "envoyextensionpolicies"),
    "EnvoyPatchPolicy": ("gateway.envoyproxy.io/v1alpha1", "envoypatchpolicies"),
}
PLUGIN = """
          name: headgate
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
            config:
              name: headgate
              configuration:
                "@type": type.googleapis.com/google.protobuf.Struct
                value: POLICY"""
SPECS = {
    "WasmPlugin": "{url: 'oci://registry.example.com/headgate:1', pluginName: headgate, pluginConfig: POLICY}",
    "EnvoyFilter": "\n  configPatches:\n  - applyTo: EXTENSION_CONFIG\n    patch:\n      operation: ADD\n      value:" + PLUGIN,
    "EnvoyExtensionPolicy": "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}], wasm: [{name: headgate, "
                            "code: {type: Image, image: {url: 'registry.example.com/headgate:1'}}, config: POLICY}]}",
    "EnvoyPatchPolicy": "\n  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: edge}\n  type: JSONPatch\n  jsonPatches:\n"
                        "  - type: type.googleapis.com/envoy.config.listener.v3.Listener\n    name: default/edge/http\n"
                        "    operation:\n      op: add\n      path: /http_filters/0\n      value:" + PLUGIN,
}
# A block cannot be within braces.
BLOCKS = dict(SPECS)
BLOCKS["WasmPlugin"] = "\n  url: oci://registry.example.com/headgate:1\n  pluginName: headgate\n  pluginConfig: POLICY"
BLOCKS["EnvoyExtensionPolicy"] = (
    "\n  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]\n  wasm:\n  - name: headgate\n"
    "    code: {type: Image, image: {url: 'registry.example.com/headgate:1'}}\n    config: POLICY")
WRONG = "{limits: [{rate: 1/s}, {rate: 100/fortnight}]}"
TLS = ssl._create_unverified_context()


def create(cluster, kind, spec):
    """A manifest with this spec (YAML), as a dry run; the status and the message."""
    version, resource = KINDS[kind]
    manifest = f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: tried}}\nspec: {spec}\n"
    config = json.loads(cluster.config.read_text())
    url = f"{config['clusters'][0]['cluster']['server']}/apis/{version}/namespaces/default/{resource}?dryRun=All"
    headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}", "Content-Type": "application/yaml"}
    try:
        return urllib.request.urlopen(urllib.request.Request(url, manifest.encode(), headers), context=TLS).status, ""
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["message"]


def with_policy(kind, policy):
    """The spec with a policy in one line, or in lines."""
    if "\n" not in policy:
        return SPECS[kind].replace("POLICY", policy)
    return BLOCKS[kind].replace("POLICY", "".join(f"\n{' ' * 22}{line}" for line in policy.splitlines()))


def pairs(path):
    """A file of pairs of lines."""
    lines = [line for line in (ROOT / path).read_text().splitlines() if line and not line.startswith("#")]
    return list(zip(lines[::2], (line.strip() for line in lines[1::2])))


def broken():
    """The broken configurations of the tests, with a limit where they have none, and the path of each one's mistake."""
    unseen = {text for text, _ in pairs("crates/headgate-cli/tests/cli/schema/inexpressible.txt")}
    for text, expected in pairs("crates/headgate-core/src/config/tests/broken.txt"):
        path = expected.split(" => ")[0]
        if text not in unseen and text.startswith("{"):
            is_short = "limits:" not in text and "redis_call," not in text and path != "limits"
            yield (f"{text[:-1]}, limits: [{{rate: 1/s}}]}}" if is_short else text), path


def good():
    """Policies of the documentation and of the unit tests, as YAML."""
    policies = [(ROOT / "crates/headgate-core/src/config/tests/contract.yaml").read_text()]
    for page in sorted((ROOT / "docs").glob("*.md")):
        policies += re.findall(r"^```yaml\n((?:[^`]|`(?!``))*?^limits:(?:[^`]|`(?!``))*?)^```", page.read_text(), re.M)
    return policies


def generated(mesh):
    """The admission policy and its binding, of what is generated for a mesh."""
    out = run(headgate(), "generate", mesh, "--policy", ROOT / "crates/headgate-core/src/config/tests/contract.yaml",
              "--redis", "redis://redis.example.com", "--admission")
    found = [document for document in re.split(r"^---$", out, flags=re.M) if "\nkind: ValidatingAdmissionPolicy" in document]
    equal(len(found), 2, "documents of the admission policy")
    return "---".join(found)


def check(report, cluster, mesh, *kinds):
    """With the custom resources of this mesh on the API server."""
    name = f"{mesh}_admission"
    cluster.apply(generated(mesh))
    try:
        with report.test(f"{name}_refuses_a_broken_policy_at_apply"):
            # The API server compiles it some seconds after it is there.
            wait("the admission policy", lambda: create(cluster, kinds[-1], with_policy(kinds[-1], WRONG))[0] == 422, 180)
            status, message = create(cluster, kinds[0], with_policy(kinds[0], WRONG))
            expect(status == 422 and 'limits[1].rate: "100/fortnight": write N/period' in message, f"{status}: {message}")
        with report.test(f"{name}_takes_the_shipped_manifests"):
            folder = ROOT / "envoy" / mesh
            paths = [path for path in sorted(folder.glob("*.yaml")) if any(f"\nkind: {kind}\n" in path.read_text() for kind in kinds)]
            expect(len(paths) >= 3, f"manifests with policies: {paths}")
            for path in paths:
                out = cluster.kubectl("apply", "--dry-run=server", "-f", path)
                expect("server dry run" in out, f"{path.name}: {out}")
        with report.test(f"{name}_takes_every_good_policy"):
            policies = good()
            expect(len(policies) > 10, f"{len(policies)} policies")
            for policy in policies:
                for kind in kinds:
                    status, message = create(cluster, kind, with_policy(kind, policy))
                    expect(status == 201, f"{kind}: {status} {message}\n{policy}")
        with report.test(f"{name}_refuses_what_the_schema_refuses"):
            tried = 0
            for policy, path in broken():
                for kind in kinds:
                    status, message = create(cluster, kind, with_policy(kind, policy))
                    _, _, said = message.partition("Headgate's policy: ")
                    told = said.split(": ")[0]
                    # It names the field, or the object that has it.
                    is_there = told.startswith(path) or path.startswith(told) or path.split("[\"")[0] in told
                    expect(status == 422 and said and is_there, f"{kind}: {policy}: {path}: {status} {message}")
                    tried += 1
            expect(tried > 150 * len(kinds), f"{tried} tried")
        with report.test(f"{name}_leaves_other_peoples_resources_alone"):
            for kind in kinds:
                spec = SPECS[kind].replace("headgate", "another").replace("POLICY", "{limits: nothing, of: ours}")
                status, message = create(cluster, kind, spec)
                expect(status == 201, f"{kind} of another plugin: {status} {message}")
    finally:
        cluster.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", "headgate")
