#!/bin/sh
# Makes the released module from cargo's: scripts/wasm.sh FROM TO
#
# The module exports what src/entry/exports.rs defines and nothing else: a proxy calls every callback that is exported,
# for each piece of a body, for each line of a log. wasm-opt removes a quarter, including the names of functions (a
# backtrace then shows numbers): WASM_OPT_FLAGS=-g keeps them. -Oz is no slower than -O3 in a request. The features are
# those that rustc uses anyway; older versions of wasm-opt need the flags.
set -eu
from=$1 to=$2
features="--enable-bulk-memory --enable-multivalue --enable-mutable-globals --enable-nontrapping-float-to-int \
    --enable-reference-types --enable-sign-ext"

# shellcheck disable=SC2086
shrink() {
    command -v wasm-opt >/dev/null 2>&1 || return 1
    wasm-opt -Oz $features ${WASM_OPT_FLAGS:---strip-debug} "$from" -o "$to.next"
}

if [ ! -e "$to" ] || [ "$from" -nt "$to" ] || [ "$0" -nt "$to" ]; then
    mkdir -p "$(dirname "$to")"
    shrink || cp "$from" "$to.next"
    mv "$to.next" "$to"
fi
touch "$to" # cargo has just said that it is up to date
echo "$to: $(($(wc -c <"$to") / 1024)) KiB"
