#!/bin/sh
# From cargo's module to the one that ships: scripts/wasm.sh FROM TO
#
# The SDK exports every callback that there is, and a proxy calls what is exported: for each piece of a body, for each
# line of a log. Those that Headgate does nothing in are taken off: 2 µs of each request, and 6 KB. wasm-opt takes off
# a third, the names of functions with it (a backtrace then shows numbers): WASM_OPT_FLAGS=-g keeps them. -Oz is no
# slower than -O3 in a request. unreached.awk takes out what never runs: 11 KB. The first KB of memory is the last of
# the stack (it comes first and grows down), so no pointer to a value leads there, which is all that
# --low-memory-unused asks: 3 KB. The features are those that rustc uses anyway; older versions of wasm-opt need to be
# told.
set -eu
from=$1 to=$2
unreached=$(dirname "$0")/unreached.awk
callbacks="_initialize proxy_abi_version_0_2_1 proxy_on_memory_allocate
    proxy_on_vm_start proxy_on_configure proxy_on_context_create proxy_on_delete proxy_on_tick
    proxy_on_request_headers proxy_on_request_trailers proxy_on_response_headers proxy_on_response_trailers
    proxy_on_grpc_receive proxy_on_grpc_close
    proxy_on_new_connection proxy_on_downstream_data proxy_on_upstream_data
    proxy_on_redis_call_response"
features="--enable-bulk-memory --enable-multivalue --enable-mutable-globals --enable-nontrapping-float-to-int \
    --enable-reference-types --enable-sign-ext"

# wasm-metadce's graph: a root that reaches each export to be kept.
graph() {
    nodes='{"name": "memory", "export": "memory"}' reached='"memory"'
    for name in $callbacks; do
        nodes="$nodes, {\"name\": \"$name\", \"export\": \"$name\"}" reached="$reached, \"$name\""
    done
    echo "[{\"name\": \"root\", \"root\": true, \"reaches\": [$reached]}, $nodes]"
}

# shellcheck disable=SC2086
shrink() {
    command -v wasm-opt >/dev/null 2>&1 && command -v wasm-metadce >/dev/null 2>&1 || return 1
    graph >"$to.graph" &&
        wasm-dis $features "$from" -o "$to.wat" &&
        awk -f "$unreached" "$to.wat" "$to.wat" >"$to.less.wat" &&
        wasm-as $features -g "$to.less.wat" -o "$to.next" &&
        wasm-metadce "$to.next" --graph-file "$to.graph" $features -g -o "$to.next" >/dev/null &&
        wasm-opt --low-memory-unused -Oz --flatten --rereloop -Oz -Oz $features ${WASM_OPT_FLAGS:---strip-debug} \
            "$to.next" -o "$to.next"
}

if [ ! -e "$to" ] || [ "$from" -nt "$to" ] || [ "$0" -nt "$to" ] ||
    [ "$unreached" -nt "$to" ]; then
    mkdir -p "$(dirname "$to")"
    shrink || cp "$from" "$to.next"
    rm -f "$to.graph" "$to.wat" "$to.less.wat"
    mv "$to.next" "$to"
fi
touch "$to" # cargo has just said that it is up to date
echo "$to: $(($(wc -c <"$to") / 1024)) KiB"
