# Takes out of a module's text what never runs but the compiler has to keep; wasm-metadce then finds what only that
# needed, a tenth of the imports among it. Reads the text twice: awk -f unreached.awk MODULE.wat MODULE.wat
#
# - The SDK's conveniences (get_http_request_header, dispatch_http_call, …) stand in the vtable of each context, beside
#   the callbacks, which are all that its dispatcher calls by vtable. One that our code calls directly is left alone.
# - The standard library's own panic hook: the SDK sets another before anything else runs (last_words adds to that).
#
# Should one of them run after all, it traps.

FNR == NR {
    while (match($0, /\(call \$[^ )]+/)) {
        called[substr($0, RSTART + 7, RLENGTH - 7)] = 1
        $0 = substr($0, RSTART + RLENGTH)
    }
    next
}

function is_convenience(name) {
    return name ~ /10proxy_wasm6traits[0-9]+(|Root|Http|Stream)Context[0-9]+[a-z]/ &&
        name !~ /Context[0-9]+(on_|create_|get_type)/ && !(name in called)
}

# It, its closures, and what only they write by vtable: a backtrace, and into a small buffer.
function is_default_hook(name) {
    return name ~ /^_R.*_3std/ && name ~ /9panicking12default_hook|16DisplayBacktrace|17default_write_fmt.*6cursor6Cursor/
}

# A function opens at the first level, and its end is a line of its own.
within { if ($0 == " )") { within = 0; print }; next }
/^ \(func \$/ {
    name = substr($2, 2)
    if (is_convenience(name) || is_default_hook(name)) {
        print $0 "\n  (unreachable)"
        within = 1
        next
    }
}
{ print }
