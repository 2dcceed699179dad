#!/bin/sh
# The files of a release: scripts/release.sh check, then, when both modules and the commands are built,
# scripts/release.sh write [DIR]
#
# `check` refuses a tree with changes and a version that CHANGELOG.md does not have; with FORCE=1 it continues anyway.
# `write` puts everything that is released into DIR (target/release-VERSION), named by Cargo.toml's version: modules,
# images, the command for each CPU, manifests, dashboards, the policy's schema, bills of materials and checksums. The same
# modules and commands give the same bytes.
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)

refuse() { echo "release: $*" >&2; exit 1; }

check() {
    command -v wasm-opt >/dev/null 2>&1 || refuse "no wasm-opt (Debian: apt-get install binaryen); a release is never the larger module"
    if [ "${FORCE:-}" = 1 ]; then return 0; fi
    changes=$(git status --porcelain) || refuse "this is not a git tree; use FORCE=1 to continue anyway"
    [ -z "$changes" ] || refuse "the tree has changes that are not committed; commit them, or FORCE=1"
    awk -v version="$version" '$1 == "##" && $2 == version { found = 1 } END { exit !found }' CHANGELOG.md ||
        refuse "CHANGELOG.md has no entry \"## $version\"; write it, or use FORCE=1 to continue anyway"
}

# The image layout in one file, as `skopeo copy oci-archive:FILE` reads it; it contains neither the time nor the user of the build.
pack() {
    tar --sort=name --format=ustar --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -C "$1" -cf "$2" .
}

# archive NAME DIR FILE…: the files of DIR as NAME-VERSION.tar.gz, in a folder of that name, with the licence
archive() {
    folder=$1-$version
    dir=$2
    shift 2
    mkdir -p "$to/layout/$folder"
    tar -C "$dir" -cf - "$@" | tar -C "$to/layout/$folder" -xf -
    cp LICENSE "$to/layout/$folder/"
    pack "$to/layout" "$to/$folder.tar"
    gzip -9n "$to/$folder.tar"
    rm -r "$to/layout"
}

# command_for CPU: the static command for Linux, as `make build-commands` has left it
command_for() {
    archive "headgate-cli-linux-$1" "target/commands/$1" headgate
}

# artifact NAME [FEATURE]
artifact() {
    cp "target/$1.wasm" "$to/$1-$version.wasm"
    python3 scripts/image.py "target/$1.wasm" "$to/layout" >/dev/null
    pack "$to/layout" "$to/$1-$version.oci.tar"
    rm -r "$to/layout"
    python3 scripts/sbom.py "$1" "target/$1.wasm" ${2:+"$2"} >"$to/$1-$version.cdx.json"
}

write() {
    rm -rf "$to"
    mkdir -p "$to"
    artifact headgate
    artifact headgate-higress higress
    command_for x86_64
    command_for aarch64
    python3 scripts/sbom.py headgate-cli target/commands/x86_64/headgate >"$to/headgate-cli-$version.cdx.json"
    archive headgate-manifests . envoy
    archive headgate-dashboards dashboards headgate.json rules.yaml
    cp docs/policy.schema.json "$to/headgate-policy-$version.schema.json"
    cp LICENSE "$to/LICENSE"
    (cd "$to" && sha256sum ./* | sed 's/ \.\// /' >../SHA256SUMS.next && mv ../SHA256SUMS.next SHA256SUMS)
    echo "headgate $version in $to:"
    cat "$to/SHA256SUMS"
}

case "${1:-}" in
check) check ;;
write) to=${2:-target/release-$version} && write ;;
*) refuse "usage: $0 check|write [DIR]" ;;
esac
