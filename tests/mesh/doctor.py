"""`headgate doctor` against the Envoy of a pod, in the pod's network."""
import json

from manifests import headgate
from report import equal, expect


def says_counted(pod, port=15000):
    """It reads this Envoy's admin interface, reports no error, and says that each instance counts."""
    text = pod.inside(headgate(), "doctor", "--json", f"http://127.0.0.1:{port}", check=False)
    found = json.loads(text)
    findings = [one for envoy in found["envoys"] for one in envoy["findings"]]
    equal([one["message"] for one in findings if one["severity"] in ("error", "unreadable")], [], f"errors that doctor finds: {text}")
    equal(found["status"], 0, f"doctor's status: {text}")
    states = {instance["state"] for envoy in found["envoys"] for instance in envoy["instances"]}
    expect(states and states <= {"counted", "counted_again"}, f"what doctor says of the instances: {text}")
