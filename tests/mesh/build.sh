#!/bin/sh
# Builds what the meshes consist of from the Go module proxy: tests/mesh/build.sh [--check] PROGRAM…
#
# Programs: istio gateway kubernetes helm func-e ratelimit etcd. Each is built once into .tools/mesh/bin, beside a file with
# its version; Go's own caches are in .tools/mesh too. Prints nothing where all is there. --check only looks whether it could.
set -eu
cd "$(dirname "$0")/../.."
. tests/mesh/go.sh
bin=$tools/bin
export GOBIN="$bin" GOFLAGS="-mod=mod -buildvcs=false"

# The message before the work begins; minutes on two cores, from an empty cache.
about() {
    case $1 in
    kubernetes) echo "kube-apiserver and kubectl $KUBERNETES (4 to 8 minutes)" ;;
    istio) echo "Istio's istiod, agent and istioctl (8 to 16 minutes)" ;;
    gateway) echo "Envoy Gateway $ENVOY_GATEWAY (5 to 10 minutes)" ;;
    helm) echo "helm $HELM (1 to 3 minutes)" ;;
    func-e) echo "func-e $FUNC_E (1 minute)" ;;
    ratelimit) echo "envoyproxy/ratelimit (1 minute)" ;;
    etcd) echo "etcd, out of Debian's package (seconds)" ;;
    *) fail "no such program: $1" ;;
    esac
}

version() {
    case $1 in
    kubernetes) echo "$KUBERNETES" ;;
    istio) echo "$ISTIO" ;;
    gateway) echo "$ENVOY_GATEWAY" ;;
    helm) echo "$HELM" ;;
    func-e) echo "$FUNC_E" ;;
    ratelimit) echo "$RATELIMIT" ;;
    etcd) echo debian ;;
    esac
}

there() { [ "$(cat "$bin/$1.version" 2>/dev/null)" = "$(version "$1")" ]; }

# install PACKAGE@VERSION [GO-OPTION…]
install() {
    what=$1
    shift
    (cd "$tools" && go install -p 2 -ldflags "-s -w" "$@" "$what")
}

# k8s.io/kubernetes names its own libraries by replace directives, which `go install` refuses: a module of our own.
build_kubernetes() {
    work=$(mktemp -d "$tools/kubernetes.XXXXXX")
    (
        cd "$work"
        go mod init apiserver 2>/dev/null
        go mod edit -require "k8s.io/kubernetes@v$KUBERNETES"
        go mod download "k8s.io/kubernetes@v$KUBERNETES"
        for library in $(sed -n 's/^\t\(k8s\.io\/[a-z-]*\) v0\.0\.0$/\1/p' "$GOMODCACHE/k8s.io/kubernetes@v$KUBERNETES/go.mod"); do
            go mod edit -replace "$library=$library@v0.${KUBERNETES#1.}"
        done
        v=k8s.io/component-base/version
        minor=${KUBERNETES#1.}
        go build -p 2 -ldflags "-s -w -X $v.gitVersion=v$KUBERNETES -X $v.gitMajor=1 -X $v.gitMinor=${minor%.*} -X k8s.io/client-go/pkg/version.gitVersion=v$KUBERNETES" \
            -o "$bin/" k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl
    ) || { rm -rf "$work"; return 1; }
    rm -rf "$work"
}

# Debian's package unpacked, not installed: installing it would start a server.
unpack_etcd() {
    if command -v etcd >/dev/null 2>&1; then
        ln -sf "$(command -v etcd)" "$bin/etcd"
        return
    fi
    command -v apt-get >/dev/null 2>&1 || fail "missing: etcd (Debian: apt-get install etcd-server)."
    work=$(mktemp -d "$tools/etcd.XXXXXX")
    (
        cd "$work"
        apt-get download -qq etcd-server >/dev/null 2>&1 || { apt-get update -qq >/dev/null 2>&1 && apt-get download -qq etcd-server >/dev/null; }
        dpkg-deb -x etcd-server_*.deb . && mv usr/bin/etcd "$bin/etcd"
    ) || { rm -rf "$work"; fail "missing: etcd (Debian: apt-get install etcd-server)."; }
    rm -rf "$work"
}

build() {
    case $1 in
    kubernetes) build_kubernetes ;;
    istio) install "istio.io/istio/pilot/cmd/pilot-discovery@$ISTIO" && install "istio.io/istio/pilot/cmd/pilot-agent@$ISTIO" &&
        install "istio.io/istio/istioctl/cmd/istioctl@$ISTIO" && ln -sfn "$GOMODCACHE/istio.io/istio@$ISTIO" "$tools/istio" ;;
    gateway) install "github.com/envoyproxy/gateway/cmd/envoy-gateway@$ENVOY_GATEWAY" &&
        ln -sfn "$GOMODCACHE/github.com/envoyproxy/gateway@$ENVOY_GATEWAY" "$tools/gateway" ;;
    helm) install "helm.sh/helm/v3/cmd/helm@$HELM" ;;
    func-e) install "github.com/tetratelabs/func-e/cmd/func-e@$FUNC_E" ;;
    ratelimit) install "github.com/envoyproxy/ratelimit/src/service_cmd@$RATELIMIT" && mv "$bin/service_cmd" "$bin/ratelimit" ;;
    etcd) unpack_etcd ;;
    esac
}

check=
if [ "${1:-}" = --check ]; then check=1; shift; fi
missing=
for program; do there "$program" || missing="$missing $program"; done
[ -n "$missing" ] || exit 0
go_is_there
[ -z "$check" ] || exit 0
mkdir -p "$bin"
say "building into .tools/mesh, once; about 11 GB with Go's caches, and on two cores without other work:"
for program in $missing; do say "  $(about "$program")"; done
for program in $missing; do
    say "$(about "$program") …"
    began=$(date +%s)
    build "$program" || fail "$program could not be built."
    version "$program" >"$bin/$program.version"
    say "  done in $(($(date +%s) - began)) s"
done
