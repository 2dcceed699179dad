#!/bin/sh
# The part `clients`: clients in Go and Java that retry, against Envoy with Headgate.
set -eu
cd "$(dirname "$0")/../.."
tests/mesh/clients/build.sh
exec cargo test ${CI:+--locked} --workspace --features redis-call/higress --test mesh_clients -- --test-threads 3
