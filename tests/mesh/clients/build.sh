#!/bin/sh
# Builds the clients in Go and Java into .tools/mesh/clients: tests/mesh/clients/build.sh. Their libraries are those of
# go/go.sum and java/dependencies.lock, whose checksums are compared. Seconds where all is there.
set -eu
cd "$(dirname "$0")/../../.."
. tests/mesh/versions.env
here=$PWD/tests/mesh/clients
tools=$PWD/.tools/mesh
to=$tools/clients

say() { echo "meshes: $*" >&2; }
fail() { say "$*"; exit 1; }
left_out="SKIP_MESHES=1 leaves the meshes out of test-all."

command -v go >/dev/null 2>&1 || fail "missing: Go $GO_MINIMUM or later (go.dev), for clients in Go. $left_out"
has=$(go env GOVERSION | sed 's/^go//')
[ "$(printf '%s\n%s\n' "$GO_MINIMUM" "$has" | sort -V | head -n 1)" = "$GO_MINIMUM" ] ||
    fail "Go $has is too old: the clients need $GO_MINIMUM or later."
for program in java javac mvn; do
    command -v $program >/dev/null 2>&1 ||
        fail "missing: $program (Debian: apt-get install default-jdk-headless maven), for clients in Java. $left_out"
done

export GOPATH="$tools/go" GOCACHE="$tools/cache" GOMODCACHE="$tools/go/pkg/mod"
export GOFLAGS="-mod=readonly -buildvcs=false" CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off
mkdir -p "$to"
(cd "$here/go" && go build -p 2 -ldflags "-s -w" -o "$to/go-clients" .) || fail "the clients in Go could not be built."

# The locked files are the only ones in java/: another version or a further library is an error.
if ! cmp -s "$here/java/dependencies.lock" "$to/dependencies.lock"; then
    rm -rf "$to/java"
    mvn -B -q -f "$here/java/pom.xml" dependency:copy-dependencies -DoutputDirectory="$to/java" >&2 ||
        fail "Maven could not fetch the clients' libraries in Java."
    (cd "$to/java" && sha256sum --quiet -c "$here/java/dependencies.lock" >&2) ||
        fail "a library in Java is not the one of java/dependencies.lock."
    [ "$(find "$to/java" -name '*.jar' | wc -l)" = "$(wc -l <"$here/java/dependencies.lock")" ] ||
        fail "there are libraries in Java that java/dependencies.lock does not name."
    cp "$here/java/dependencies.lock" "$to/dependencies.lock"
fi
if [ ! -e "$to/classes/Clients.class" ] || [ "$here/java/Clients.java" -nt "$to/classes/Clients.class" ]; then
    javac -proc:none -cp "$to/java/*" -d "$to/classes" "$here/java/Clients.java" || fail "the clients in Java could not be built."
fi
