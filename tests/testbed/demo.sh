#!/bin/sh
# demo.sh [--stay]: demonstrates the filter in a real Envoy. Each step runs a command and checks its
# output. With --stay, all programs keep running.
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
children=
trap 'kill $children 2>/dev/null || true; wait; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

steps=0
failures=0
servers=${SERVERS:-target/debug/servers}
step() {
    steps=$((steps + 1))
    printf '\n%2d. %s\n' $steps "$1"
}
# run COMMAND TEXT...: runs it until its output contains each text, and none of those after a `!`, for
# at most 20 s. The output is in $output.
run() {
    command=$1
    shift
    printf '    $ %s\n' "$command"
    tries=0
    while :; do
        output=$(sh -c "$command" 2>&1 | tr -d '\r')
        wrong=
        for text in "$@"; do
            case $text:$output in
            !*:*"${text#!}"*) wrong=$text ;;
            !* | *:*"$text"*) ;;
            *) wrong=$text ;;
            esac
        done
        tries=$((tries + 1))
        if [ -z "$wrong" ] || [ $tries = 200 ]; then
            break
        fi
        sleep 0.1
    done
    for text in "$@"; do
        case $text in !*) ;; *) printf '    %s\n' "$text" ;; esac
    done
    check "${wrong:+expected $wrong in
$output}"
}
# check WRONG: prints the result: ok if WRONG is empty.
check() {
    if [ -z "$1" ]; then
        echo "    ok"
    else
        failures=$((failures + 1))
        printf '    FAILED: %s\n' "$1"
    fi
}
# port NUMBER: sets $port to this port or, if it is in use, to another.
port() {
    port=$1
    while status=0; curl -s -m 1 -o /dev/null "http://127.0.0.1:$port" || status=$?
        # curl fails with 7 if the connection is refused.
        [ $status != 7 ]
    do
        port=$((port + 100))
    done
    [ "$port" = "$1" ] || echo "   Port $1 is in use; using $port instead."
}
# start NAME COMMAND...: starts a program; its log is $work/NAME.log.
start() {
    name=$1
    shift
    "$@" >"$work/$name.log" 2>&1 &
    eval "$name=$!"
    children="$children $!"
}
ready() {
    curl -s --retry 100 --retry-delay 0 --retry-connrefused --retry-max-time 20 -o /dev/null "$1"
}
# envoy NAME FILE PROXY ADMIN SERVER: starts Envoy with a file in `envoy`, on these ports.
envoy() {
    {
        sed "s/port_value: 10000 /port_value: $3 /; s/port_value: 9901 /port_value: $4 /
            s/port_value: 9001 /port_value: $service /
            s/port_value: 9000 /port_value: $5 /; s/127.0.0.1:9000/127.0.0.1:$5/" "envoy/$2"
        # The labels of the statistics.
        grep -q '^stats_config:' "envoy/$2" ||
            sed -n '/^stats_config:/,/^$/p' envoy/inbound-observed.yaml
    } >"$work/$2"
    start "$1" "${ENVOY:-$(ls target/envoy/lib/python3*/site-packages/envoy/_bin/envoy)}" \
        --config-path "$work/$2" --concurrency 2 --log-level warning --disable-hot-restart
    ready "http://127.0.0.1:$4/ready"
    printf '   %-24s http://127.0.0.1:%s, admin interface %s\n' "envoy/$2" "$3" "$4"
}

cat <<'EOF'
oauth2-filter in a real Envoy

   client ──▶ Envoy with the filter ──▶ service        program ──▶ Envoy with the filter ──▶ service
                       │                                                    │
                       ▼                                                    ▼
              authorization server                                authorization server

EOF
port 10000 && proxy=$port && port 9901 && admin=$port && port 9001 && service=$port
port 9000 && server=$port
port 10001 && client_proxy=$port && port 9902 && client_admin=$port && port 9002 && client_server=$port
start orders "$servers" $server $service 3600
# Its tokens live for 6 s.
start billing "$servers" $client_server 0 6
ready "http://127.0.0.1:$server/stats"
ready "http://127.0.0.1:$client_server/stats"
export ORDERS_API_SECRET=orders-api-secret BILLING_SECRET=orders-secret
printf '   %-24s http://127.0.0.1:%s\n' "authorization server" $server "another" $client_server service $service
envoy inbound inbound.yaml $proxy $admin $server
envoy outbound outbound.yaml $client_proxy $client_admin $client_server

printf '\nInbound: the filter protects a service\n'
as=http://127.0.0.1:$server
get_token="curl -s -u shop:shop-secret $as/token -d grant_type=client_credentials -d scope=orders:read"
token() { TOKEN=$($get_token | sed 's/.*"access_token":"\([^"]*\)".*/\1/'); }
export TOKEN=
order="curl -si http://127.0.0.1:$proxy/orders/1"
bearer='-H "Authorization: Bearer $TOKEN"'
step "A request without a token gets 401 and the required scope"
run "$order" "401 Unauthorized" 'www-authenticate: Bearer realm="oauth2", scope="orders:read"'
step "A public path requires no token"
run "curl -si http://127.0.0.1:$proxy/healthz" "200 OK"
step "A client obtains a token"
run "$get_token" access_token
token
step "The request is forwarded with claims of the token, without the token itself"
run "$order $bearer" "200 OK" '"x-user", "shop"' '"x-scope", "orders:read"' '!authorization'
step "The token lacks the scope that other methods require"
run "$order $bearer -X DELETE" "403 Forbidden" 'error="insufficient_scope", scope="orders:write"'
step "A client cannot forge the headers with the claims"
run "curl -si http://127.0.0.1:$proxy/healthz -H 'x-user: admin' -H 'X_User: admin'" "200 OK" '!admin'
step "250 requests with a new token: both worker threads share one introspection"
token
many="curl -s -o /dev/null -w '%{http_code}\n' --parallel --parallel-immediate"
introspections() { curl -s $as/stats | sed 's/.*"introspect":\([0-9]*\).*/\1/'; }
before=$(introspections)
run "$many 'http://127.0.0.1:$proxy/orders/[1-250]' $bearer | sort | uniq -c" "250 200"
# On a slow machine, the cached response expires meanwhile.
asked=$(($(introspections) - before))
echo "    introspections: $asked"
check "$([ $asked -le 2 ] || echo "more than one introspection")"
step "The token is revoked"
run "curl -si -u shop:shop-secret $as/revoke -d token=\$TOKEN" "200 OK"
step "It is rejected when the cached response expires (cache.max_ttl, here 5 s)"
run "$order $bearer" "401 Unauthorized" 'error="invalid_token"'

printf '\nOutbound: the filter obtains tokens for a program\n'
host="-H Host:billing.example.com http://127.0.0.1:$client_proxy"
invoice="curl -si $host/invoices/7"
sent='"authorization", "Bearer '
# What the next output must not contain: the token that the service received.
not_again() { printf '%s' "$output" | sed -n 's/.*Bearer \([^"]*\)".*/!\1/p'; }
step "A program sends a request without a token, and the filter adds one"
run "$invoice" "$sent"
first=$(not_again)
step "50 concurrent requests cause no further token request"
run "$many $host/invoices/[1-50] | sort | uniq -c" "50 200"
run "curl -s http://127.0.0.1:$client_server/stats" '"token":1'
step "The token is renewed before it expires"
run "$invoice" "$sent" "$first"
second=$(not_again)
step "The service rejects the token (401)"
run "curl -si $host/status/401" "401 Unauthorized"
step "The next request has a new token"
run "$invoice" "$sent" "$second"
kill $billing
step "The authorization server is unavailable: the token is used until it expires"
run "$invoice" "$sent"
step "The token has expired"
run "$invoice" "503 Service Unavailable" "retry-after: "
start billing "$servers" $client_server 0 6
step "The authorization server is available again: after the back-off, requests have a token"
run "$invoice" "$sent"

printf '\nStatistics\n'
step "Statistics count requests by decision and reason, for Prometheus"
statistics="127.0.0.1:$admin/stats/prometheus 127.0.0.1:$client_admin/stats/prometheus"
run "curl -s $statistics | grep -v ' 0$' | grep '^oauth2_filter_.*requests{'" \
    'reason="no_token"' 'reason="inactive"' 'client="billing"'

if [ $failures = 0 ]; then
    printf '\nAll %s steps passed.\n' $steps
else
    grep -h -v ' 200 via_upstream ' "$work"/*.log | tail -100
    printf '\n%s checks in %s steps FAILED.\n' $failures $steps
fi
cat <<'EOF'

Next steps:

   make run                                  runs the same programs until you stop them
   README.md                                 overview, with links to the documentation
   envoy/inbound.yaml, envoy/outbound.yaml   the configurations of this demo
   oauth2-filter check FILE                  checks a configuration (make command)
   envoy/observability                       Grafana dashboard and Prometheus alerts
   docs/alerts.md                            runbooks for the alerts

EOF
if [ "${1-}" = --stay ]; then
    cat <<EOF
All programs run until you press Ctrl-C. In another terminal, obtain a token, and try the commands above:

   TOKEN=\$($get_token \\
     | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
   tail -f $work/inbound.log

EOF
    wait
fi
[ $failures = 0 ]
