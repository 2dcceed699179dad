"""What a module is made of, as CycloneDX 1.5 in JSON, on standard output: scripts/sbom.py NAME MODULE [FEATURE]

Out of Cargo's own resolution for wasm32-wasip1: crates for building and testing are left out. The same lock file and
module give the same bytes, so there is no time and no serial number in it.
"""

import hashlib
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def resolved(feature: str) -> dict:
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", "wasm32-wasip1"]
    command += ["--features", feature] if feature else []
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def linked(metadata: dict) -> dict[str, list[str]]:
    """Packages that the root depends on, itself included, each with the ones it depends on; none for a build or a test."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found: dict[str, list[str]] = {}
    left = [metadata["resolve"]["root"]]
    while left:
        package = left.pop()
        if package in found:
            continue
        normal = [dep["pkg"] for dep in nodes[package]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
        found[package] = normal
        left += normal
    return found


def checksums() -> dict[tuple[str, str], str]:
    lock = (ROOT / "Cargo.lock").read_text()
    entry = r'name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"'
    return {(name, version): checksum for name, version, checksum in re.findall(entry, lock)}


def bill(name: str, module: pathlib.Path, feature: str) -> dict:
    metadata = resolved(feature)
    packages = {package["id"]: package for package in metadata["packages"]}
    root, graph, known = metadata["resolve"]["root"], linked(metadata), checksums()

    def reference(package: str) -> str:
        return f"pkg:cargo/{packages[package]['name']}@{packages[package]['version']}"

    def component(package: str) -> dict:
        entry = packages[package]
        return {
            "type": "library",
            "bom-ref": reference(package),
            "name": entry["name"],
            "version": entry["version"],
            "purl": reference(package),
            # The workspace's own crates have none.
            "hashes": [{"alg": "SHA-256", "content": hash} for hash in [known.get((entry["name"], entry["version"]))] if hash],
            "licenses": [{"expression": entry["license"].replace("/", " OR ")}],
        }

    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": reference(root),
                "name": name,
                "version": packages[root]["version"],
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(module.read_bytes()).hexdigest()}],
                "licenses": [{"expression": packages[root]["license"]}],
            }
        },
        "components": [component(package) for package in sorted(graph, key=reference) if package != root],
        "dependencies": [
            {"ref": reference(package), "dependsOn": sorted(set(map(reference, graph[package])))}
            for package in sorted(graph, key=reference)
        ],
    }


def main() -> None:
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    feature = sys.argv[3] if len(sys.argv) == 4 else ""
    print(json.dumps(bill(sys.argv[1], pathlib.Path(sys.argv[2]), feature), indent=1))


main()
