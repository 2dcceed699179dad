#!/bin/sh
# Starts and stops the example: Redis, a small upstream and Envoy with the filter; also Prometheus with a page of
# charts. See `make run` and `make dashboard`.
#
#   scripts/run.sh start|dashboard|stop
#
# VARIANT is a file of envoy/ without its ending. Pids, logs and data are in .run/ (or RUN).
set -eu
cd "$(dirname "$0")/.."
VARIANT=${VARIANT:-envoy} PORT=${PORT:-10000} ADMIN_PORT=${ADMIN_PORT:-9901}
UPSTREAM_PORT=${UPSTREAM_PORT:-8080} REDIS_PORT=${REDIS_PORT:-7001}
PROMETHEUS_PORT=${PROMETHEUS_PORT:-9099} # not 9090: Debian's package may have one of its own there
ENVOY=${ENVOY:-.tools/envoy-1.40.0/envoy} HEADGATE=${HEADGATE:-${CARGO_TARGET_DIR:-target}/debug/headgate}
RUN=${RUN:-$PWD/.run}

fail() { echo "run: $*" >&2; exit 1; }

# begin NAME COMMAND…: starts the command in the background, with .run/NAME.pid and .run/NAME.log
begin() {
    name=$1
    shift
    nohup "$@" >"$RUN/$name.log" 2>&1 </dev/null &
    echo "$! $(basename "$1")" >"$RUN/$name.pid"
}

# alive PID PROGRAM: whether the process with this pid runs this program and is not a zombie. (The pid may belong to
# another process by now.)
alive() {
    if [ -d /proc/self ]; then
        tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -q -- "$2"
    else
        ps -p "$1" -o args= | grep -q -- "$2"
    fi
}

# each NAMES COMMAND…: runs the command with the pid of each running process whose name fits the pattern
each() {
    names=$1
    shift
    for file in "$RUN"/$names.pid; do
        if [ -e "$file" ] && read -r pid program <"$file" && alive "$pid" "$program" 2>/dev/null; then "$@" "$pid"; fi
    done
}

# stop NAMES: stops the processes whose names fit the pattern; '*' stops all
stop() {
    each "$1" kill
    n=0
    while [ -n "$(each "$1" echo)" ] && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done
    each "$1" kill -9
    # shellcheck disable=SC2086
    rm -f "$RUN"/$1.pid
}

# until_true WHAT NAME COMMAND…: repeats the command until it succeeds, for up to 15 s, or until the program NAME has
# ended. Its end counts only after a second: a program that has just started still has the shell's name
until_true() {
    what=$1 name=$2
    shift 2
    n=0 gone=0
    until "$@" >/dev/null 2>&1; do
        n=$((n + 1))
        read -r pid program <"$RUN/$name.pid"
        if alive "$pid" "$program" 2>/dev/null; then gone=0; else gone=$((gone + 1)); fi
        if [ $n -ge 150 ] || [ $gone -ge 10 ]; then
            tail -n 5 "$RUN/$name.log" >&2
            fail "$what does not start; the complete log is .run/$name.log"
        fi
        sleep 0.1
    done
}

# ports_are_free TARGET SETTING=PORT…: fails if a port is in use, so that another server is not mistaken for ours
ports_are_free() {
    target=$1
    shift
    for setting; do
        python3 -c 'import socket, sys; socket.create_server(("127.0.0.1", int(sys.argv[1])))' "${setting#*=}" \
            2>/dev/null || fail "port ${setting#*=} is in use; choose another one: make $target ${setting%=*}=…"
    done
}

# The options of redis-cli for this variant, with TLS and a user if the variant has them.
redis_cli() {
    if [ "$VARIANT" = tls-auth ]; then
        redis-cli --tls --cacert "$RUN/tls/ca.pem" --user admin --pass admin --no-auth-warning "$@"
    else
        redis-cli "$@"
    fi
}

redis_answers() { redis_cli -p "$1" ping | grep -q PONG; }
redis_serves() { redis_cli -p "$1" cluster info | grep -q cluster_state:ok; }

redis_ports() {
    case $VARIANT in
    local) ;;
    single-redis) echo "$REDIS_PORT" ;;
    *) seq "$REDIS_PORT" $((REDIS_PORT + 2)) ;;
    esac
}

start_redis() {
    ports=$(redis_ports)
    if [ "$VARIANT" = tls-auth ]; then
        scripts/certificates.sh "$RUN/tls"
        # the shipped users, and one who may create the cluster
        { cat envoy/redis-users.acl; echo "user admin on >admin ~* &* +@all"; } >"$RUN/tls/users.acl"
    fi
    addresses=
    for port in $ports; do
        dir=$RUN/redis-$port
        rm -rf "$dir"
        mkdir -p "$dir"
        set -- redis-server --bind 127.0.0.1 --dir "$dir" --save "" --appendonly no \
            --maxmemory 256mb --maxmemory-policy volatile-ttl
        if [ "$VARIANT" != single-redis ]; then
            set -- "$@" --cluster-enabled yes --cluster-require-full-coverage no
        fi
        if [ "$VARIANT" = tls-auth ]; then
            set -- "$@" --port 0 --tls-port "$port" --tls-cluster yes --tls-auth-clients no \
                --tls-ca-cert-file "$RUN/tls/ca.pem" --tls-cert-file "$RUN/tls/redis.pem" \
                --tls-key-file "$RUN/tls/redis.key" --aclfile "$RUN/tls/users.acl"
        else
            set -- "$@" --port "$port"
        fi
        begin "redis-$port" "$@"
        addresses="$addresses 127.0.0.1:$port"
    done
    for port in $ports; do until_true "Redis on $port" "redis-$port" redis_answers "$port"; done
    if [ "$VARIANT" != single-redis ]; then
        # shellcheck disable=SC2086
        redis_cli --cluster create $addresses --cluster-yes >"$RUN/cluster.log" 2>&1 ||
            fail "Redis Cluster cannot be created; see .run/cluster.log"
        for port in $ports; do until_true "the cluster's node $port" "redis-$port" redis_serves "$port"; done
    fi
}

start_envoy() {
    # the shipped file unchanged, or a copy with the requested ports and folder
    config=envoy/$VARIANT.yaml tls=.run/tls
    [ "$RUN" = "$PWD/.run" ] || tls=$RUN/tls
    sed -e "s/port_value: 10000\b/port_value: $PORT/" -e "s/port_value: 9901\b/port_value: $ADMIN_PORT/" \
        -e "s/port_value: 8080\b/port_value: $UPSTREAM_PORT/" -e "s#\.run/tls/#$tls/#" \
        -e "s/port_value: 7001\b/port_value: $REDIS_PORT/" -e "s/port_value: 6379\b/port_value: $REDIS_PORT/" \
        -e "s/port_value: 7002\b/port_value: $((REDIS_PORT + 1))/" \
        -e "s/port_value: 7003\b/port_value: $((REDIS_PORT + 2))/" "envoy/$VARIANT.yaml" >"$RUN/envoy.yaml"
    cmp -s "$config" "$RUN/envoy.yaml" || config=$RUN/envoy.yaml
    HEADGATE_REDIS_PASSWORD=${HEADGATE_REDIS_PASSWORD:-change-me} \
        begin envoy "$ENVOY" -c "$config" --disable-hot-restart --file-flush-interval-msec 500
    until_true Envoy envoy curl -sf "http://127.0.0.1:$ADMIN_PORT/ready"
    until_true "the way through Envoy" envoy curl -sf -H 'x-api-key: make-run' "http://127.0.0.1:$PORT/"
}

# With the login of the variant that has one: Envoy's admin interface hides it.
doctor() {
    if [ "$VARIANT" = tls-auth ]; then
        HEADGATE_REDIS_USER=headgate HEADGATE_REDIS_PASSWORD=${HEADGATE_REDIS_PASSWORD:-change-me} \
            "$HEADGATE" doctor "http://127.0.0.1:$ADMIN_PORT"
    else
        "$HEADGATE" doctor "http://127.0.0.1:$ADMIN_PORT"
    fi
}

# Until `headgate doctor` says that requests are counted, for 15 s: without Redis requests pass as well. Each try is a
# request; of a key's quota, 100 a minute, most is left.
until_counted() {
    n=0
    until doctor >"$RUN/doctor.txt" 2>&1; do
        n=$((n + 1))
        if [ $n -gt 30 ]; then
            cat "$RUN/doctor.txt" >&2
            sed -n 's/.*: headgate: /headgate: /p' "$RUN/envoy.log" | grep -v HEADGATE_HASH_KEY | tail -n 1 >&2
            fail "requests pass, and none was counted within 15 s; the whole log is .run/envoy.log"
        fi
        curl -s -o "$RUN/answer" -H 'x-api-key: make-run' "http://127.0.0.1:$PORT/" || true
        sleep 0.5
    done
}

# Prometheus serves the page itself, under /user, so that the page and its data have the same origin.
start_prometheus() {
    page=$RUN/page
    rm -rf "$page"
    mkdir -p "$page"
    ln -s "$PWD"/dashboards/page/* "$PWD/dashboards/headgate.json" "$page"
    ln -s "$PWD/.tools/dashboard/node_modules/uplot/dist" "$page/uplot"
    cat >"$RUN/prometheus.yaml" <<END
global: {scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 2s}
rule_files: ['$PWD/dashboards/rules.yaml']
scrape_configs:
- job_name: headgate
  metrics_path: /stats/prometheus
  static_configs: [{targets: ['127.0.0.1:$(cat "$RUN/admin_port")']}]
END
    begin prometheus prometheus --config.file="$RUN/prometheus.yaml" --web.listen-address="127.0.0.1:$PROMETHEUS_PORT" \
        --web.user-assets="$page" --storage.tsdb.path="$RUN/prometheus" --storage.tsdb.retention.size=256MB
    until_true Prometheus prometheus curl -sf "http://127.0.0.1:$PROMETHEUS_PORT/-/ready"
}

case "${1:-}" in
start)
    [ -e "envoy/$VARIANT.yaml" ] || fail "no envoy/$VARIANT.yaml"
    [ -x "$HEADGATE" ] || fail "no $HEADGATE; build it: make run-cli"
    mkdir -p "$RUN"
    stop '*'
    # shellcheck disable=SC2046
    ports_are_free run PORT="$PORT" ADMIN_PORT="$ADMIN_PORT" UPSTREAM_PORT="$UPSTREAM_PORT" \
        $(redis_ports | sed s/^/REDIS_PORT=/)
    echo "$ADMIN_PORT" >"$RUN/admin_port"
    trap 'code=$?; if [ $code != 0 ]; then stop "*"; fi' EXIT
    [ -z "$(redis_ports)" ] || start_redis
    begin upstream python3 scripts/upstream.py "$UPSTREAM_PORT"
    until_true "the upstream" upstream curl -sf "http://127.0.0.1:$UPSTREAM_PORT/"
    start_envoy
    until_counted
    echo
    cat "$RUN/doctor.txt"
    cat <<END

Envoy limits http://127.0.0.1:$PORT (envoy/$VARIANT.yaml; admin on :$ADMIN_PORT; logs in .run/). \`make stop\` ends it.

A request that passes:
  curl -i -H 'x-api-key: alice' http://127.0.0.1:$PORT/

And as many as pass until the first 429:
  n=0; until [ "\$(curl -s -o /dev/null -w '%{http_code}' -H 'x-api-key: bob' http://127.0.0.1:$PORT/)" = 429 ]; do n=\$((n+1)); done; echo "\$n passed"

END
    ;;
dashboard)
    [ -n "$(each envoy echo)" ] || fail "Envoy does not run; start it with: make run"
    stop prometheus
    ports_are_free dashboard PROMETHEUS_PORT="$PROMETHEUS_PORT"
    trap 'code=$?; if [ $code != 0 ]; then stop prometheus; fi' EXIT
    start_prometheus
    cat <<END

Charts of the running Envoy: http://127.0.0.1:$PROMETHEUS_PORT/user/?range=15m&refresh=5s (Prometheus itself: /graph).
\`make stop\` ends it, with all the rest.

END
    ;;
stop) stop '*' ;;
*) fail "usage: $0 start|dashboard|stop" ;;
esac
