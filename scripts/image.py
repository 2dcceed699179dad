"""An OCI image of the filter, as Istio and Envoy Gateway pull it: scripts/image.py MODULE DIR

Writes an image layout into DIR, without a container engine: one layer, a tar.gz with `plugin.wasm` alone (the "compat"
variant of the wasm image specification). The same module gives the same bytes. Prints both checksums and how to push.
"""

import gzip
import hashlib
import io
import json
import pathlib
import re
import shutil
import sys
import tarfile


def layer_of(module: bytes) -> bytes:
    """The layer as a tar, without the time and the user of the build."""
    entry = tarfile.TarInfo("plugin.wasm")
    entry.size, entry.mode = len(module), 0o644
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(entry, io.BytesIO(module))
    return buffer.getvalue()


def digest(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


def write_image(name: str, module: bytes, version: str, to: pathlib.Path) -> str:
    """Writes the layout; returns the SHA-256 of the manifest, by which registries know the image."""
    shutil.rmtree(to, ignore_errors=True)
    blobs = to / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def descriptor(kind: str, blob: bytes) -> dict:
        (blobs / digest(blob)).write_bytes(blob)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest(blob)}", "size": len(blob)}

    def text(value: dict) -> bytes:
        return json.dumps(value, sort_keys=True).encode()

    tar = layer_of(module)
    config = {
        # As an image built FROM scratch has it; the module itself runs anywhere.
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(tar)}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", text(config)),
        "layers": [descriptor("layer.v1.tar+gzip", gzip.compress(tar, mtime=0))],
        "annotations": {
            "module.wasm.image/variant": "compat",
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.title": name,
            "org.opencontainers.image.version": version,
        },
    }
    entry = descriptor("manifest.v1+json", text(manifest))
    entry["annotations"] = {"org.opencontainers.image.ref.name": version}
    (to / "index.json").write_bytes(text({"schemaVersion": 2, "manifests": [entry]}))
    (to / "oci-layout").write_bytes(text({"imageLayoutVersion": "1.0.0"}))
    return digest(text(manifest))


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    module, to = pathlib.Path(sys.argv[1]).read_bytes(), pathlib.Path(sys.argv[2])
    if module[:4] != b"\0asm":
        sys.exit(f"image: {sys.argv[1]} is no WebAssembly module")
    cargo = pathlib.Path(__file__).resolve().parent.parent / "Cargo.toml"
    version = re.search(r'^version = "(.+)"$', cargo.read_text(), re.MULTILINE)[1]
    name = "headgate-higress" if "higress" in pathlib.Path(sys.argv[1]).name else "headgate"
    manifest = write_image(name, module, version, to)
    print(f"{to}: {name} {version} as an OCI image layout")
    print(f"image   sha256:{manifest}   (WasmPlugin's and EnvoyExtensionPolicy's sha256)")
    print(f"module  sha256:{digest(module)}   (VmConfig.code.remote.sha256)")
    print(f"push it: skopeo copy oci:{to}:{version} docker://registry.example.com/{name}:{version}")


main()
