#!/bin/sh
# Starts and stops the example: Redis, a small upstream and Envoy with the filter. See `make run`.
#
#   scripts/run.sh start|stop
#
# VARIANT is a file of envoy/ without its ending. Pids, logs and data are in .run/.
set -eu
cd "$(dirname "$0")/.."
VARIANT=${VARIANT:-envoy} PORT=${PORT:-10000} ADMIN_PORT=${ADMIN_PORT:-9901}
UPSTREAM_PORT=${UPSTREAM_PORT:-8080} REDIS_PORT=${REDIS_PORT:-7001}
ENVOY=${ENVOY:-.tools/envoy-1.40.0/envoy}
RUN=$PWD/.run

fail() { echo "run: $*" >&2; exit 1; }

# begin NAME COMMAND…: in the background, with .run/NAME.pid and .run/NAME.log
begin() {
    name=$1
    shift
    nohup "$@" >"$RUN/$name.log" 2>&1 </dev/null &
    # the program too: after a crash and a reboot the number may be somebody else's
    echo "$! $(basename "$1")" >"$RUN/$name.pid"
}

alive() { ps -p "$1" -o args= 2>/dev/null | grep -q -- "$2"; }

stop() {
    for file in "$RUN"/envoy.pid "$RUN"/upstream.pid "$RUN"/redis-*.pid; do
        if [ ! -e "$file" ]; then continue; fi
        read -r pid program <"$file"
        if alive "$pid" "$program"; then
            kill "$pid" 2>/dev/null || true
            n=0
            while alive "$pid" "$program" && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done
            if alive "$pid" "$program"; then kill -9 "$pid" 2>/dev/null || true; fi
        fi
        rm -f "$file"
    done
}

# until_true WHAT LOG COMMAND…: within 15 s
until_true() {
    what=$1 log=$2
    shift 2
    n=0
    until "$@" >/dev/null 2>&1; do
        n=$((n + 1))
        if [ $n -ge 150 ]; then
            tail -n 5 "$RUN/$log.log" >&2
            fail "$what is not up after 15 s; the whole log is .run/$log.log"
        fi
        sleep 0.1
    done
}

# The options of redis-cli for this variant; TLS and a user where it has them.
redis_cli() {
    if [ "$VARIANT" = tls-auth ]; then
        redis-cli --tls --cacert "$RUN/tls/ca.pem" --user admin --pass ratelimit-admin --no-auth-warning "$@"
    else
        redis-cli "$@"
    fi
}

redis_answers() { redis_cli -p "$1" ping | grep -q PONG; }
redis_serves() { redis_cli -p "$1" cluster info | grep -q cluster_state:ok; }

start_redis() {
    nodes=3
    if [ "$VARIANT" = single-redis ]; then nodes=1; fi
    if [ "$VARIANT" = tls-auth ]; then scripts/certificates.sh "$RUN/tls"; fi
    ports=$(seq "$REDIS_PORT" $((REDIS_PORT + nodes - 1)))
    addresses=
    for port in $ports; do
        dir=$RUN/redis-$port
        rm -rf "$dir"
        mkdir -p "$dir"
        set -- redis-server --bind 127.0.0.1 --dir "$dir" --save "" --appendonly no \
            --maxmemory 256mb --maxmemory-policy volatile-ttl
        if [ $nodes -gt 1 ]; then
            set -- "$@" --cluster-enabled yes --cluster-require-full-coverage no
        fi
        if [ "$VARIANT" = tls-auth ]; then
            set -- "$@" --port 0 --tls-port "$port" --tls-cluster yes --tls-auth-clients no \
                --tls-ca-cert-file "$RUN/tls/ca.pem" --tls-cert-file "$RUN/tls/redis.pem" \
                --tls-key-file "$RUN/tls/redis.key" --aclfile "$PWD/envoy/redis-users.acl"
        else
            set -- "$@" --port "$port"
        fi
        begin "redis-$port" "$@"
        addresses="$addresses 127.0.0.1:$port"
    done
    for port in $ports; do until_true "Redis on $port" "redis-$port" redis_answers "$port"; done
    if [ $nodes -gt 1 ]; then
        # shellcheck disable=SC2086
        redis_cli --cluster create $addresses --cluster-yes >"$RUN/cluster.log" 2>&1 ||
            fail "Redis Cluster cannot be created; see .run/cluster.log"
        for port in $ports; do until_true "the cluster's node $port" cluster redis_serves "$port"; done
    fi
}

start_envoy() {
    # the shipped file, with other ports where they were asked for
    sed -e "s/port_value: 10000\b/port_value: $PORT/" -e "s/port_value: 9901\b/port_value: $ADMIN_PORT/" \
        -e "s/port_value: 8080\b/port_value: $UPSTREAM_PORT/" \
        -e "s/port_value: 7001\b/port_value: $REDIS_PORT/" -e "s/port_value: 6379\b/port_value: $REDIS_PORT/" \
        -e "s/port_value: 7002\b/port_value: $((REDIS_PORT + 1))/" \
        -e "s/port_value: 7003\b/port_value: $((REDIS_PORT + 2))/" "envoy/$VARIANT.yaml" >"$RUN/envoy.yaml"
    HEADGATE_REDIS_PASSWORD=${HEADGATE_REDIS_PASSWORD:-ratelimit-example} \
        begin envoy "$ENVOY" -c "$RUN/envoy.yaml" --disable-hot-restart --file-flush-interval-msec 500
    until_true Envoy envoy curl -sf "http://127.0.0.1:$ADMIN_PORT/ready"
    until_true "the way through Envoy" envoy curl -sf -H 'x-api-key: make-run' "http://127.0.0.1:$PORT/"
}

case "${1:-}" in
start)
    [ -e "envoy/$VARIANT.yaml" ] || fail "no envoy/$VARIANT.yaml"
    mkdir -p "$RUN"
    stop
    trap 'code=$?; if [ $code != 0 ]; then stop; fi' EXIT
    start_redis
    begin upstream python3 scripts/upstream.py "$UPSTREAM_PORT"
    until_true "the upstream" upstream curl -sf "http://127.0.0.1:$UPSTREAM_PORT/"
    start_envoy
    cat <<END

Envoy limits http://127.0.0.1:$PORT (envoy/$VARIANT.yaml; admin on :$ADMIN_PORT; logs in .run/). \`make stop\` ends it.

A request that passes:
  curl -i -H 'x-api-key: alice' http://127.0.0.1:$PORT/

And as many as pass until the first 429:
  n=0; until [ "\$(curl -s -o /dev/null -w '%{http_code}' -H 'x-api-key: bob' http://127.0.0.1:$PORT/)" = 429 ]; do n=\$((n+1)); done; echo "\$n passed"

END
    ;;
stop) stop ;;
*) fail "usage: $0 start|stop" ;;
esac
