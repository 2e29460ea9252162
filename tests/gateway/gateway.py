"""`make gateway`: the manifests of envoy/gateway under the real Envoy Gateway, in tests/platforms/run.sh.

Envoy Gateway runs in standalone mode: it reads the objects from a file, validates them by its CRDs,
translates them, serves them and the modules to Envoy over mTLS, and starts Envoy. The manifests are taken
as they are, except that `on_this_host` replaces what only a cluster has."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

from guarded import IMAGES, SECRETS, Guard, Impostor, Servers, what_callers_get
from rig import (
    PLATFORMS,
    REPOSITORY,
    TARGET,
    Checks,
    Closed,
    Load,
    Process,
    changed,
    find,
    objects,
    print_log,
    request,
    until,
)
from servers import Upstream, image_digest

MANIFESTS = REPOSITORY / "envoy/gateway"
MODULE = TARGET / "liboauth2_filter.so"
RUN = PLATFORMS / "gateway"
ENVOY_GATEWAY = PLATFORMS / "bin/envoy-gateway"
ENVOY = os.environ["ENVOY"]
ENVOY_GATEWAY_API = "gateway.envoyproxy.io"
GATEWAY_API = "gateway.networking.k8s.io"
CONTROLLER = f"{ENVOY_GATEWAY_API}/gatewayclass-controller"

ADMIN = ("127.0.0.1", 19901)
GATEWAY = ("127.0.0.1", 80)
ORDERS, BILLING = "orders.example.com", "billing.example.com"
# Envoy fetches modules from Envoy Gateway by this name.
HOSTS = {"envoy-gateway.envoy-gateway-system.svc.cluster.local": "127.0.0.1"}

check = Checks()


# ------------------------------------------------------------------ what a cluster would give


class World(Servers):
    """The servers, and everything that Envoy Gateway expects in a pod of its own."""

    def __init__(self):
        shutil.rmtree(RUN, ignore_errors=True)
        RUN.mkdir(parents=True)
        super().__init__(RUN, HOSTS)
        self.services = {}

        subprocess.run(
            [ENVOY_GATEWAY, "certgen", "--local", "--config-home", RUN / "config"],
            check=True,
            capture_output=True,
        )
        own = RUN / "config/certs/envoy"
        Path("/certs").mkdir()
        shutil.copy(own / "ca.crt", "/certs")
        data = {
            name: base64.b64encode((own / name).read_bytes()).decode()
            for name in ("tls.crt", "tls.key", "ca.crt")
        }
        metadata = {"name": "envoy", "namespace": "envoy-gateway-system"}
        self.secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "kubernetes.io/tls",
            "data": data,
        }

        # Where Envoy Gateway looks for the Envoy that it would download.
        version = subprocess.run([ENVOY, "--version"], check=True, capture_output=True, text=True).stdout
        self.envoy_version = re.search(r"/(\d+\.\d+\.\d+)", version)[1]
        binary = RUN / "data/envoy-versions" / self.envoy_version / "bin/envoy"
        binary.parent.mkdir(parents=True)
        binary.symlink_to(ENVOY)

    def backend(self, name, port):
        """A server in the place of a Service."""
        if (name, port) not in self.services:
            address = f"127.0.1.{len(self.services) + 1}"
            self.services[name, port] = address, Upstream((address, port))
        endpoint = {"ip": {"address": self.services[name, port][0], "port": port}}
        return made("Backend", f"service-{name}-{port}", endpoints=[endpoint])

    @property
    def orders(self):
        return next(server for (name, _), (_, server) in self.services.items() if name == "orders")


def made(kind, name, api=f"{ENVOY_GATEWAY_API}/v1alpha1", **spec):
    """An object beside the manifests."""
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}


def reference_to(kind, name):
    """To it, as policies and routes refer to objects."""
    groups = {"Backend": ENVOY_GATEWAY_API, "ConfigMap": ""}
    return {"group": groups.get(kind, GATEWAY_API), "kind": kind, "name": name}


def path_of_module(manifests):
    """Where proxies find the dynamic module."""
    [entry] = find(manifests, "EnvoyProxy")["spec"]["dynamicModules"]
    return Path(entry["source"]["local"]["path"])


def handed_over(manifests):
    """The variables that the EnvoyProxy gives to the container of Envoy."""
    deployment = find(manifests, "EnvoyProxy")["spec"]["provider"]["kubernetes"]["envoyDeployment"]
    return [variable["name"] for variable in deployment["container"]["env"]]


def on_this_host(world, manifests):
    """The manifests, as they can run without a cluster."""
    manifests = changed(manifests)
    proxy = find(manifests, "EnvoyProxy")["spec"]
    # Envoy is a process and not a Deployment, with one port for its admin interface and two workers.
    proxy["provider"] = {"type": "Host", "host": {"envoyVersion": world.envoy_version}}
    assert proxy["bootstrap"]["type"] == "Merge"
    bootstrap = yaml.safe_load(proxy["bootstrap"]["value"])
    bootstrap["admin"] = {"address": {"socket_address": {"address": ADMIN[0], "port_value": ADMIN[1]}}}
    proxy["bootstrap"]["value"] = yaml.safe_dump(bootstrap)
    proxy["concurrency"] = 2
    if "GatewayClass" not in {o["kind"] for o in manifests}:
        name = find(manifests, "Gateway")["spec"]["gatewayClassName"]
        gateway_class = made("GatewayClass", name, f"{GATEWAY_API}/v1", controllerName=CONTROLLER)
        del gateway_class["metadata"]["namespace"]
        manifests.append(gateway_class)
    # Envoy Gateway knows no Services in this mode: a Backend with an address instead.
    backends = {}
    for route in [o for o in manifests if o["kind"] == "HTTPRoute"]:
        for reference in [r for rule in route["spec"]["rules"] for r in rule["backendRefs"]]:
            if reference.get("kind", "Service") == "Service":
                backend = world.backend(reference["name"], reference.pop("port"))
                reference.update(reference_to("Backend", backend["metadata"]["name"]))
                backends[reference["name"]] = backend
    return [*manifests, *backends.values(), world.secret]


class Gateway:
    """Envoy Gateway, and the Envoy that it starts."""

    def __init__(self, world):
        self.world, self.process, self.resources = world, None, RUN / "resources"
        self.resources.mkdir()
        folders = {"configHome": "config", "dataHome": "data", "stateHome": "state", "runtimeDir": "run"}
        configuration = {
            "apiVersion": "gateway.envoyproxy.io/v1alpha1",
            "kind": "EnvoyGateway",
            "gateway": {"controllerName": CONTROLLER},
            "provider": {
                "type": "Custom",
                "custom": {
                    "resource": {"type": "File", "file": {"paths": [str(self.resources)]}},
                    "infrastructure": {"type": "Host", "host": {k: str(RUN / v) for k, v in folders.items()}},
                },
            },
            "logging": {"level": {"default": "info"}},
            "extensionApis": {"enableBackend": True, "enableEnvoyPatchPolicy": True, "enableLua": True},
        }
        self.configuration = RUN / "envoy-gateway.yaml"
        self.configuration.write_text(yaml.safe_dump(configuration))

    def apply(self, manifests):
        """All objects, at once."""
        new = self.resources / ".new"
        new.write_text(yaml.safe_dump_all(on_this_host(self.world, manifests)))
        new.rename(self.resources / "all.yaml")

    def start(self, manifests, variables=None):
        """A new Envoy with these manifests, which has fetched no module yet."""
        self.stop()
        shutil.rmtree("/var/lib/eg", ignore_errors=True)
        self.apply(manifests)
        self.launch(
            {name: SECRETS[name] for name in handed_over(manifests)} if variables is None else variables
        )
        until(lambda: request(ADMIN, path="/ready").status == 200, "Envoy's admin interface")

    def launch(self, variables):
        environment = {"PATH": os.environ["PATH"], "HOME": str(RUN / "home"), **variables}
        arguments = [ENVOY_GATEWAY, "server", "--config-path", self.configuration]
        self.process = Process(arguments, RUN / "envoy-gateway.log", environment)

    def stop(self):
        if self.process:
            self.process.stop()
            until(lambda: request(ADMIN, path="/").status == 0, "Envoy to end")

    def accepts_the_policy(self):
        """The last status of an EnvoyExtensionPolicy that it has logged."""
        status = (
            self.process.log().rpartition("Got new status for EnvoyExtensionPolicy")[2].partition('"key"')[0]
        )
        return "type: Accepted" in status and 'status: "False"' not in status

    def statistic(self, name):
        found = re.search(rf"^{re.escape(name)}: (\d+)$", request(ADMIN, path="/stats").body, re.MULTILINE)
        return int(found[1]) if found else 0


def ask(path="/orders/1", token=None, host=ORDERS, method="GET", headers=()):
    return request(GATEWAY, host, path, method, token, headers)


world = gateway = None
manifests = []


def extension(policy):
    """The filter of an extension policy: the WebAssembly module, or the dynamic module."""
    [found] = policy["spec"].get("wasm") or policy["spec"]["dynamicModule"]
    return found


def policy(manifests, direction="inbound"):
    """The extension policy whose filter has this direction."""
    found = [
        o for o in manifests if o["kind"] == "EnvoyExtensionPolicy" and direction in extension(o)["config"]
    ]
    assert len(found) == 1, f"{len(found)} policies with {direction}"
    return found[0]


def document(manifests, direction="inbound"):
    return extension(policy(manifests, direction))["config"][direction]


guard = Guard(document, ask)


def stand(*changes):
    """The manifests in a running gateway, and nothing of what was before."""
    if not (gateway.process and gateway.process.running()):
        gateway.start(manifests)
    guard.renew(gateway.apply, manifests, *changes)


def closed_to_all(*hosts):
    """Requests without a token, to some hosts."""
    hosts = hosts or (ORDERS,)
    return Closed(
        world.orders, *(lambda host=host: ask(host=host, headers=Closed.HEADERS).status for host in hosts)
    )


TYPO = "unknown key"


def image(**reference):
    return lambda manifests: extension(policy(manifests))["code"]["image"].update(reference)


def another_route(manifests):
    route = changed([find(manifests, "HTTPRoute", "orders")])[0]
    route["metadata"]["name"], route["spec"]["hostnames"] = "another", ["another.example.com"]
    manifests.append(route)


def logs(text, seconds=60):
    until(lambda: text in gateway.process.log(mark), f"{text!r} in the log", seconds)


mark = 0


def marked():
    global mark
    mark = gateway.process.mark()


# ------------------------------------------------------------------ what the guide says


def comes_to_guard(file, proxy):
    """The manifests are applied to a proxy that runs, and then to a new one"""
    with closed_to_all() as closed:
        gateway.apply(manifests)
        until(lambda: ask(token=world.good_token()).status == 200, "the filter")
        time.sleep(2)
    check(f"{file}: nothing gets through without a token", closed.holds, closed.seen)
    check("401 instead of 403", ask().status == 401)
    gateway.stop()
    with closed_to_all() as closed:
        gateway.start(manifests)
        until(lambda: ask().status == 401, "the filter")
        time.sleep(2)
    check(f"{proxy}: nothing gets through, from the first request on", closed.holds, closed.seen)


def new_gateway():
    """A new Gateway"""
    gateway.stop()
    lock = objects(MANIFESTS / "gateway.yaml")
    with closed_to_all() as closed:
        gateway.start([o for o in lock if o["kind"] in ("EnvoyProxy", "Gateway")])
        time.sleep(3)
        gateway.apply(lock)
        until(lambda: ask().status == 403, "the backstop")
        time.sleep(2)
    check("gateway.yaml: nothing gets through, from the first request on", closed.holds, closed.seen)
    response = ask(token=world.good_token(), headers={"x-oauth2-active": "true"})
    check("403 for everybody", response.status == 403 and "RBAC" in response.body, response)
    marked()
    with closed_to_all() as closed:
        gateway.apply(changed(manifests, guard.typo))
        logs(TYPO)
        time.sleep(3)
    check(
        "inbound.yaml with a typo: 403, then 503",
        closed.holds and set(closed.seen) <= {403, 503},
        closed.seen,
    )
    response = ask(token=world.good_token())
    check("to a good token, too", response.status == 503, response)
    comes_to_guard("inbound.yaml", "a new proxy with both")


def callers():
    """What callers get"""
    stand()
    what_callers_get(check, ask, world.authorization_server)
    response = ask(token=world.good_token(), headers={"x-oauth2-active": "false"})
    check(
        "what the backstop asks for comes from the filter",
        response.received().get("x-oauth2-active") == "true",
        response,
    )
    response = ask(headers={"x-oauth2-active": "true"})
    check("a caller cannot send it: 401", response.status == 401, response)
    statistics = request(ADMIN, path="/stats/prometheus").body
    series = r"^oauth2_filter_requests\{[^}]*decision=\"\w+\"[^}]*\} \d+$"
    found = re.findall(series, statistics, re.MULTILINE)
    check(
        "the statistics have the label `decision`",
        found,
        [line for line in statistics.splitlines() if "oauth2_filter" in line][:5],
    )


def added_route():
    """A route that is added later"""
    stand()
    with closed_to_all("another.example.com") as closed:
        gateway.apply(changed(manifests, another_route))
        until(lambda: ask(host="another.example.com").status not in (0, 404), "the route")
        time.sleep(2)
    check("nothing gets through without a token, from its first request on", closed.holds, closed.seen)


def invalid_document(status=503):
    """A typo in the document"""
    stand()
    marked()
    rejected = gateway.statistic("listener_manager.lds.update_rejected")
    with closed_to_all(ORDERS, "another.example.com") as closed:
        gateway.apply(changed(manifests, guard.typo, another_route))
        logs(TYPO)
        until(lambda: ask(host="another.example.com").status != 404, "the route")
        time.sleep(2)
    check(
        "a running proxy goes on with the old document",
        ask().status == 401 and ask(token=world.good_token()).status == 200,
        ask(),
    )
    check("a route that is added with it is not open", closed.holds, closed.seen)
    check("the policy remains `Accepted`", gateway.accepts_the_policy())
    check("the log names the key", "scopes" in gateway.process.log(mark), gateway.process.log(mark)[-1500:])
    check(
        "`listener_manager.lds.update_rejected` counts it",
        gateway.statistic("listener_manager.lds.update_rejected") > rejected,
    )
    stand()
    check("the corrected document is in force", ask(token=world.good_token()).status == 200)

    gateway.stop()
    with closed_to_all() as closed:
        gateway.start(changed(manifests, guard.typo))
        mark_of_new = gateway.process.begin
        until(lambda: TYPO in gateway.process.log(mark_of_new), "the filter's log")
        time.sleep(5)
    check("a new proxy with it lets nothing through", closed.holds, closed.seen)
    check(
        f"callers get {status or 'no connection'}, with a good token, too",
        (ask().status, ask(token=world.good_token()).status) == (status, status),
        closed.seen,
    )
    gateway.apply(changed(manifests, guard.realm("corrected")))
    guard.in_force("corrected")
    check("the corrected document is in force there, too", ask(token=world.good_token()).status == 200)


def missing_variables():
    """A variable that the proxy or the policy lacks"""

    def no_key(manifests):
        extension(policy(manifests)).pop("env")

    for what, (change, variables) in {
        "the proxy": (guard.realm("x"), {}),
        "`hostKeys`": (no_key, None),
    }.items():
        gateway.stop()
        with closed_to_all() as closed:
            gateway.start(changed(manifests, change), variables)
            until(lambda: "environment variable" in gateway.process.log(), "the filter's log")
            until(lambda: ask().status == 503, "the listener")
            time.sleep(3)
        check(f"missing in {what}: nothing gets through", closed.holds, closed.seen)
        check(
            "callers get 503, with a good token, too",
            ask(token=world.good_token()).status == 503,
            closed.seen,
        )
        unset = re.search(r"environment variable \S*ORDERS_API_SECRET\S* is unset", gateway.process.log())
        check("the log names it", unset, re.findall(".*environment variable.*", gateway.process.log())[:1])


def unknown_cluster():
    """A cluster that does not exist"""
    stand(lambda manifests: document(manifests)["introspection"].update(cluster="other"))
    marked()
    response = ask(token=world.good_token())
    check("503 for every token", response.status == 503, response)
    logs("unknown cluster")
    check("the log says why: unknown cluster", True)


def cluster_of_a_route():
    """The cluster of a route to the authorization server"""
    cluster = "httproute/shop/as/rule/0"

    def with_route(manifests):
        ours = {"targetRefs": [reference_to("HTTPRoute", "as")]}
        trusted = {"hostname": "as.example.com", "caCertificateRefs": [reference_to("ConfigMap", "as")]}
        tls = {"targetRefs": [reference_to("Backend", "as")], "validation": trusted}
        rules = [{"backendRefs": [reference_to("Backend", "as")]}]
        route = {"parentRefs": [{"name": "web"}], "hostnames": ["as.invalid"], "rules": rules}
        authority = made("ConfigMap", "as", "v1")
        authority["data"] = {"ca.crt": (RUN / "certificates/ca.crt").read_text()}
        manifests += [
            made("Backend", "as", endpoints=[{"fqdn": {"hostname": "as.example.com", "port": 443}}]),
            made("BackendTLSPolicy", "as", f"{GATEWAY_API}/v1", **tls),
            made("HTTPRoute", "as", f"{GATEWAY_API}/v1", **route),
            # The route is for its cluster alone.
            made("SecurityPolicy", "as", authorization={"defaultAction": "Deny"}, **ours),
            authority,
        ]
        document(manifests)["introspection"]["cluster"] = cluster

    stand(with_route)
    until(lambda: ask(token=world.good_token()).status == 200, "the cluster")
    check(f"{cluster}: 200 for a good token", ask().status == 401)


def images():
    """An image that cannot be pulled"""
    for what, reference in {
        "an unknown tag": {"url": "registry.example.com/oauth2-filter:9.9.9"},
        "a wrong digest": {"sha256": "0" * 64},
    }.items():
        gateway.stop()
        with closed_to_all() as closed:
            gateway.start(changed(manifests, image(**reference)))
            until(lambda: ask().status != 0, "the listener")
            time.sleep(5)
        check(f"{what}: a new proxy lets nothing through", closed.holds, closed.seen)
        response = ask(token=world.good_token())
        check(
            "the backstop answers 403, to a good token, too",
            "RBAC" in response.body and response.status == 403,
            response,
        )
        check("the policy is not `Accepted`", not gateway.accepts_the_policy())
        gateway.apply(changed(manifests, guard.realm("corrected")))
        guard.in_force("corrected")
        with closed_to_all() as closed:
            gateway.apply(changed(manifests, image(**reference), guard.realm("wrong image")))
            until(lambda: ask().status == 403, "the change")
            time.sleep(3)
        check(
            f"{what}: a running proxy does the same",
            closed.holds and set(closed.seen) == {401, 403},
            closed.seen,
        )

    def fail_open(manifests):
        extension(policy(manifests))["failOpen"] = True

    unknown = image(url="registry.example.com/oauth2-filter:9.9.9")
    gateway.apply(changed(manifests, fail_open, no_lock, unknown))
    until(lambda: ask().status == 200, "failOpen")
    check("with `failOpen: true` and without the backstop, requests are forwarded unchecked", True)
    stand(image(sha256=image_digest(IMAGES["0.1.0"])))
    check("the right digest: 200", ask(token=world.good_token()).status == 200)


CRASH = {"x-panic-on-command": "now"}


def updated_module():
    """A new module, and a crash"""
    stand(image(sha256=image_digest(IMAGES["0.1.0"])))
    check("the old module does not know the command", ask(headers=CRASH).status == 401)
    new = image(url="registry.example.com/oauth2-filter:0.2.0", sha256=image_digest(IMAGES["0.2.0"]))

    def renamed(manifests):
        extension(policy(manifests))["name"] = "renamed"

    with closed_to_all() as closed:
        stand(new)
        time.sleep(3)
        stand(new, renamed)
    check(
        "another digest, then another name: nothing gets through meanwhile",
        closed.holds and set(closed.seen) == {401},
        closed.seen,
    )
    response = ask(headers=CRASH)
    check("the new module runs: it crashes", response.status in (0, 500, 503), response)
    # Each worker has a VM of its own.
    until(
        lambda: ask(headers=CRASH) and {ask().status for _ in range(20)} == {503}, "the crash of all VMs", 20
    )
    time.sleep(5)
    check("after a crash it stays 503", {ask(token=world.good_token()).status for _ in range(20)} == {503})
    gateway.start(manifests)
    until(lambda: ask(token=world.good_token()).status == 200, "the filter")
    check("until the proxy restarts", True)


def reload_after_a_crash():
    """reload.yaml"""
    crashing = image(url="registry.example.com/oauth2-filter:0.2.0")
    reload = objects(MANIFESTS / "reload.yaml")
    gateway.start(changed(manifests, crashing, lambda manifests: manifests.extend(reload)))
    until(lambda: ask().status == 401, "the filter")
    dump = request(ADMIN, path="/config_dump?resource=dynamic_listeners").body
    check("Envoy Gateway puts it into the listener", '"failure_policy": "FAIL_RELOAD"' in dump, dump[:300])
    with closed_to_all() as closed:
        # Each worker has a VM of its own.
        statuses = {ask(headers=CRASH).status for _ in range(20)}
        check("the VMs crash", statuses & {0, 500, 503}, statuses)
        began = time.monotonic()
        until(lambda: all(ask(token=world.good_token()).status == 200 for _ in range(20)), "the filter", 20)
        seconds = time.monotonic() - began
    check("nothing gets through", closed.holds, closed.seen)
    check("and the filter works again after seconds", seconds < 10, seconds)


def rate_limits():
    """Rate limits"""

    def limited(manifests):
        limit = {"limit": {"requests": 5, "unit": "Hour"}}
        local = {"type": "Local", "local": {"rules": [limit]}}
        target = policy(manifests)["spec"]["targetRefs"]
        manifests.append(made("BackendTrafficPolicy", "limit", targetRefs=target, rateLimit=local))

    def first(manifests):
        order = {"name": "envoy.filters.http.local_ratelimit", "before": "envoy.filters.http.wasm"}
        find(manifests, "EnvoyProxy")["spec"]["filterOrder"] = [order]

    gateway.start(changed(manifests, limited))
    until(lambda: ask().status == 401, "the filter")
    statuses = {ask().status for _ in range(50)}
    check("they do not count what the filter rejects", statuses == {401}, statuses)
    statuses = {ask(token=world.good_token()).status for _ in range(50)}
    check("they count the rest", statuses == {200, 429}, statuses)
    gateway.start(changed(manifests, limited, first))
    until(lambda: ask().status == 429, "the limit")
    check("with `filterOrder` they count everything", True)
    gateway.stop()


def public_paths():
    """A public path"""
    route = find(manifests, "HTTPRoute", "orders")

    def public(manifests):
        document(manifests)["rules"].insert(0, {"paths": ["/public"], "access": "public"})

    def own_route(manifests):
        own = changed([route])[0]
        own["metadata"]["name"] = "public"
        own["spec"]["rules"][0]["matches"] = [{"path": {"type": "Exact", "value": "/public"}}]
        lock = changed([find(manifests, "SecurityPolicy")])[0]
        lock["metadata"]["name"] = "public"
        lock["spec"]["targetRefs"][0].update(kind="HTTPRoute", name="public")
        lock["spec"]["authorization"] = {"defaultAction": "Allow"}
        manifests += [own, lock]

    stand(public)
    response = ask("/public")
    check("the backstop does not know it: 403", response.status == 403 and "RBAC" in response.body, response)
    gateway.apply(changed(manifests, public, own_route))
    until(lambda: ask("/public").status == 200, "the route")
    check("a route with its own SecurityPolicy: 200", True)
    check("elsewhere nothing changes", ask().status == 401)


NO_CONNECTION = "connection failed or closed"


def unavailable_authorization_server():
    """An authorization server that is unavailable"""
    stand()
    known, server = world.good_token(), world.authorization_server
    for _ in range(10):
        ask(token=known)
    server.set_available(False)
    marked()
    with closed_to_all() as closed:
        response = ask(token=world.good_token())
        check("a token that is not cached: 503", response.status == 503, response)
        check("a cached token: 200", ask(token=known).status == 200)
        time.sleep(1)
    check("nothing gets through without a token", closed.holds, closed.seen)
    logs(NO_CONNECTION)
    check(f"the log says why: {NO_CONNECTION}", True)
    server.set_available(True)
    token = world.good_token()
    until(lambda: ask(token=token).status == 200, "the server's return")
    check("when it is back: 200", True)
    with Impostor(world, server, "as.example.com"):
        before = server.introspections()
        marked()
        response = ask(token=world.good_token())
        told = server.introspections() - before
        check(
            "a certificate of another name: 503, and the server sees no token",
            (response.status, told) == (503, 0),
            response,
        )
        logs(NO_CONNECTION)
    token = world.good_token()
    until(lambda: ask(token=token).status == 200, "the right certificate")


def updates():
    """Updates under load"""
    stand()
    token = world.good_token()
    ask(token=token)
    with Load(lambda: ("with", ask(token=token).status)) as load, closed_to_all() as closed:
        for number in range(5):
            gateway.apply(changed(manifests, guard.realm(f"update-{number}")))
            guard.in_force(f"update-{number}")
            time.sleep(1)
    check(
        "five new documents: with a token 200 and nothing else", set(load.seen) == {("with", 200)}, load.seen
    )
    check("without one 401 and nothing else", set(closed.seen) == {401}, closed.seen)
    os.kill(gateway.process.process.pid, 19)
    with Load(lambda: ("with", ask(token=token).status)) as load, closed_to_all() as closed:
        time.sleep(5)
        check(
            "an unavailable control plane: a new token is introspected",
            ask(token=world.good_token()).status == 200,
        )
    os.kill(gateway.process.process.pid, 18)
    check(
        "and nothing else changes",
        set(load.seen) == {("with", 200)} and set(closed.seen) == {401},
        (load.seen, closed.seen),
    )


def route_policies(calls_for_a_token=2):
    """A policy on a route"""

    script = "function envoy_on_response(handle) handle:headers():add('x-lua', 'yes') end"

    def lua(**merge):
        def change(manifests):
            target = reference_to("HTTPRoute", "orders")
            inline = {"type": "Inline", "inline": script}
            manifests.append(made("EnvoyExtensionPolicy", "lua", targetRefs=[target], lua=[inline], **merge))

        return change

    stand()
    with closed_to_all() as closed:
        gateway.apply(changed(manifests, lua()))
        until(lambda: "x-lua" in ask().headers, "the route's own policy")
        time.sleep(1)
    check(
        "it replaces the filter, and the backstop answers 403 instead",
        closed.holds and ask().status == 403,
        closed.seen,
    )
    response = ask(token=world.good_token(), headers={"x-oauth2-active": "true"})
    check("also to a good token, and to the header that the backstop asks for", response.status == 403, response)
    gateway.apply(changed(manifests, lua(mergeType="StrategicMerge")))
    response = until(lambda: (r := ask(token=world.good_token())).status == 200 and r, "both policies")
    check(
        "with `mergeType: StrategicMerge` both work",
        "x-lua" in response.headers and ask().status == 401,
        response,
    )
    gateway.apply(manifests)
    until(lambda: "x-lua" not in ask().headers, "the Gateway's policy alone")

    def own_policy(route, *changes):
        """The filter on a route, with rules for its host."""

        def change(manifests):
            own = changed([policy(manifests)], *changes)[0]
            own["metadata"]["name"] = "own"
            own["spec"]["targetRefs"][0].update(kind="HTTPRoute", name=route)
            for rule in document([own])["rules"]:
                rule["hosts"] = find(manifests, "HTTPRoute", route)["spec"]["hostnames"]
            manifests.append(own)

        return change

    def merged(policies):
        policies[0]["spec"]["mergeType"] = "StrategicMerge"
        document(policies)["rules"] = [{"access": "public"}]

    with closed_to_all() as closed:
        gateway.apply(changed(manifests, own_policy("orders", merged)))
        until(lambda: ask().status == 403, "both policies")
        time.sleep(1)
    response = ask(token=world.good_token())
    check(
        "with `mergeType` and a filter of its own, it replaces that of the Gateway, too: 403",
        closed.holds and response.status == 403 and "RBAC" in response.body,
        (closed.seen, response),
    )
    stand()
    gateway.apply(changed(manifests, another_route, own_policy("another")))
    until(
        lambda: ask(token=world.good_token(), host="another.example.com").status == 200, "the route's policy"
    )
    token, before = world.good_token(), world.authorization_server.introspections()
    statuses = {
        ask(token=token, host=host).status for host in (ORDERS, "another.example.com") for _ in range(10)
    }
    calls = world.authorization_server.introspections() - before
    check(
        f"one token for two policies: introspections: {calls_for_a_token}",
        (statuses, calls) == ({200}, calls_for_a_token),
        (statuses, calls),
    )
    stand()

    marked()
    with closed_to_all("another.example.com") as closed:
        gateway.apply(changed(manifests, another_route, own_policy("another", guard.typo)))
        logs(TYPO)
        until(lambda: ask(host="another.example.com").status not in (0, 404), "the route")
        time.sleep(3)
    check(
        "the filter on a new route, with a typo: the backstop answers 403",
        closed.holds and closed.seen.get(403),
        closed.seen,
    )


def outbound():
    """A token for a protected service"""
    egress = objects(MANIFESTS / "outbound.yaml")
    server = world.authorization_server
    gateway.start(egress)
    until(lambda: ask("/invoices", host=BILLING).status not in (0, 404), "the listener")
    response = until(lambda: (r := ask("/invoices", host=BILLING)).status == 200 and r, "the filter")
    check(
        "the service gets a token, over TLS",
        response.received().get("authorization", "").startswith("Bearer "),
        response,
    )
    check(
        "for the scope of the document",
        server.tokens[response.received()["authorization"][7:]]["scope"] == "invoices:read",
    )
    check(
        "not the one that the program sent",
        ask("/invoices", host=BILLING, token="own").received().get("authorization")
        == response.received()["authorization"],
    )
    before = server.grants()
    for _ in range(20):
        ask("/invoices", host=BILLING)
    check("a token serves many requests", server.grants() - before <= 1, server.grants() - before)
    with Impostor(world, world.billing, BILLING):
        before = world.billing.requests
        response = ask("/invoices", host=BILLING)
        check(
            "a service with a certificate of another name gets no token: 503",
            (response.status, world.billing.requests) == (503, before),
            response,
        )
    until(lambda: ask("/invoices", host=BILLING).status == 200, "the right certificate")
    server.set_available(False)
    check(
        "while the authorization server is unavailable: 200 with the token that is there",
        ask("/invoices", host=BILLING).status == 200,
    )
    gateway.stop()
    gateway.start(egress)
    response = until(
        lambda: (r := ask("/invoices", host=BILLING)).status not in (0, 404) and r, "the listener"
    )
    check("and in a new proxy 503", response.status == 503, response)
    server.set_available(True)
    until(lambda: ask("/invoices", host=BILLING).status == 200, "a token")
    check("until it is back", True)
    gateway.stop()


# ------------------------------------------------------------------ the dynamic module


def native(part, *arguments):
    """A part with native.yaml."""

    def run():
        global manifests
        ours, manifests = manifests, with_native(manifests)
        gateway.stop()
        module = path_of_module(manifests)
        module.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(MODULE, module)
        try:
            part(*arguments)
        finally:
            gateway.stop()
            manifests = ours

    run.__name__ = f"native_{part.__name__.removeprefix('native_')}"
    run.__doc__ = f"Dynamic module: {part.__doc__[0].lower()}{part.__doc__[1:]}"
    return run


def with_native(manifests):
    """The manifests after `kubectl apply -f native.yaml`."""
    native = objects(MANIFESTS / "native.yaml")
    applied = {(o["kind"], o["metadata"]["name"]) for o in native}
    others = [o for o in manifests if (o["kind"], o["metadata"]["name"]) not in applied]
    return [*native, *others]


def native_new_gateway():
    """A new Gateway"""
    lock = [o for o in manifests if o["kind"] != "EnvoyExtensionPolicy"]
    with closed_to_all() as closed:
        gateway.start([o for o in lock if o["kind"] in ("EnvoyProxy", "Gateway")])
        time.sleep(3)
        gateway.apply(lock)
        until(lambda: ask().status == 403, "the backstop")
        time.sleep(2)
    check("nothing gets through, from the first request on", closed.holds, closed.seen)
    marked()
    with closed_to_all() as closed:
        gateway.apply(changed(manifests, guard.typo))
        logs(TYPO)
        time.sleep(3)
    check("native.yaml with a typo: 403", closed.holds and set(closed.seen) == {403}, closed.seen)
    response = ask(token=world.good_token())
    check("to a good token, too", response.status == 403 and "RBAC" in response.body, response)
    comes_to_guard("native.yaml", "a new proxy")
    statistics = request(ADMIN, path="/stats").body
    check(
        "Envoy Gateway sets no `metrics_namespace`",
        "\ndynamicmodulescustom.oauth2_filter.requests.decision." in statistics,
        [line for line in statistics.splitlines() if "oauth2_filter" in line][:5],
    )


def native_missing_variable():
    """A variable that the proxy lacks"""
    gateway.stop()
    with closed_to_all() as closed:
        gateway.start(manifests, {})
        until(lambda: "environment variable" in gateway.process.log(), "the filter's log")
        time.sleep(3)
    check("nothing gets through", closed.holds and set(closed.seen) == {0}, closed.seen)
    unset = re.search(r"environment variable \S*ORDERS_API_SECRET\S* is unset", gateway.process.log())
    check("the log names it", unset, re.findall(".*environment variable.*", gateway.process.log())[:1])


def native_missing_file():
    """A file that is not there"""
    path_of_module(manifests).unlink()

    def no_extension(manifests):
        proxy = find(manifests, "EnvoyProxy")["spec"]["bootstrap"]
        bootstrap = yaml.safe_load(proxy["value"])
        del bootstrap["bootstrap_extensions"]
        proxy["value"] = yaml.safe_dump(bootstrap)

    gateway.stop()
    with closed_to_all() as closed:
        gateway.apply(manifests)
        gateway.launch({name: SECRETS[name] for name in handed_over(manifests)})
        until(lambda: "No such file" in gateway.process.log(), "Envoy's log")
        time.sleep(5)
    check("a proxy does not start", closed.holds and set(closed.seen) == {0}, closed.seen)
    gateway.stop()
    with closed_to_all() as closed:
        gateway.start(changed(manifests, no_extension))
        until(lambda: "No such file" in gateway.process.log(), "Envoy's log")
        time.sleep(5)
    check(
        "without the bootstrap extension it starts and accepts no connections",
        closed.holds and set(closed.seen) == {0},
        closed.seen,
    )


def no_lock(manifests):
    manifests.remove(find(manifests, "SecurityPolicy"))


def native_unlisted_module():
    """A module that the EnvoyProxy does not list"""

    def renamed(manifests):
        find(manifests, "EnvoyProxy")["spec"]["dynamicModules"][0]["name"] = "another"

    gateway.stop()
    with closed_to_all() as closed:
        gateway.start(changed(manifests, renamed))
        until(lambda: ask().status == 403, "the backstop")
        time.sleep(3)
    check("nothing gets through", closed.holds, closed.seen)
    response = ask(token=world.good_token(), headers={"x-oauth2-active": "true"})
    check("the backstop answers 403, to a good token, too", "RBAC" in response.body, response)
    check("the policy is not `Accepted`", not gateway.accepts_the_policy())
    gateway.apply(changed(manifests, renamed, no_lock))
    until(lambda: ask().status == 500, "the backstop's end")
    check("without the backstop 500", ask(token=world.good_token()).status == 500)


def native_remote_module():
    """A module from a URL, which native.yaml warns of"""
    content = MODULE.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    blobs = RUN / "module/blobs/sha256"

    def remote(manifests):
        url = f"https://registry.example.com/v2/oauth2-filter/blobs/sha256:{digest}"
        source = {"type": "Remote", "remote": {"url": url, "sha256": digest}}
        find(manifests, "EnvoyProxy")["spec"]["dynamicModules"][0]["source"] = source

    gateway.stop()
    with closed_to_all() as closed:
        gateway.start(changed(manifests, remote))
        until(lambda: ask().status not in (0, 404), "the listener")
        time.sleep(5)
    check("while the file cannot be fetched: nothing gets through", closed.holds, closed.seen)
    response = ask(token=world.good_token(), headers={"x-oauth2-active": "true"})
    check("the backstop answers 403, to a good token, too", "RBAC" in response.body, response)
    gateway.apply(changed(manifests, remote, no_lock))
    until(lambda: ask().status == 200, "the backstop's end")
    check("without the backstop, requests are forwarded unchecked", True)
    blobs.mkdir(parents=True)
    (blobs / digest).write_bytes(content)
    world.registry.layouts["module"] = RUN / "module"
    gateway.stop()
    with closed_to_all() as closed:
        gateway.start(changed(manifests, remote))
        until(lambda: ask(token=world.good_token()).status == 200, "the filter")
        time.sleep(2)
    check("a new proxy that can fetch it: nothing gets through without a token", closed.holds, closed.seen)


def main():
    global world, gateway, manifests
    manifests = objects(MANIFESTS / "gateway.yaml", MANIFESTS / "inbound.yaml")
    world = World()
    gateway = Gateway(world)
    on_this_host(world, manifests)
    parts = (
        new_gateway,
        callers,
        added_route,
        invalid_document,
        missing_variables,
        unknown_cluster,
        cluster_of_a_route,
        images,
        updated_module,
        reload_after_a_crash,
        rate_limits,
        public_paths,
        unavailable_authorization_server,
        updates,
        route_policies,
        outbound,
        native(native_new_gateway),
        native(callers),
        native(added_route),
        native(invalid_document, 0),
        native(native_missing_variable),
        native(native_missing_file),
        native(native_unlisted_module),
        native(native_remote_module),
        native(unknown_cluster),
        native(unavailable_authorization_server),
        native(updates),
        native(route_policies, 1),
    )
    return check.run(parts, recover, gateway.stop)


def recover():
    if gateway.process:
        print_log(gateway.process)
    world.authorization_server.set_available(True)
    gateway.stop()


if __name__ == "__main__":
    sys.exit(main())
