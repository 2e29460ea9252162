"""The authorization server, the MCP servers, and Envoy before one of them, with a file of envoy/."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request

import yaml
from rig import REPOSITORY, TARGET, Process, print_log, request, until

HERE = REPOSITORY / "tests/mcp"
INSTALLED = TARGET / "mcp"
RUN = INSTALLED / "run"
SECRET = "mcp-server-secret"
# How many seconds the first token of a sign-in is valid, and how many streams last.
FIRST_TTL, STREAM = 4, 6


def python_of(environment):
    return INSTALLED / environment / "bin/python"


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def with_dynamic_module(text):
    """A file's filter as the dynamic module, as envoy/native has it."""
    bootstrap = yaml.safe_load(text)
    native = yaml.safe_load((REPOSITORY / "envoy/native/inbound.yaml").read_text())

    def config(bootstrap):
        manager = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
        return next(each for each in manager["typed_config"]["http_filters"] if each["name"] == "oauth2")

    document = config(bootstrap)["typed_config"]["config"]["configuration"]
    config(bootstrap)["typed_config"] = {**config(native)["typed_config"], "filter_config": document}
    rest = {name: native[name] for name in ("bootstrap_extensions", "layered_runtime")}
    return yaml.safe_dump({**bootstrap, **rest})


class McpServer:
    """A program that prints which tools it executes."""

    def __init__(self, port, process):
        self.port, self.process = port, process

    def executed(self, since):
        """The tools that it has executed since a mark, with headers of their requests."""
        lines = re.findall(r"^executed (\w+) (.*)$", self.process.log(since), re.MULTILINE)
        return [(tool, json.loads(headers)) for tool, headers in lines]


class World:
    def __init__(self):
        shutil.rmtree(RUN, ignore_errors=True)
        RUN.mkdir(parents=True)
        # Beside `node_modules`, for there Node.js looks for them.
        for folder in ("clients", "servers"):
            shutil.copytree(HERE / folder, INSTALLED / folder, dirs_exist_ok=True)
        bundle = ["--bundle", "--format=esm", "--log-level=warning", f"--outfile={RUN / 'page.js'}"]
        esbuild = INSTALLED / "node_modules/.bin/esbuild"
        subprocess.run([esbuild, INSTALLED / "clients/page.mjs", *bundle], check=True)

        self.port, self.admin, self.issuer, self.page, self.callback, *ports = free_ports(7)
        self.origin = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.origin}/mcp"
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(RUN), "PYTHONDONTWRITEBYTECODE": "1"}
        # For all clients, which have some of their own besides.
        self.settings = {
            "url": self.url,
            "seconds": STREAM,
            "agent": str(INSTALLED / "clients/user_agent.py"),
            "callback": f"http://127.0.0.1:{self.callback}/oauth/callback",
        }
        self.processes, self.envoy, self.guarded = [], None, None
        self.authorization_server = self.start(
            "authorization-server",
            ["node", INSTALLED / "servers/authorization_server.mjs"],
            self.issuer,
            PORT=str(self.issuer),
            SCOPES=json.dumps(
                {
                    self.url: "mcp:tools mcp:admin",
                    self.origin: "mcp:tools mcp:admin",
                    **{f"{self.origin}/{name}": f"{name}:tools" for name in ("orders", "billing")},
                }
            ),
            FIRST_TTL=str(FIRST_TTL),
            MCP_SERVER_SECRET=SECRET,
        )
        programs = {
            "Python": [python_of("mcp2"), INSTALLED / "servers/python.py"],
            "TypeScript": ["node", INSTALLED / "servers/typescript.mjs"],
        }
        self.servers = {
            name: McpServer(port, self.start(name, [*program, port], port))
            for (name, program), port in zip(programs.items(), ports, strict=True)
        }

    def start(self, name, arguments, port, **variables):
        process = Process(arguments, RUN / f"{name}.log", {**self.environment, **variables})
        self.processes.append(process)
        try:
            until(lambda: listens(port) or not process.running(), f"{name} listens", 30)
            assert process.running(), f"{name} has ended"
        except (AssertionError, TimeoutError):
            print_log(process)
            self.stop()
            raise
        return process

    def guard(self, file, server, *changes, native=False):
        """Envoy with this file before this server. Only addresses are replaced, and what `changes` name;
        `native` is with the dynamic module."""
        if self.guarded == (file, server, changes, native):
            return
        self.stop_envoy()
        self.server = self.servers[server]
        text = (REPOSITORY / "envoy" / file).read_text()
        for old, new in (
            ("https://mcp.example.com", self.origin),
            ("http://127.0.0.1:9000/introspect", f"http://127.0.0.1:{self.issuer}/token/introspection"),
            ('"http://127.0.0.1:9000"', f'"http://127.0.0.1:{self.issuer}"'),
            ("https://app.example.com", f"http://127.0.0.1:{self.page}"),
            ("host_rewrite_literal: 127.0.0.1:9001", f"host_rewrite_literal: 127.0.0.1:{self.server.port}"),
            ("port_value: 9000 ", f"port_value: {self.issuer} "),
            ("port_value: 9001 ", f"port_value: {self.server.port} "),
            ("port_value: 9901 ", f"port_value: {self.admin} "),
            ("port_value: 10000 ", f"port_value: {self.port} "),
            *changes,
        ):
            assert old in text, f"{file} has no {old}"
            text = text.replace(old, new)
        path = RUN / file
        path.write_text(with_dynamic_module(text) if native else text)
        options = [
            "--use-dynamic-base-id",
            "--concurrency",
            "2",
            "-l",
            "warning",
            "--file-flush-interval-msec",
            "50",
        ]
        self.envoy = Process(
            [os.environ["ENVOY"], "--config-path", path, *options],
            RUN / "envoy.log",
            {**self.environment, "MCP_SERVER_SECRET": SECRET},
            cwd=REPOSITORY,
        )
        ready = ("127.0.0.1", self.admin)
        until(lambda: request(ready, path="/ready").status == 200, f"Envoy with {file}")
        self.guarded = file, server, changes, native

    def access(self, since):
        """Method, path, status and details of the requests that have ended since a mark."""
        return re.findall(r"^\S+Z (\S+ \S+ \d+ \S+) \d+ ms$", self.envoy.log(since), re.MULTILINE)

    def events(self):
        """What the authorization server has done so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.issuer}/log", timeout=10) as response:
            return json.load(response)

    def token(self, scope):
        """A token of a client that is a machine."""
        form = {"grant_type": "client_credentials", "scope": scope, "resource": self.url}
        credentials = base64.b64encode(b"machine:machine-secret").decode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.issuer}/token",
            urllib.parse.urlencode(form).encode(),
            {"authorization": f"Basic {credentials}"},
        )
        with urllib.request.urlopen(asked, timeout=10) as response:
            return json.load(response)["access_token"]

    def stop_envoy(self):
        if self.envoy:
            self.envoy.stop()
        self.envoy = self.guarded = None

    def stop(self):
        self.stop_envoy()
        for process in self.processes:
            process.stop()

    def print_logs(self):
        for process in filter(None, (self.envoy, *self.processes)):
            print_log(process)

    def recover(self):
        """After a part that ended early: a new Envoy."""
        self.print_logs()
        self.stop_envoy()
