#!/bin/sh
# From cargo's module to the one that ships: scripts/wasm.sh FROM TO
#
# wasm-opt takes off a third, the names of functions with it (a backtrace then shows numbers): WASM_OPT_FLAGS=-g
# keeps them. The features are those that rustc uses anyway; older versions of wasm-opt need to be told.
set -eu
from=$1 to=$2
features="--enable-bulk-memory --enable-multivalue --enable-mutable-globals --enable-nontrapping-float-to-int \
    --enable-reference-types --enable-sign-ext"
if [ ! -e "$to" ] || [ "$from" -nt "$to" ]; then
    mkdir -p "$(dirname "$to")"
    # shellcheck disable=SC2086
    if command -v wasm-opt >/dev/null 2>&1 && wasm-opt -O3 $features ${WASM_OPT_FLAGS:-} "$from" -o "$to.next"; then
        :
    else
        cp "$from" "$to.next"
    fi
    mv "$to.next" "$to"
fi
touch "$to" # cargo has just said that it is up to date
echo "$to: $(($(wc -c <"$to") / 1024)) KiB"
