"""`make cluster`: the manifests of envoy/istio under the real istiod, in tests/platforms/run.sh.

The control plane is real: etcd, kube-apiserver, istiod with its webhooks. There are no nodes: a small
kubelet (pod.py) runs the sidecar of one pod as the webhook has injected it, with Istio's agent and a
stock Envoy."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

from control_plane import ISTIOD, ISTIOD_NAME, RUN, Istiod, Kubernetes, apply, istioctl, kubectl
from guarded import CLIENTS, HOSTS, IMAGES, SECRETS, Guard, Impostor, Servers, what_callers_get
from issuer import Issuer
from pod import ADMIN, Pod, redirect
from rig import (
    PLATFORMS,
    REPOSITORY,
    TARGET,
    Checks,
    Closed,
    Load,
    changed,
    find,
    objects,
    print_log,
    request,
    until,
)
from servers import Upstream, image_digest

MANIFESTS = REPOSITORY / "envoy/istio"
GUIDE = REPOSITORY / "docs/getting-started-istio.md"
ORDERS = ("127.0.1.1", 8080)
BILLING = (HOSTS["billing.example.com"], 80)
OTHERS = ("127.0.9.4", 80)
NO_CONNECTION = "connection failed or closed"

check = Checks()


class World(Servers):
    """The servers, the control plane and the pod."""

    def __init__(self):
        # What is written there stays, and every user may enter it by this path.
        folder = PLATFORMS / "cluster"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        subprocess.run(["mount", "--bind", folder, RUN], check=True)
        for program, place in (
            (os.environ["ENVOY"], "envoy"),
            (PLATFORMS / "bin/pilot-agent", "pilot-agent"),
        ):
            place = Path("/usr/local/bin") / place
            place.touch()
            subprocess.run(["mount", "--bind", program, place], check=True)
        Path("/var/lib/istio/data").mkdir(parents=True)
        Path("/etc/resolv.conf").unlink(missing_ok=True)
        Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")

        super().__init__(RUN, {ISTIOD_NAME: ISTIOD})
        self.orders, self.others = Upstream(ORDERS), Upstream(OTHERS)
        print("etcd and kube-apiserver begin", flush=True)
        self.kubernetes = Kubernetes()
        print("istiod begins", flush=True)
        self.istiod = Istiod()
        literals = [f"--from-literal={name}={value}" for name, value in SECRETS.items()]
        for namespace in ("shop", "ingress"):
            kubectl("create", "secret", "generic", "oauth2-filter", "-n", namespace, *literals)
        ports = [{"name": "http", "port": ORDERS[1]}]
        service = {"metadata": {"name": "orders", "namespace": "shop"}}
        service["spec"] = {"selector": {"app": "orders"}, "ports": ports}
        apply({"apiVersion": "v1", "kind": "Service", **service})
        redirect(ORDERS)
        self.pod = Pod(pod_of_the_guide(), ORDERS[0])

    def stop(self):
        if Pod.running:
            Pod.running.stop()
        self.istiod.stop()
        self.kubernetes.stop()


def pod_of_the_guide():
    """The pod that a Deployment would make, with what the guide adds to its template."""
    (deployment,) = re.findall(
        r"^```yaml\n(apiVersion: apps/v1\nkind: Deployment\n.*?)^```", GUIDE.read_text(), re.M | re.S
    )
    deployment = yaml.safe_load(deployment)
    template = deployment["spec"]["template"]
    template["metadata"] |= {
        "name": "orders-1",
        "namespace": deployment["metadata"]["namespace"],
        "labels": {"app": "orders"},
    }
    (variable,) = template["spec"]["containers"][0]["env"]
    # The guide: "The same for BILLING_SECRET."
    same = json.loads(json.dumps(variable).replace("ORDERS_API_SECRET", "BILLING_SECRET"))
    template["spec"]["containers"][0]["env"].append(same)
    template["spec"]["containers"].append({"name": "orders", "image": "registry.example.com/orders:1"})
    template["spec"]["serviceAccountName"] = "orders"
    return {"apiVersion": "v1", "kind": "Pod", **template}


world = None
inbound, outbound, server_of_tokens = [], [], []


def ask(path="/orders/1", token=None, method="GET", headers=(), **options):
    return request(ORDERS, "orders.shop:8080", path, method, token, headers, **options)


def closed_to_all():
    return Closed(world.orders, lambda: ask(headers=Closed.HEADERS).status)


def extension(manifests):
    """The spec of the filter, in both kinds of objects."""
    spec = manifests[0]["spec"]
    return spec.get("wasm", spec)


def document(manifests):
    return extension(manifests)["pluginConfig"]["inbound"]


guard = Guard(document, ask)


def image(**reference):
    return lambda manifests: extension(manifests).update(reference)


def stand(*changes):
    """The filter in the running pod, and nothing of what was before."""
    for kind in (
        "wasmplugin",
        "trafficextension",
        "authorizationpolicy",
        "requestauthentication",
        "peerauthentication",
        "envoyfilter",
        "virtualservice",
    ):
        keep = inbound[0]["metadata"]["name"] if kind == inbound[0]["kind"].lower() else ""
        for name in kubectl("get", kind, "-n", "shop", "-o", "name").stdout.split():
            if name.rpartition("/")[2] != keep:
                kubectl("delete", name, "-n", "shop")
    apply(*server_of_tokens)
    if not world.pod.is_running():
        apply(*inbound)
        new_pod()
    guard.renew(lambda manifests: apply(*manifests), inbound, *changes)


def new_pod():
    world.pod.start()
    until(world.pod.ready, "the pod to be ready", 90)


# ------------------------------------------------------------------ what the guide says


def manifests():
    """Istio accepts the manifests"""
    for file in sorted(MANIFESTS.rglob("*.yaml")):
        name = file.relative_to(MANIFESTS)
        done = kubectl("apply", "--dry-run=server", "-f", file, check=False)
        # Istio says this of every EnvoyFilter.
        warned = "arning" in done.stderr.replace("Warning: EnvoyFilter exposes internal", "")
        accepted = done.returncode == 0 and not warned
        check(f"{name}: the API server and istiod's webhook", accepted, done.stderr)
        done = istioctl("validate", "-f", file, check=False)
        check(
            f"{name}: istioctl validate",
            done.returncode == 0 and "arning" not in done.stdout,
            done.stdout + done.stderr,
        )
    apply(*server_of_tokens, *inbound, *outbound, *objects(MANIFESTS / "protected-service.yaml"))
    done = istioctl("analyze", "-n", "shop", check=False)
    check(
        "istioctl analyze finds nothing",
        "No validation issues found" in done.stdout + done.stderr,
        done.stdout + done.stderr,
    )
    kubectl("delete", outbound[0]["kind"], outbound[0]["metadata"]["name"], "-n", "shop")


def new_workload():
    """A new pod"""
    apply(*server_of_tokens, *inbound)
    with closed_to_all() as closed:
        new_pod()
        until(lambda: ask().status == 401, "the filter")
        time.sleep(2)
    check("nothing gets through without a token, from the first request on", closed.holds, closed.seen)


def callers():
    """What callers get"""
    stand()
    what_callers_get(check, ask, world.authorization_server)
    check("/healthz is public", ask("/healthz").status == 200)
    check("a path with `//` is normalized", ask("//orders//1", token=world.good_token()).status == 200)
    statistics = subprocess.run(
        ["/usr/local/bin/pilot-agent", "request", "GET", "stats"], capture_output=True, text=True
    ).stdout
    check(
        "`pilot-agent request GET stats` has the filter's statistics",
        "oauth2_filter" in statistics,
        statistics[:300],
    )
    check(
        "and those of the authorization server's cluster",
        "cluster.outbound|443||as.example.com" in statistics,
    )
    until(lambda: "oauth2_wrong_audience" in world.pod.process.log(), "the access log")
    check("the access log has the reason of a refusal", True)
    # As `istioctl proxy-config log --level wasm:debug`.
    request(ADMIN, path="/logging?wasm=debug", method="POST")
    mark = world.pod.process.mark()
    refusal = "wasm log .*oauth2: denied by .*: oauth2_no_token"
    until(lambda: ask() and re.search(refusal, world.pod.process.log(mark)), "a line per refusal", 10)
    check("the level `wasm:debug` adds a line per refusal within seconds", True)
    request(ADMIN, path="/logging?wasm=info", method="POST")


def authorization_policy():
    """Istio's own policy"""
    stand()
    apply(*objects(MANIFESTS / "authorization-policy.yaml"))
    writer = world.good_token(scope="orders:write", client_id="back-office")
    until(
        lambda: ask(token=world.good_token(scope="orders:write"), method="POST").status == 403, "the policy"
    )
    response = ask(
        token=world.good_token(scope="orders:write"), method="POST", headers={"x-client": "back-office"}
    )
    check(
        "who may not, by the header that the filter sets: 403",
        "RBAC" in response.body and response.status == 403,
        response,
    )
    check(
        "who may: 200",
        ask(token=writer, method="POST").status == 200 and ask(token=world.good_token()).status == 200,
    )
    check("no token: 401 of the filter, which comes first", ask().status == 401)
    check("/healthz is public", ask("/healthz").status == 200)


def request_authentication():
    """Istio's RequestAuthentication"""

    def security(kind, **spec):
        metadata = {"name": "orders", "namespace": "shop"}
        selector = {"matchLabels": {"app": "orders"}}
        spec = {"selector": selector, **spec}
        return {"apiVersion": "security.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}

    def forward_token(manifests):
        document(manifests)["forward"]["token"] = True

    issuer, other = (Issuer("https://as.example.com", RUN / name) for name in ("issuer", "other"))
    token = world.good_token(token=issuer.token(sub="alice"))
    stand()
    apply(
        security("RequestAuthentication", jwtRules=[{"issuer": issuer.name, "jwks": issuer.keys}]),
        security("AuthorizationPolicy", rules=[{"from": [{"source": {"requestPrincipals": ["*"]}}]}]),
    )
    until(lambda: ask(token=token).status == 403, "the policy")
    response = ask(token=token)
    check("it sees no token: 403", response.status == 403 and "RBAC" in response.body, response)
    guard.renew(lambda manifests: apply(*manifests), inbound, forward_token)
    response = ask(token=token)
    check("with `forward: {token: true}`: 200", response.status == 200, response)
    check("no token: 401 of the filter, which comes first", ask().status == 401)
    response = ask(token=world.good_token(token=other.token(sub="alice")))
    check(
        "Istio rejects the signature of another key",
        response.status == 401 and "Jwt" in response.body,
        response,
    )


def mutual_tls():
    """Mutual TLS"""
    stand()
    strict = {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "spec": {"mtls": {"mode": "STRICT"}},
    }
    apply(strict | {"metadata": {"name": "default", "namespace": "shop"}})
    until(lambda: ask(token=world.good_token()).status == 0, "STRICT")
    tls = world.pod.client()
    response = ask(tls=tls)
    check("STRICT: a workload of the mesh without a token: 401", response.status == 401, response)
    response = ask(tls=tls, token=world.good_token())
    check("with a good token: 200", response.status == 200, response)
    check("nobody else connects", ask(token=world.good_token()).status == 0)


def invalid_document():
    """A typo in the document"""
    stand()
    rejects = world.istiod.metric("pilot_total_xds_rejects", type="ecds")
    mark = world.pod.process.mark()
    apply(*changed(inbound, guard.typo))
    until(lambda: "scopes" in world.pod.process.log(mark), "the key in the sidecar's log")
    found = re.search("wasm log .*oauth2.*scopes", world.pod.process.log(mark))
    check("the log has the line that the guide searches for", found)
    time.sleep(2)
    check(
        "a running sidecar goes on with the old document",
        ask().status == 401 and ask(token=world.good_token()).status == 200,
    )
    after = until(
        lambda: (r := world.istiod.metric("pilot_total_xds_rejects", type="ecds")) > rejects and r,
        "istiod's count",
    )
    check("`pilot_total_xds_rejects` counts it, with the type `ecds`", after > rejects, (rejects, after))
    with closed_to_all() as closed:
        new_pod()
        until(lambda: ask().status == 500, "the listener")
        time.sleep(3)
    check("a new pod with it gets ready", world.pod.ready())
    response = ask(token=world.good_token())
    check(
        "and answers 500 without a body, to a good token, too",
        (response.status, response.body) == (500, ""),
        response,
    )
    check("it lets nothing through", closed.holds, closed.seen)
    stand()
    check("the corrected document is in force in a running pod", ask(token=world.good_token()).status == 200)


def missing_variable():
    """A variable that the sidecar lacks"""
    containers = world.pod.manifest["spec"]["containers"]
    environment = containers[0].pop("env")
    stand()
    with closed_to_all() as closed:
        new_pod()
        until(lambda: ask().status == 500, "the listener")
        time.sleep(3)
    check("a new pod gets ready", world.pod.ready())
    check(
        "it answers 500, and lets nothing through",
        closed.holds and ask(token=world.good_token()).status == 500,
        closed.seen,
    )
    check("the log names the variable", re.search(r"ORDERS_API_SECRET\S* is unset", world.pod.process.log()))
    containers[0]["env"] = environment
    new_pod()
    until(lambda: ask(token=world.good_token()).status == 200, "the filter")
    check("with the variable, a new pod works", True)


def images():
    """An image that cannot be pulled"""
    unknown = image(url="oci://registry.example.com/oauth2-filter:9.9.9")
    stand()
    with closed_to_all() as closed:
        apply(*changed(inbound, unknown))
        until(lambda: ask().status == 403, "the change")
        time.sleep(2)
    check(
        "an unknown tag: a running sidecar answers 403",
        closed.holds and set(closed.seen) == {401, 403},
        closed.seen,
    )
    with closed_to_all() as closed:
        new_pod()
        until(lambda: ask().status == 403, "the listener")
        time.sleep(2)
    check("a new pod, too, and it gets ready", closed.holds and world.pod.ready(), closed.seen)
    response = ask(token=world.good_token())
    check("to a good token, too", response.status == 403 and "RBAC: access denied" in response.body, response)
    world.registry.layouts["9.9.9"] = IMAGES["0.1.0"]
    time.sleep(10)
    check("when the registry has it, nothing changes by itself", ask().status == 403)
    (command,) = re.findall(r"`kubectl (annotate .*?)`", GUIDE.read_text())
    kubectl(*shlex.split(command))
    until(lambda: ask(token=world.good_token()).status == 200, "the filter")
    check("the annotation of the guide makes the agent try again", True)
    del world.registry.layouts["9.9.9"]
    new = image(url="oci://registry.example.com/oauth2-filter:9.9.8", failStrategy="FAIL_OPEN")
    apply(*changed(inbound, new))
    until(lambda: ask().status == 200, "FAIL_OPEN")
    check("`FAIL_OPEN`: everybody passes", True)
    stand()
    with closed_to_all() as closed:
        apply(*changed(inbound, image(sha256="0" * 64)))
        until(lambda: ask().status == 403, "the change")
        time.sleep(2)
    check("a wrong digest: 403", closed.holds, closed.seen)
    stand(image(sha256=image_digest(IMAGES["0.1.0"])))
    check("the right digest: 200", ask(token=world.good_token()).status == 200)


def crash():
    """A crash"""
    crash = {"x-panic-on-command": "now"}
    stand(image(url="oci://registry.example.com/oauth2-filter:0.2.0"))
    with closed_to_all() as closed:
        response = ask(headers=crash)
        began = time.monotonic()
        until(lambda: all(ask(token=world.good_token()).status == 200 for _ in range(20)), "the filter", 20)
        seconds = time.monotonic() - began
    check("`FAIL_RELOAD`: nothing gets through", closed.holds and response.status != 200, closed.seen)
    check("and it works again after seconds", seconds < 10, seconds)
    stand(image(url="oci://registry.example.com/oauth2-filter:0.2.0", failStrategy="FAIL_CLOSE"))
    until(
        lambda: ask(headers=crash).status and {ask().status for _ in range(20)} == {503},
        "the crash of all VMs",
        20,
    )
    time.sleep(5)
    check("`FAIL_CLOSE`: it stays 503", {ask(token=world.good_token()).status for _ in range(20)} == {503})
    new_pod()
    until(lambda: ask(token=world.good_token()).status == 200, "the filter")
    check("until the pod is replaced", True)


def unavailable_authorization_server():
    """An authorization server that is unavailable"""
    stand()
    known, server = world.good_token(), world.authorization_server
    for _ in range(10):
        ask(token=known)
    server.set_available(False)
    mark = world.pod.process.mark()
    with closed_to_all() as closed:
        response = ask(token=world.good_token())
        check("a token that is not cached: 503", response.status == 503, response)
        check("a cached token: 200", ask(token=known).status == 200)
        until(lambda: NO_CONNECTION in world.pod.process.log(mark), "the reason in the log")
    check("nothing gets through without a token", closed.holds, closed.seen)
    server.set_available(True)
    until(lambda: ask(token=world.good_token()).status == 200, "the server's return")
    check("when it is back: 200", True)
    server.clients = {**server.clients, "orders-api": "another-secret"}
    mark = world.pod.process.mark()
    response = ask(token=world.good_token())
    until(lambda: "server returned 401" in world.pod.process.log(mark), "the reason in the log")
    check("a wrong secret: 502, and the log says `server returned 401`", response.status == 502, response)
    server.clients = CLIENTS
    hosts = {"egress": [{"hosts": ["istio-system/*"]}]}
    sidecar = {"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "spec": hosts}
    apply(sidecar | {"metadata": {"name": "default", "namespace": "shop"}})
    mark = world.pod.process.mark()

    def unknown():
        return ask(token=world.good_token()).status == 503 and "unknown cluster" in world.pod.process.log(
            mark
        )

    until(unknown, "503, and the reason in the log")
    check("a `Sidecar` that hides the server: 503, and the log says `unknown cluster`", True)
    kubectl("delete", "sidecar.networking.istio.io", "default", "-n", "shop")
    until(lambda: ask(token=world.good_token()).status == 200, "the cluster")
    for kind, reason in (
        ("DestinationRule", NO_CONNECTION),
        ("ServiceEntry", "unknown cluster"),
    ):
        kubectl("delete", kind, find(server_of_tokens, kind)["metadata"]["name"], "-n", "shop")
        mark = world.pod.process.mark()

        def refused(reason=reason, mark=mark):
            return ask(token=world.good_token()).status == 503 and reason in world.pod.process.log(mark)

        until(refused, f"503, and {reason!r} in the log")
        check(f"without the {kind}: 503, and the log says `{reason}`", True)


def impostors():
    """Servers whose certificates have another name"""
    stand()
    apply(*objects(MANIFESTS / "protected-service.yaml"))
    server = world.authorization_server
    until(lambda: ask(token=world.good_token()).status == 200, "the filter")
    mark = world.pod.process.mark()
    with Impostor(world, server, "as.example.com"):
        before = server.introspections()
        response = ask(token=world.good_token())
        until(lambda: NO_CONNECTION in world.pod.process.log(mark), "the reason in the log")
    check(
        "the authorization server: 503, and it sees no token",
        (response.status, server.introspections()) == (503, before),
        response,
    )
    for manifest in ("outbound.yaml", "outbound-retry.yaml"):
        stand()
        module_in_the_sidecar()
        apply(*objects(MANIFESTS / manifest))
        until(lambda: "authorization" in call().received(), "the filter")
        with Impostor(world, world.billing, "billing.example.com"):
            before = world.billing.requests
            response = call()
        check(
            f"{manifest}: the protected service: 503, and it sees no token",
            (response.status, world.billing.requests) == (503, before),
            response,
        )


def updates():
    """Updates under load"""
    stand()
    token = world.good_token()
    ask(token=token)
    with Load(lambda: ask(token=token).status) as load, closed_to_all() as closed:
        for number in range(5):
            apply(*changed(inbound, guard.realm(f"update-{number}")))
            guard.in_force(f"update-{number}")
        world.istiod.stop()
        check("without istiod: a new token is introspected", ask(token=world.good_token()).status == 200)
        world.istiod.start()
        # The proxy may try it again as late as this.
        apply(*changed(inbound, guard.realm("after istiod")))
        guard.in_force("after istiod", 120)
    check(
        "five new documents, and a new istiod: with a token 200 and nothing else",
        set(load.seen) == {200},
        load.seen,
    )
    check("without one 401 and nothing else", set(closed.seen) == {401}, closed.seen)


def call(address=BILLING, host="billing.example.com", token=None):
    """As the program of the pod."""
    return world.pod.call(address, host, "/invoices", token=token)


def module_in_the_sidecar():
    """What the guide's ConfigMap brings there."""
    Path("/etc/oauth2-filter").mkdir(exist_ok=True)
    shutil.copy(TARGET / "oauth2_filter.wasm", "/etc/oauth2-filter")


def outbound_requests():
    """A token for a protected service"""
    server = world.authorization_server
    stand()
    apply(*objects(MANIFESTS / "protected-service.yaml"))
    response = until(lambda: (r := call(token="own")).status == 200 and r, "the service")
    check(
        "what protects the workload does not change what it sends",
        response.received().get("authorization") == "Bearer own",
        response,
    )
    stand(lambda manifests: manifests[0]["spec"].pop("match"))
    until(lambda: call().status == 403, "the filter")
    check("without `mode: SERVER`, the filter rejects what the workload sends", True)
    stand()
    apply(*objects(MANIFESTS / "protected-service.yaml"), *outbound)
    response = until(
        lambda: (r := call()).status == 200 and "authorization" in r.received() and r, "the filter"
    )
    token = response.received()["authorization"].removeprefix("Bearer ")
    check("the service gets a token, over TLS", server.tokens[token]["scope"] == "invoices:read", response)
    check(
        "not the one that the program sent",
        call(token="own").received().get("authorization") == f"Bearer {token}",
    )
    before = server.grants()
    check(
        "a token serves many requests",
        {call().status for _ in range(5)} == {200} and server.grants() == before,
    )
    others = [call(OTHERS, "other.example.com", token=token) for token in (None, "own")]
    others = [response.received().get("authorization") for response in others]
    check("another host gets none of the filter", others == [None, "Bearer own"], others)
    check(
        "what comes in still needs a token",
        ask().status == 401 and ask(token=world.good_token()).status == 200,
    )
    world.billing.rejected.add(f"Bearer {token}")
    statuses = [call().status for _ in range(2)]
    check(
        "a token that the service rejects: 401, and the next request has another",
        statuses == [401, 200],
        statuses,
    )

    kubectl("delete", outbound[0]["kind"], outbound[0]["metadata"]["name"], "-n", "shop")
    module_in_the_sidecar()
    apply(*objects(MANIFESTS / "outbound-retry.yaml"))
    response = until(
        lambda: (r := call()).status == 200 and "authorization" in r.received() and r,
        "the filter behind the router",
    )
    world.billing.rejected.add(response.received()["authorization"])
    statuses = [call().status for _ in range(3)]
    check("outbound-retry.yaml: the program sees no 401", statuses == [200, 200, 200], statuses)
    check(
        "and the rejected token is not sent again",
        call().received()["authorization"] not in world.billing.rejected,
    )
    before = world.billing.requests
    world.billing.rejects_all = True
    statuses = [call().status]
    world.billing.rejects_all = False
    tried = world.billing.requests - before
    check(
        "a service that rejects every token: 401 after two",
        (statuses, tried) == ([401], 2),
        (statuses, tried),
    )


def wasm_plugin():
    """WasmPlugin, for older versions of Istio"""
    stand()
    plugin = objects(MANIFESTS / "wasm-plugin/inbound.yaml")
    apply(*plugin)
    response = until(lambda: (r := ask(token=world.good_token())).status == 401 and r, "both")
    check("both objects at once: 401 for a good token", "token is required" in response.body, response)
    kubectl("delete", inbound[0]["kind"], inbound[0]["metadata"]["name"], "-n", "shop")
    until(lambda: ask(token=world.good_token()).status == 200, "the WasmPlugin alone")
    name = f"{plugin[0]['metadata']['name']}~istio-translated-wasmplugin"
    check(f"its name in the proxy is {name}", name in request(ADMIN, path="/config_dump").body)
    what_callers_get(check, ask, world.authorization_server)
    apply(*objects(MANIFESTS / "protected-service.yaml", MANIFESTS / "wasm-plugin/outbound.yaml"))
    until(lambda: "authorization" in call().received(), "the other WasmPlugin")
    check(
        "wasm-plugin/outbound.yaml: the service gets a token, and callers still need one", ask().status == 401
    )


def ingress_gateway():
    """An ingress gateway"""
    address, labels = ("127.0.3.1", 8088), {"istio": "ingressgateway"}
    pod = changed([world.pod.manifest])[0]
    pod["metadata"] = {
        "name": "gateway-1",
        "namespace": "ingress",
        "labels": {**labels, "sidecar.istio.io/inject": "true"},
        "annotations": {"inject.istio.io/templates": "gateway"},
    }
    pod["spec"]["serviceAccountName"] = "default"
    pod["spec"]["containers"] = pod["spec"]["containers"][:1]
    gateway = Pod(pod, address[0])

    def ask(token=None, headers=()):
        return request(address, "orders.example.com", "/orders/1", token=token, headers=headers)

    def networking(kind, name, **spec):
        metadata = {"name": name, "namespace": "ingress"}
        return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}

    def routes(step):
        """The step shows in responses as soon as what was applied before it has arrived."""
        destination = {"destination": {"host": "orders.internal", "port": {"number": ORDERS[1]}}}
        headers = {"response": {"set": {"x-step": step}}}
        http = [{"route": [destination], "headers": headers}]
        return networking(
            "VirtualService", "orders", hosts=["orders.example.com"], gateways=["web"], http=http
        )

    port = {"number": ORDERS[1], "name": "http", "protocol": "HTTP"}
    apply(
        networking(
            "Gateway",
            "web",
            selector=labels,
            servers=[{"port": {"number": address[1], "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
        ),
        networking(
            "ServiceEntry",
            "orders",
            hosts=["orders.internal"],
            resolution="STATIC",
            endpoints=[{"address": ORDERS[0]}],
            ports=[port],
        ),
        routes("no-filter"),
    )
    gateway.start()
    until(gateway.ready, "the gateway", 90)
    until(lambda: ask().status == 200, "the route")

    def moved(manifests, match=None, selected=labels):
        """What the guide says of gateways."""
        manifests = changed(manifests)
        for manifest in manifests:
            spec = manifest["spec"]
            manifest["metadata"]["namespace"] = "ingress"
            if "selector" in spec:
                spec["selector"] = {"matchLabels": labels}
                spec.pop("match")
                spec |= {"match": [{"mode": match}]} if match else {}
            if "workloadSelector" in spec and selected:
                spec["workloadSelector"] = {"matchLabels": selected}
        return manifests

    apply(*moved(server_of_tokens), *moved(inbound, "SERVER"), routes("server"))
    until(lambda: ask().headers.get("x-step") == "server", "the change")
    time.sleep(2)
    check("`mode: SERVER` selects nothing there: everybody passes", ask().status == 200, ask())
    apply(*moved(inbound), routes("none"))
    until(lambda: ask().status == 401, "the filter")
    response = ask(token=world.good_token())
    check("without `match`: 401, and 200 for a good token", response.status == 200, response)
    apply(*moved(server_of_tokens, selected=None))
    mark = gateway.process.mark()
    until(lambda: ask(token=world.good_token()).status == 503, "the change")
    until(lambda: NO_CONNECTION in gateway.process.log(mark), "the reason in the log")
    check(f"with the DestinationRule of a sidecar: 503, and the log says `{NO_CONNECTION}`", True)


def waypoint():
    """A waypoint, as far as istiod's configuration of it: a stock Envoy lacks Istio's own filters"""
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}
    listeners = [{"name": "mesh", "port": 15008, "protocol": "HBONE"}]
    gateway = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway"}
    gateway["metadata"] = {"name": "waypoint", "namespace": "shop"}
    gateway["spec"] = {"gatewayClassName": "istio-waypoint", "listeners": listeners}
    apply(*server_of_tokens, gateway)
    deployment = ["deployment", "waypoint", "-n", "shop", "-o", "json", "--ignore-not-found"]
    deployment = json.loads(until(lambda: kubectl("get", *deployment).stdout, "istiod's Deployment"))
    template = deployment["spec"]["template"]
    template["metadata"] |= {"name": "waypoint-1", "namespace": "shop"}
    pod = Pod({"apiVersion": "v1", "kind": "Pod", **template}, "127.0.3.2")
    pod.start()

    def runs_filter():
        return f"trafficextension/shop.{inbound[0]['metadata']['name']}" in world.istiod.configuration(pod)

    def put(*match):
        """The filter at the waypoint."""
        (extension,) = changed(inbound)
        extension["spec"].pop("selector")
        extension["spec"] |= {"targetRefs": [target], "match": list(match)}
        apply(extension)

    until(lambda: '"main_internal"' in world.istiod.configuration(pod), "its configuration")
    put()
    until(runs_filter, "the filter")
    check("without `match` it runs the filter", True)
    put({"mode": "CLIENT"})
    until(lambda: not runs_filter(), "the change")
    check("with `mode: CLIENT` it does not: everybody passes", True)
    put({"mode": "SERVER"})
    until(runs_filter, "the filter")
    check("with `mode: SERVER` it does", True)
    configuration = world.istiod.configuration(pod)
    check("it has no cluster for the authorization server", "as.example.com" not in configuration)
    pod.stop()
    kubectl("delete", "gateway.gateway.networking.k8s.io", "waypoint", "-n", "shop")


def main():
    global world, inbound, outbound, server_of_tokens
    inbound, outbound = objects(MANIFESTS / "inbound.yaml"), objects(MANIFESTS / "outbound.yaml")
    server_of_tokens = objects(MANIFESTS / "authorization-server.yaml")
    world = World()
    parts = (
        manifests,
        new_workload,
        callers,
        authorization_policy,
        request_authentication,
        mutual_tls,
        invalid_document,
        missing_variable,
        images,
        crash,
        unavailable_authorization_server,
        impostors,
        updates,
        outbound_requests,
        wasm_plugin,
        ingress_gateway,
        waypoint,
    )
    return check.run(parts, recover, world.stop)


def recover():
    world.authorization_server.set_available(True)
    if Pod.running:
        print_log(Pod.running.process)
        Pod.running.stop()


if __name__ == "__main__":
    sys.exit(main())
