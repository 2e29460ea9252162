"""A cluster without nodes: etcd, kube-apiserver and istiod as processes, and what controllers would make."""

import json
import os
import re
import subprocess
from pathlib import Path

from rig import PLATFORMS, Process, request, until

BIN = PLATFORMS / "bin"
ISTIO = PLATFORMS / "istio"
# target/platforms/cluster, at a path that every user may enter.
RUN = Path("/srv")
ISTIOD = "127.0.8.1"
KUBECONFIG = RUN / "kubeconfig"
ISTIOD_NAME = "istiod.istio-system.svc"

# As a stock Envoy has it: Istio's own filters (statistics, peer metadata, ALPN) are not in it.
VALUES = """
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
spec:
  meshConfig:
    accessLogFile: /dev/stdout
    pathNormalization: { normalization: DECODE_AND_MERGE_SLASHES }
    defaultConfig: { terminationDrainDuration: 1s }
  components:
    ingressGateways: [{ name: istio-ingressgateway, enabled: false }]
  values:
    defaultRevision: default
    telemetry: { enabled: false }
    global: { proxy: { componentLogLevel: "wasm:info" } }
"""


def run(*arguments, stdin=None, check=True):
    done = subprocess.run([str(a) for a in arguments], input=stdin, capture_output=True, text=True)
    if check and done.returncode:
        raise AssertionError(
            f"{' '.join(map(str, arguments))[:200]}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
        )
    return done


def kubectl(*arguments, **options):
    return run(BIN / "kubectl", "--kubeconfig", KUBECONFIG, *arguments, **options)


def istioctl(*arguments, **options):
    return run(BIN / "istioctl", "--kubeconfig", KUBECONFIG, *arguments, **options)


def get(kind, name, namespace="shop"):
    return json.loads(kubectl("get", kind, name, "-n", namespace, "-o", "json").stdout)


def apply(*objects):
    """As `kubectl apply`, for objects in their JSON form."""
    items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    return kubectl("apply", "-f", "-", stdin=json.dumps(items))


class Kubernetes:
    """etcd and kube-apiserver."""

    def __init__(self):
        environment = {"PATH": os.environ["PATH"], "HOME": str(RUN)}
        etcd = [BIN / "etcd", "--data-dir", RUN / "etcd", "--log-level", "error", "--unsafe-no-fsync"]
        self.etcd = Process(etcd, RUN / "etcd.log", environment)
        until(lambda: request(("127.0.0.1", 2379), path="/health").status == 200, "etcd")
        run("openssl", "genrsa", "-out", RUN / "service-account.key", "2048")
        (RUN / "tokens.csv").write_text('admin,admin,admin,"system:masters"\n')
        cluster = {"server": "https://127.0.0.1:6443", "insecure-skip-tls-verify": True}
        configuration = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "cluster",
            "clusters": [{"name": "cluster", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": "admin"}}],
            "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "admin"}}],
        }
        KUBECONFIG.write_text(json.dumps(configuration))
        arguments = [
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--secure-port=6443",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={RUN}/kube-apiserver",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={RUN}/service-account.key",
            f"--service-account-signing-key-file={RUN}/service-account.key",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--token-auth-file={RUN}/tokens.csv",
            "--authorization-mode=RBAC",
        ]
        self.api_server = Process(
            [BIN / "kube-apiserver", *arguments], RUN / "kube-apiserver.log", environment
        )
        until(
            lambda: kubectl("get", "--raw", "/readyz", check=False).stdout.strip() == "ok",
            "kube-apiserver",
            180,
        )
        for name in ("istio-system", "shop", "ingress"):
            labels = {"istio-injection": "enabled"} if name == "shop" else {}
            apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        # What a controller makes in a cluster.
        for namespace, name in (
            ("shop", "default"),
            ("shop", "orders"),
            ("ingress", "default"),
            ("istio-system", "default"),
        ):
            metadata = {"name": name, "namespace": namespace}
            apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})

    def stop(self):
        self.api_server.stop()
        self.etcd.stop()


class Istiod:
    """Istio, installed as `istioctl install` does, but for what needs nodes."""

    def __init__(self):
        self.install()
        self.start()
        # It puts its authority into the webhooks.
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": "shop"}}
        pod["spec"] = {"containers": [{"name": "probe", "image": "probe"}]}
        probe = json.dumps(pod)
        until(
            lambda: (
                kubectl("create", "--dry-run=server", "-f", "-", stdin=probe, check=False).returncode == 0
            ),
            "the webhooks",
        )

    def install(self):
        values = RUN / "values.yaml"
        values.write_text(VALUES)
        made = istioctl("manifest", "generate", "--manifests", ISTIO / "manifests", "-f", values).stdout
        documents = [d for d in re.split(r"^---\s*$", made, flags=re.MULTILINE) if d.strip()]
        definitions = [d for d in documents if "kind: CustomResourceDefinition" in d]
        kubectl("apply", "--server-side", "-f", "-", stdin="\n---\n".join(definitions))
        kubectl("apply", "--server-side", "-f", PLATFORMS / "gateway-api/config/crd/standard")
        kubectl("wait", "--for=condition=established", "crd", "--all", "--timeout=60s")
        # Services have no endpoints here, so the webhooks are called by URL.
        service = re.compile(
            r'service:\n\s+name: istiod\n\s+namespace: [\w-]+\n\s+path: "?(/\S+?)"?\n(\s+port: 443\n)?'
        )
        rest = [
            service.sub(rf'url: "https://{ISTIOD_NAME}:15017\1"\n', d)
            for d in documents
            if d not in definitions
        ]
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin="\n---\n".join(rest))

    def start(self):
        arguments = [
            f"--kubeconfig={KUBECONFIG}",
            f"--httpAddr={ISTIOD}:8080",
            f"--httpsAddr={ISTIOD}:15017",
            f"--grpcAddr={ISTIOD}:15010",
            f"--secureGRPCAddr={ISTIOD}:15012",
            f"--monitoringAddr={ISTIOD}:15014",
            f"--ctrlz_address={ISTIOD}",
            "--domain=cluster.local",
        ]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(RUN),
            "REVISION": "default",
            "POD_NAME": "istiod",
            "POD_NAMESPACE": "istio-system",
            "SERVICE_ACCOUNT": "istiod",
            "PILOT_CERT_PROVIDER": "istiod",
            "CLUSTER_ID": "Kubernetes",
            "INJECTION_WEBHOOK_CONFIG_NAME": "istio-sidecar-injector",
            "VALIDATION_WEBHOOK_CONFIG_NAME": "istio-validator-istio-system",
            "ISTIOD_CUSTOM_HOST": ISTIOD_NAME,
            "PILOT_ENABLE_METADATA_EXCHANGE": "false",
            # Waypoints.
            "PILOT_ENABLE_AMBIENT": "true",
            "PILOT_ENABLE_ALPN_FILTER": "false",
        }
        self.process = Process(
            [BIN / "pilot-discovery", "discovery", *arguments], RUN / "istiod.log", environment
        )
        until(lambda: request((ISTIOD, 8080), path="/ready").status == 200, "istiod", 180)

    def stop(self):
        self.process.stop()

    def configuration(self, pod):
        """What it has for a proxy that is connected, as JSON."""
        path = f"/debug/config_dump?proxyID={pod.name}.{pod.namespace}"
        return request((ISTIOD, 8080), path=path).body

    def metric(self, name, **labels):
        """The sum of a metric's series with these labels."""
        total = 0
        for line in request((ISTIOD, 15014), path="/metrics").body.splitlines():
            if line.startswith(name + "{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total
