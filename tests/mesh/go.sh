# Sourced by what builds with Go, from the root of the checkout: its caches are in .tools/mesh.
. tests/mesh/versions.env
tools=$PWD/.tools/mesh

say() { echo "meshes: $*" >&2; }
fail() { say "$*"; exit 1; }
left_out="SKIP_MESHES=1 leaves the meshes out of test-all."

# The caches are read-only where Go wants it so: `go clean -modcache` removes them, or `chmod -R u+w .tools/mesh`.
export GOPATH="$tools/go" GOCACHE="$tools/cache" GOMODCACHE="$tools/go/pkg/mod"
export CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off

go_is_there() {
    command -v go >/dev/null 2>&1 || fail "missing: Go $GO_MINIMUM or later (go.dev), which builds the meshes' programs. $left_out"
    has=$(go env GOVERSION | sed 's/^go//')
    [ "$(printf '%s\n%s\n' "$GO_MINIMUM" "$has" | sort -V | head -n 1)" = "$GO_MINIMUM" ] ||
        fail "Go $has is too old: the meshes' programs need $GO_MINIMUM or later. $left_out"
}
