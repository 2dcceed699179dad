#!/bin/sh
# The part `ratelimit`: the benchmark's rows of envoyproxy/ratelimit, as a test that they count what they are to count. A
# short run on a machine that does other work too, so its throughput says nothing.
set -eu
cd "$(dirname "$0")/../.."
out=$PWD/target/meshes/ratelimit
rm -rf "$out"
keys=1000 seconds=4
make --no-print-directory bench SETUPS=ratelimit ROUNDS=1 SECONDS=$seconds CONNECTIONS=8 KEYS=$keys BENCH_OUT="$out" >/dev/null
exec python3 tests/mesh/ratelimit_rows.py "$out/results.md" $keys $seconds
