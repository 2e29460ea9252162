"""A small kubelet: it runs the `istio-proxy` container of a pod, as Istio's webhook has injected it."""

import base64
import json
import os
import re
import shutil
import ssl
import subprocess
import sys

from control_plane import ISTIO, RUN, apply, get, kubectl
from rig import Process, Response, request, until

PROXY_USER, PROGRAM_USER = 1337, 2000
ADMIN, STATUS = ("127.0.0.1", 15000), ("127.0.0.1", 15021)
# Runs as the user of the pod's program, whose connections go to the sidecar.
CALL = """
import http.client, json, sys
address, path, method, headers = json.loads(sys.argv[1])
connection = http.client.HTTPConnection(*address, timeout=25)
connection.request(method, path, headers=headers)
response = connection.getresponse()
received = {name.lower(): value for name, value in response.getheaders()}
print(json.dumps([response.status, received, response.read().decode()]))
"""


def redirect(address):
    """Whom the program at this address and those of its user talk to: what istio-init does in a pod."""
    to, owner = ["-j", "REDIRECT", "--to-ports"], ["-m", "owner", "--uid-owner"]
    not_the_proxy = ["-m", "owner", "!", "--uid-owner", PROXY_USER]
    incoming = ["-p", "tcp", "-d", address[0], "--dport", address[1], *not_the_proxy, *to, "15006"]
    for rule in (incoming, ["-p", "tcp", *owner, PROGRAM_USER, *to, "15001"]):
        subprocess.run(["iptables", "-t", "nat", "-A", "OUTPUT", *map(str, rule)], check=True)


class Pod:
    """A pod with this address. All pods share one network, so that one of them runs at a time."""

    running = None

    def __init__(self, manifest, ip):
        self.manifest, self.ip, self.process = manifest, ip, None
        self.name, self.namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
        self.folder = RUN / self.name

    def create(self):
        """A new object, which the webhook changes."""
        kubectl(
            "delete",
            "pod",
            self.name,
            "-n",
            self.namespace,
            "--force",
            "--grace-period=0",
            "--ignore-not-found",
        )
        apply(self.manifest)
        self.object = get("pod", self.name, self.namespace)
        status = {
            "phase": "Running",
            "podIP": self.ip,
            "podIPs": [{"ip": self.ip}],
            "hostIP": "127.0.0.1",
        }
        status["conditions"] = [{"type": "Ready", "status": "True"}]
        patch = ["--subresource=status", "--type=merge", "-p", json.dumps({"status": status})]
        kubectl("patch", "pod", self.name, "-n", self.namespace, *patch)
        spec = self.object["spec"]
        (self.container,) = [
            c for c in spec.get("initContainers", []) + spec["containers"] if c["name"] == "istio-proxy"
        ]

    def environment(self):
        spec = self.object["spec"]
        fields = {
            "metadata.name": self.name,
            "metadata.namespace": self.namespace,
            "status.podIP": self.ip,
            "status.hostIP": "127.0.0.1",
            "spec.serviceAccountName": spec["serviceAccountName"],
            "spec.nodeName": "node",
        }
        # Istio's agent writes the pod's certificate there, too.
        found = {"PATH": os.environ["PATH"], "OUTPUT_CERTS": str(self.folder / "certificates")}
        for variable in self.container["env"]:
            source = variable.get("valueFrom", {})
            if "fieldRef" in source:
                found[variable["name"]] = fields[source["fieldRef"]["fieldPath"]]
            elif "secretKeyRef" in source:
                secret = get("secret", source["secretKeyRef"]["name"], self.namespace)
                found[variable["name"]] = base64.b64decode(
                    secret["data"][source["secretKeyRef"]["key"]]
                ).decode()
            elif "value" in variable:
                found[variable["name"]] = variable["value"]
        return found

    def start(self):
        """A new pod, whose sidecar has pulled nothing yet, in the place of the one that runs."""
        if Pod.running:
            Pod.running.stop()
        self.create()
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in (
            "etc/istio/pod",
            "etc/istio/proxy",
            "etc/istio/config",
            "var/lib/istio/envoy",
            "var/lib/istio/data",
            "var/run/secrets/tokens",
            "var/run/secrets/istio",
            "var/run/secrets/workload-spiffe-uds",
            "var/run/secrets/credential-uds",
            "certificates",
        ):
            (self.folder / name).mkdir(parents=True)
        for kind in ("labels", "annotations"):
            values = self.object["metadata"].get(kind, {})
            lines = "\n".join(f"{name}={json.dumps(value)}" for name, value in values.items())
            (self.folder / "etc/istio/pod" / kind).write_text(lines)
        account = self.object["spec"]["serviceAccountName"]
        bound = ["--bound-object-kind", "Pod", "--bound-object-name", self.name, "--audience", "istio-ca"]
        token = kubectl("create", "token", account, "-n", self.namespace, *bound).stdout.strip()
        (self.folder / "var/run/secrets/tokens/istio-token").write_text(token)
        authority = [
            "cm",
            "istio-ca-root-cert",
            "-n",
            self.namespace,
            "--ignore-not-found",
            "-o",
            "jsonpath={.data.root-cert\\.pem}",
        ]
        root = until(lambda: kubectl("get", *authority).stdout, "istio-ca-root-cert")
        (self.folder / "var/run/secrets/istio/root-cert.pem").write_text(root)
        template = (ISTIO / "tools/packaging/common/envoy_bootstrap.json").read_text()
        # An extension of Istio's own Envoy.
        template = re.sub(
            r"\{\{- if \.metadata_discovery \}\}.*?\{\{- end \}\}", "", template, count=1, flags=re.DOTALL
        )
        (self.folder / "var/lib/istio/envoy/envoy_bootstrap_tmpl.json").write_text(template)
        subprocess.run(["chown", "-R", f"{PROXY_USER}:{PROXY_USER}", self.folder], check=True)
        log = RUN / f"{self.name}.log"
        log.touch()
        os.chown(log, PROXY_USER, PROXY_USER)
        environment = self.environment()
        arguments = [
            re.sub(r"\$\((\w+)\)", lambda m: environment.get(m[1], m[0]), a) for a in self.container["args"]
        ]
        # /var/lib/istio/data is the pod's own.
        mount = f'mount --bind "{self.folder}/var/lib/istio/data" /var/lib/istio/data && exec "$@"'
        user = [
            "setpriv",
            f"--reuid={PROXY_USER}",
            f"--regid={PROXY_USER}",
            "--clear-groups",
            "/usr/local/bin/pilot-agent",
        ]
        command = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            mount,
            "sh",
            *user,
            *arguments,
        ]
        self.process = Process(command, log, environment, cwd=self.folder)
        Pod.running = self

    def stop(self):
        if self.process:
            self.process.stop()
            until(lambda: request(ADMIN, path="/").status == 0, "Envoy to end")

    def is_running(self):
        return Pod.running is self and self.process and self.process.running()

    def ready(self):
        return request(STATUS, path="/healthz/ready").status == 200

    def client(self):
        """What another workload of the mesh connects with: a certificate, and the protocol of sidecars."""
        certificates = self.folder / "certificates"
        context = ssl.create_default_context(cafile=certificates / "root-cert.pem")
        context.check_hostname = False
        context.load_cert_chain(certificates / "cert-chain.pem", certificates / "key.pem")
        context.set_alpn_protocols(["istio-http/1.1"])
        return context

    def call(self, address, host, path="/", method="GET", token=None):
        """As the pod's program."""
        headers = {"host": host} | ({"authorization": f"Bearer {token}"} if token else {})
        user = ["setpriv", f"--reuid={PROGRAM_USER}", f"--regid={PROGRAM_USER}", "--clear-groups"]
        arguments = json.dumps([address, path, method, headers])
        done = subprocess.run(
            [*user, os.path.realpath(sys.executable), "-c", CALL, arguments],
            capture_output=True,
            text=True,
            cwd="/",
        )
        return (
            Response(*json.loads(done.stdout))
            if done.returncode == 0
            else Response(0, {}, done.stderr[-300:])
        )
