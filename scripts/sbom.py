"""What a module or the command is made of, as CycloneDX 1.5 in JSON, on standard output:
scripts/sbom.py NAME FILE [FEATURE]

cargo-cyclonedx knows the crates that are linked: for wasm32-wasip1, or for Linux if NAME is headgate-cli. What it cannot
know is added here: the name and the file's checksum. What differs between machines and days is removed (paths, the
time), so that the same lock file and file give the same bytes.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def crates(what: str, feature: str) -> dict:
    """cargo-cyclonedx writes a file beside the manifest of each package of the workspace; one of them is wanted."""
    name = f"sbom-{os.getpid()}"
    package, target = ROOT, "wasm32-wasip1"
    if what == "headgate-cli":
        package, target = ROOT / "crates" / what, "x86_64-unknown-linux-musl"
    command = [ROOT / ".tools/bin/cargo-cyclonedx", "cyclonedx", "-q", "-f", "json", "--spec-version", "1.5"]
    command += ["--target", target, "--no-build-deps", "--override-filename", name]
    command += ["--features", feature] if feature else []
    try:
        subprocess.run(command, cwd=ROOT, env=os.environ | {"SOURCE_DATE_EPOCH": "0"}, check=True)
        return json.loads((package / f"{name}.json").read_text())
    finally:
        for written in [ROOT / f"{name}.json", *ROOT.glob(f"crates/*/{name}.json")]:
            written.unlink(missing_ok=True)


def bill(name: str, file: pathlib.Path, feature: str) -> dict:
    found = crates(name, feature)
    del found["metadata"]["timestamp"]
    root = found["metadata"]["component"]
    del root["components"]  # its library and its programs
    # Our own packages are called by their directory.
    reference = {}
    for component in [root, *found["components"]]:
        if component["bom-ref"].startswith("path+"):
            component["purl"] = component["purl"].split("?")[0]
            reference[component["bom-ref"]] = component["purl"]
            component["bom-ref"] = component["purl"]
    for entry in found["dependencies"]:
        entry["ref"] = reference.get(entry["ref"], entry["ref"])
        entry["dependsOn"] = [reference.get(one, one) for one in entry.get("dependsOn", [])]
    root["name"] = name
    root["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}]
    return found


def main() -> None:
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    feature = sys.argv[3] if len(sys.argv) == 4 else ""
    print(json.dumps(bill(sys.argv[1], pathlib.Path(sys.argv[2]), feature), indent=1))


main()
