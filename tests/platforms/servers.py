"""The servers that the proxies talk to, in this process: an authorization server, upstream services, a
registry of container images. Each has an address of its own in 127.0.0.0/8, and a name in /etc/hosts."""

import base64
import http.server
import json
import os
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse
from collections import Counter
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def handle_any(self):
        length = int(self.headers.get("content-length") or 0)
        self.server.respond(self, self.rfile.read(length))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = handle_any

    def answer(self, status, body, kind="application/json", **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        headers = {"content-type": kind, "content-length": len(body), **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """Calls `respond(handler, body)` for each request. Unless it is `available`, it closes connections."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, address, respond, certificate=None):
        super().__init__(address, Handler)
        self.respond, self.available, self.connections = respond, True, set()
        self.tls = tls(certificate) if certificate else None
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def verify_request(self, request, client_address):
        return self.available

    def finish_request(self, request, client_address):
        # The handshake is in the connection's own thread.
        if self.tls:
            request = self.tls.wrap_socket(request, server_side=True)
        self.connections.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self.connections.discard(request)
            request.close()

    def set_available(self, available):
        self.available = available
        if not available:
            self.disconnect()

    def present(self, certificate):
        """Another certificate. Sessions with the old one are not resumed."""
        self.tls = tls(certificate)
        self.disconnect()

    def disconnect(self):
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def handle_error(self, request, client_address):
        pass  # connections that a proxy gave up


def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


class AuthorizationServer(Server):
    """Introspection and the client credentials grant. `calls` counts its responses by path and status."""

    def __init__(self, address, clients, certificate=None):
        self.clients, self.tokens, self.calls, self.hosts = clients, {}, Counter(), set()
        super().__init__(address, self.handle, certificate)

    def token(self, scope, token=None, **claims):
        """A new token, or this one."""
        token = token or base64.urlsafe_b64encode(os.urandom(18)).decode()
        self.tokens[token] = {"active": True, "scope": scope, "exp": int(time.time()) + 600, **claims}
        return token

    def handle(self, handler, body):
        path = handler.path.partition("?")[0]
        form = dict(urllib.parse.parse_qsl(body.decode()))
        status, value = self.decide(path, handler.headers.get("authorization", ""), form)
        self.calls[path, status] += 1
        self.hosts.add(handler.headers.get("host"))
        handler.answer(status, value)

    def decide(self, path, authorization, form):
        try:
            client, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().split(":")
        except ValueError:
            client = secret = None
        if client is None or self.clients.get(client) != secret:
            return 401, {"error": "invalid_client"}
        if path.endswith("/introspect"):
            return 200, self.tokens.get(form.get("token"), {"active": False})
        if path.endswith("/token") and form.get("grant_type") == "client_credentials":
            token = self.token(form.get("scope", ""), client_id=client)
            return 200, {"access_token": token, "token_type": "Bearer", "expires_in": 300}
        return 400, {"error": "invalid_request"}

    def introspections(self):
        return sum(
            count
            for (path, status), count in self.calls.items()
            if path.endswith("/introspect") and status == 200
        )

    def grants(self):
        return sum(
            count for (path, status), count in self.calls.items() if path.endswith("/token") and status == 200
        )


class Upstream(Server):
    """Responds with what it received, or with 401 if it rejects the authorization. `probes` counts the
    requests with the header `x-probe`."""

    def __init__(self, address, certificate=None):
        self.requests = self.probes = 0
        self.rejected, self.rejects_all = set(), False
        super().__init__(address, self.handle, certificate)

    def handle(self, handler, _):
        self.requests += 1
        self.probes += "x-probe" in handler.headers
        headers = {name.lower(): value for name, value in handler.headers.items()}
        if self.rejects_all or headers.get("authorization") in self.rejected:
            return handler.answer(401, {}, www_authenticate='Bearer error="invalid_token"')
        return handler.answer(200, {"method": handler.command, "path": handler.path, "headers": headers})


class Registry(Server):
    """The images of OCI image layouts, by tag and by digest, in any repository."""

    def __init__(self, address, certificate, layouts):
        self.layouts = layouts
        super().__init__(address, self.handle, certificate)

    def handle(self, handler, _):
        path = handler.path.partition("?")[0].strip("/")
        if path == "v2":
            return handler.answer(200, {})
        _, kind, reference = path.rsplit("/", 2)
        digest = f"sha256:{image_digest(self.layouts[reference])}" if reference in self.layouts else reference
        for layout in self.layouts.values():
            blob = layout / "blobs" / digest.replace(":", "/", 1)
            if blob.is_file():
                content = blob.read_bytes()
                media = (
                    json.loads(content)["mediaType"] if kind == "manifests" else "application/octet-stream"
                )
                return handler.answer(200, content, media, docker_content_digest=digest)
        return handler.answer(404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]})


def certificates(folder, names):
    """A certificate for each name. Only for sandboxes: this machine trusts their authority from now on."""
    folder.mkdir(parents=True, exist_ok=True)

    def openssl(*arguments):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
        subprocess.run(
            ["openssl", "req", "-x509", *key, *arguments], check=True, capture_output=True, cwd=folder
        )

    openssl("-subj", "/CN=an authority for tests", "-keyout", "ca.key", "-out", "ca.crt")
    made = {}
    for name in names:
        made[name] = folder / f"{name}.crt", folder / f"{name}.key"
        extensions = ["-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=CA:FALSE"]
        signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-subj", f"/CN={name}"]
        openssl(*signed, *extensions, "-keyout", f"{name}.key", "-out", f"{name}.crt")
    with open("/etc/ssl/certs/ca-certificates.crt", "a") as trusted:
        trusted.write((folder / "ca.crt").read_text())
    return made


def image_digest(layout):
    """The digest of the image's manifest, without `sha256:`."""
    return json.loads((Path(layout) / "index.json").read_text())["manifests"][0]["digest"].removeprefix(
        "sha256:"
    )
