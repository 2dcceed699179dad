#!/bin/sh
# Builds the clients in Go and Java into .tools/mesh/clients: tests/mesh/clients/build.sh [--check]. Their libraries
# are those of go/go.sum and java/dependencies.lock, whose checksums are compared. Seconds where all is there. --check only
# looks whether it could.
set -eu
cd "$(dirname "$0")/../../.."
. tests/mesh/go.sh
here=$PWD/tests/mesh/clients
to=$tools/clients

go_is_there
for program in java javac mvn; do
    command -v $program >/dev/null 2>&1 ||
        fail "missing: $program (Debian: apt-get install default-jdk-headless maven), for clients in Java. $left_out"
done

[ "${1:-}" != --check ] || exit 0

export GOFLAGS="-mod=readonly -buildvcs=false"
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
