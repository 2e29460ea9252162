#!/bin/sh
# demo.sh [--stay]: sets everything up, and walks through what the filter does in a real Envoy: each
# step is a command, and what its output must contain. With --stay, everything is left running.
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
# run COMMAND TEXT...: runs it until its output has each text, and not those after a `!`, or until 20 s
# have passed. The output is in $output.
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
# check WRONG: prints how it went: well if that is empty.
check() {
    if [ -z "$1" ]; then
        echo "    ok"
    else
        failures=$((failures + 1))
        printf '    FAILED: %s\n' "$1"
    fi
}
# port NUMBER: the port $port, which is that one or, if it is taken, another.
port() {
    port=$1
    while status=0; curl -s -m 1 -o /dev/null "http://127.0.0.1:$port" || status=$?
        # curl fails with 7 where nobody listens.
        [ $status != 7 ]
    do
        port=$((port + 100))
    done
    [ "$port" = "$1" ] || echo "   Port $1 is taken: $port is used instead."
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
# envoy NAME FILE PROXY ADMIN SERVER: starts Envoy with a file of `envoy`, on these ports.
envoy() {
    {
        sed "s/port_value: 10000 /port_value: $3 /; s/port_value: 9901 /port_value: $4 /
            s/port_value: 9001 /port_value: $service /
            s/port_value: 9000 /port_value: $5 /; s/127.0.0.1:9000/127.0.0.1:$5/" "envoy/$2"
        # The file for operators has labels for the statistics.
        grep -q '^stats_config:' "envoy/$2" ||
            sed -n '/^stats_config:/,/^$/p' envoy/inbound-observed.yaml
    } >"$work/$2"
    start "$1" "${ENVOY:-$(ls target/envoy/lib/python3*/site-packages/envoy/_bin/envoy)}" \
        --config-path "$work/$2" --concurrency 2 --log-level warning --disable-hot-restart
    ready "http://127.0.0.1:$4/ready"
    printf '   %-24s http://127.0.0.1:%s, admin interface %s\n' "envoy/$2" "$3" "$4"
}

cat <<'EOF'
oauth2-filter: what it does, in a real Envoy

   caller ──▶ Envoy with the filter ──▶ service        program ──▶ Envoy with the filter ──▶ service
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

printf '\nA service is guarded (inbound)\n'
as=http://127.0.0.1:$server
get_token="curl -s -u shop:shop-secret $as/token -d grant_type=client_credentials -d scope=orders:read"
token() { TOKEN=$($get_token | sed 's/.*"access_token":"\([^"]*\)".*/\1/'); }
export TOKEN=
order="curl -si http://127.0.0.1:$proxy/orders/1"
bearer='-H "Authorization: Bearer $TOKEN"'
step "A request without a token gets 401, with the scope that is required"
run "$order" "401 Unauthorized" 'www-authenticate: Bearer realm="oauth2", scope="orders:read"'
step "A public path needs no token"
run "curl -si http://127.0.0.1:$proxy/healthz" "200 OK"
step "A client gets a token"
run "$get_token" access_token
token
step "The request is forwarded with claims of the token, and without the token"
run "$order $bearer" "200 OK" '"x-user", "shop"' '"x-scope", "orders:read"' '!authorization'
step "The token does not have the scope that other methods require"
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
step "It is rejected as soon as the cached response expires (cache.max_ttl, here 5 s)"
run "$order $bearer" "401 Unauthorized" 'error="invalid_token"'

printf '\nA program calls a protected service (outbound)\n'
host="-H Host:billing.example.com http://127.0.0.1:$client_proxy"
invoice="curl -si $host/invoices/7"
sent='"authorization", "Bearer '
# What the next output must not have: the token with which the request reached the service.
not_again() { printf '%s' "$output" | sed -n 's/.*Bearer \([^"]*\)".*/!\1/p'; }
step "A program without a token sends a request, and Envoy adds one"
run "$invoice" "$sent"
first=$(not_again)
step "50 requests at once make no further token request"
run "$many $host/invoices/[1-50] | sort | uniq -c" "50 200"
run "curl -s http://127.0.0.1:$client_server/stats" '"token":1'
step "The token is renewed before it expires"
run "$invoice" "$sent" "$first"
second=$(not_again)
step "The service rejects the token (401)"
run "curl -si $host/status/401" "401 Unauthorized"
step "The next request has another token"
run "$invoice" "$sent" "$second"
kill $billing
step "The authorization server is stopped: the token is used while it lives"
run "$invoice" "$sent"
step "The token has expired"
run "$invoice" "503 Service Unavailable" "retry-after: "
start billing "$servers" $client_server 0 6
step "The authorization server is back: after the back-off, requests have a token again"
run "$invoice" "$sent"

printf '\nBoth are observed\n'
step "Statistics count requests by decision and reason, for Prometheus"
statistics="127.0.0.1:$admin/stats/prometheus 127.0.0.1:$client_admin/stats/prometheus"
run "curl -s $statistics | grep -v ' 0$' | grep '^oauth2_filter_.*requests{'" \
    'reason="no_token"' 'reason="inactive"' 'client="billing"'

if [ $failures = 0 ]; then
    printf '\nAll %s steps came out as expected.\n' $steps
else
    grep -h -v ' 200 via_upstream ' "$work"/*.log | tail -100
    printf '\n%s checks of %s steps FAILED.\n' $failures $steps
fi
cat <<'EOF'

Where to go next:

   make run                                  the same, left running for you to try
   README.md                                 what it does, and where the documentation is
   envoy/inbound.yaml, envoy/outbound.yaml   the configurations that ran here
   oauth2-filter check FILE                  checks a configuration (make command)
   envoy/observability                       a dashboard for Grafana, and alerts for Prometheus
   docs/alerts.md                            what to do when an alert fires

EOF
if [ "${1-}" = --stay ]; then
    cat <<EOF
All of it runs on, until Ctrl-C. Get a token in another terminal, and try the commands above with it:

   TOKEN=\$($get_token \\
     | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
   tail -f $work/inbound.log

EOF
    wait
fi
[ $failures = 0 ]
