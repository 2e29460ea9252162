"""`make mcp`: real MCP clients of both protocol revisions, and real servers behind Envoy with the files
envoy/mcp*.yaml. The authorization server is made of oidc-provider. All of it is on loopback.

Where a client does less than the specification wants, its check is named `known`, with the public report."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field, replace

from rig import REPOSITORY, Checks, Process, until
from servers import Server
from tries import ADMIN_TOOL, NEW, OLD, TOOL, honest, session, tries
from world import INSTALLED, RUN, STREAM, World, python_of

TOOLS = ["delete_order", "get_order", "list_orders"]
BASIC, ALL = {"mcp:tools"}, {"mcp:tools", "mcp:admin"}
METADATA = "GET /.well-known/oauth-protected-resource/mcp 200"
CHROMIUM = shutil.which("chromium-headless-shell")
# One that is kept in a metadata document, which the authorization server looks up.
CLIENT_ID = "https://client.example.com/client.json"

check = Checks()


# ------------------------------------------------------------------ clients


@dataclass
class Client:
    """A program that prints its steps."""

    name: str
    revision: str
    program: list
    settings: dict = field(default_factory=dict)
    # It reports progress, hears of changes of the list of tools, refreshes tokens, ends its session.
    progress: bool = True
    changes: bool = True
    refreshes: bool = True
    ends: bool = False
    # Why it gets no more scope within the session: a part of its error, and the report.
    no_step_up: tuple = ()
    # The report that it leaves out the headers of arguments, which revision 2026-07-28 requires.
    no_argument_headers: str = ""

    # The report that it adds a slash to a resource without a path.
    adds_slash: str = ""

    def run(self, world, **more):
        """Its steps by their names, and what it printed."""
        settings = {**world.settings, **self.settings, **more}
        home = tempfile.mkdtemp(dir=RUN, prefix="home-")
        variables = {
            "HOME": home,
            "SETTINGS": json.dumps(settings),
            "BROWSER": settings["agent"],
            "MCP_AUTO_OPEN_ENABLED": "true",
            "MCP_INSPECTOR_SECRET_STORE": "file",
        }
        run = subprocess.Popen(
            [str(part) for part in self.program],
            env={**world.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, errors = run.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            # What it has started, too: the next client would wait for it.
            os.killpg(run.pid, signal.SIGKILL)
            raise AssertionError(f"it does not end: {run.communicate()}") from None
        steps = [json.loads(line) for line in out.splitlines() if line.startswith('{"step"')]
        return {step["step"]: step for step in steps}, out + errors


@dataclass
class Page(Client):
    """A client that is a page in Chromium. Its server is here."""

    def run(self, world):
        steps, ended = {}, threading.Event()
        files = {
            "/": ("<body><script type=module src=page.js></script>", "text/html"),
            "/page.js": ((RUN / "page.js").read_text(), "text/javascript"),
            "/settings": (json.dumps({**world.settings, **self.settings}), "application/json"),
            "/callback": ("<script>parent.postMessage(location.search)</script>", "text/html"),
        }

        def respond(handler, body):
            path = handler.path.partition("?")[0]
            if path == "/step":
                step = json.loads(body)
                steps[step["step"]] = step
                if step["step"] in ("end", "failure"):
                    ended.set()
            content, kind = files.get(path, ("", "text/plain"))
            handler.answer(200, content.encode(), kind)

        server = Server(("127.0.0.1", world.page), respond)
        home = tempfile.mkdtemp(dir=RUN, prefix="home-")
        options = ["--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={home}"]
        browser = Process(
            [CHROMIUM, *options, f"http://127.0.0.1:{world.page}/"],
            RUN / "browser.log",
            {**world.environment, "HOME": home},
            start_new_session=True,
        )
        try:
            ended.wait(90)
        finally:
            # The program is a script that starts another.
            os.killpg(browser.process.pid, signal.SIGTERM)
            browser.stop()
            server.shutdown()
            server.server_close()
        console = [line for line in browser.log().splitlines() if ":CONSOLE:" in line]
        return steps, "\n".join([*console, str(steps.get("failure", ""))])


def node(*program, **settings):
    return ["node", *(INSTALLED / part if "/" in part else part for part in program)], settings


def python(environment, kind, *program, **settings):
    program = [INSTALLED / part for part in program]
    return [python_of(environment), INSTALLED / "clients/client.py", kind, *program], settings


def inspector(era):
    package = INSTALLED / "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
    return ["python3", INSTALLED / "clients/inspector.py", package], {"era": era}


TYPESCRIPT, REMOTE = "clients/client.mjs", "node_modules/mcp-remote/dist/proxy.js"
REFRESHES_INSTEAD = "after trying upscoping", "github.com/modelcontextprotocol/typescript-sdk/issues/2255"
UNKNOWN = "no report is known"
CANNOT_ASK = "returned AUTHORIZED without authorization code", UNKNOWN
NO_HEADERS = "github.com/modelcontextprotocol/typescript-sdk/pull/2327"
PYTHON_ADDS_SLASH = "github.com/modelcontextprotocol/python-sdk/issues/2578"
CLIENTS = [
    Client("TypeScript SDK 1", OLD, *node(TYPESCRIPT, "1"), ends=True, no_step_up=REFRESHES_INSTEAD),
    Client(
        "TypeScript SDK 1 without refresh tokens",
        OLD,
        *node(TYPESCRIPT, "1", refreshes=False),
        refreshes=False,
        ends=True,
    ),
    Client("TypeScript SDK 2, legacy", OLD, *node(TYPESCRIPT, "2", era="legacy"), ends=True),
    Client("TypeScript SDK 2", NEW, *node(TYPESCRIPT, "2", era="auto", metadataUrl=CLIENT_ID)),
    Page(
        "A page with the TypeScript SDK 2, legacy",
        OLD,
        [],
        {"era": "legacy", "metadataUrl": CLIENT_ID},
        ends=True,
    ),
    Page(
        "A page with the TypeScript SDK 2",
        NEW,
        [],
        {"era": "auto", "metadataUrl": CLIENT_ID},
        no_argument_headers=NO_HEADERS,
    ),
    Client("Python SDK 1", OLD, *python("mcp1", "http"), ends=True, adds_slash=PYTHON_ADDS_SLASH),
    Client("Python SDK 2, legacy", OLD, *python("mcp2", "http", era="legacy"), ends=True),
    Client("Python SDK 2", NEW, *python("mcp2", "http", era="auto", metadataUrl=CLIENT_ID)),
    Client("fastmcp", NEW, *python("fastmcp", "fastmcp"), changes=False),
    Client(
        "mcp-remote",
        OLD,
        *python("mcp2", "stdio", REMOTE, era="legacy", options=[]),
        adds_slash=UNKNOWN,
    ),
    Client(
        "mcp-remote, auto",
        NEW,
        *python("mcp2", "stdio", REMOTE, era="legacy", options=["--protocol", "auto"]),
        no_argument_headers=UNKNOWN,
        adds_slash=UNKNOWN,
    ),
    Client(
        "Inspector, legacy", OLD, *inspector("legacy"), progress=False, changes=False, no_step_up=CANNOT_ASK
    ),
    Client("Inspector", NEW, *inspector("modern"), progress=False, changes=False, no_step_up=CANNOT_ASK),
]


# ------------------------------------------------------------------ a whole session


def asked(events):
    """The scopes for which the user was asked, in their order."""
    requests = [event for event in events if event["what"] == "authorization"]
    return [set(event["scope"].split()) - {"offline_access"} for event in requests]


class Visit:
    """Everything that a client does, and what each side has seen of it."""

    def __init__(self, client, file, server, native):
        world.guard(file, server, native=native)
        self.client, self.file, self.envoy = client, file, world.envoy.mark()
        log, before = world.server.process.mark(), len(world.events())
        self.steps, self.output = client.run(world)
        self.events, self.executed = world.events()[before:], world.server.executed(log)

    def check(self, claim, holds):
        return check(claim, holds, (self.steps, self.events, self.executed, self.output))

    def step(self, name):
        return self.steps.get(name, {})

    def done(self, step, tool):
        return self.step(step).get("text") == f"{tool}: done"

    def ran(self, tool):
        """The headers of the requests for which the server ran it."""
        return [seen for name, seen in self.executed if name == tool]

    def asked(self):
        return asked(self.events)

    def in_access_log(self, line):
        """Envoy writes it a little later, and for a stream when that ends."""
        try:
            return until(lambda: any(line in each for each in world.access(self.envoy)), line, 10)
        except TimeoutError:
            return False

    def signs_in(self):
        found = self.in_access_log("/mcp 401 oauth2_no_token") and self.in_access_log(METADATA)
        self.check("finds the metadata after 401", found)
        self.check("signs in with the scope of the challenge", self.asked()[:1] == [BASIC])
        resources = {event["resource"] for event in self.events if event["what"] != "registration"}
        self.check("names the resource in every request", resources == {world.url})

    def calls_a_tool(self):
        self.check("lists the tools", sorted(self.step("tools").get("tools", [])) == TOOLS)
        arguments = [seen["mcp-param-status"] for seen in self.ran(TOOL)]
        report = self.client.no_argument_headers
        if report:
            # Some servers refuse the call.
            refused = "Mcp-Param-Status" in self.step("call").get("error", "")
            left_out = refused or (self.done("call", TOOL) and arguments[:1] == [None])
            self.check(f"known: it leaves out Mcp-Param-Status ({report})", left_out)
        else:
            first = "open" if self.client.revision == NEW else None
            self.check("calls one", self.done("call", TOOL) and arguments[:1] == [first])
        if isinstance(self.client, Page):
            self.check("and may send Mcp-Param-Status", "open" in arguments)
        revisions = {seen["mcp-protocol-version"] for _, seen in self.executed}
        self.check(f"with revision {self.client.revision}", revisions == {self.client.revision})
        # The token and a page's `Origin` stay with Envoy.
        own = {(seen["x-user"], seen["authorization"], seen["origin"]) for _, seen in self.executed}
        self.check("the server sees the user, but no token and no Origin", own == {("alice", None, None)})

    def streams(self):
        stream = self.step("stream")
        whole = self.done("stream", "get_order") and stream["seconds"] >= STREAM
        progress = not self.client.progress or stream.get("progress") == STREAM
        self.check("a response streams longer than the token is valid", whole and progress)
        if self.client.changes:
            self.check("and so does the stream of events", stream.get("changes", 0) >= STREAM)

    def gets_a_new_token(self):
        done = self.done("refresh", TOOL)
        if self.client.refreshes:
            refreshed = any(event.get("grant_type") == "refresh_token" for event in self.events)
            self.check("then it refreshes the token", done and refreshed)
        else:
            self.check("then the user signs in again", done and self.asked()[:2] == [BASIC, BASIC])

    def steps_up(self):
        if self.file == "mcp.yaml":
            enough = self.done("admin", ADMIN_TOOL) and ALL not in self.asked()
            self.check("one scope is enough for all tools", enough)
        elif self.client.no_step_up:
            error, report = self.client.no_step_up
            stays = error in self.step("admin").get("error", "") and ALL not in self.asked()
            claim = f"known: it does not ask for more scope ({report})"
            self.check(claim, stays and not self.ran(ADMIN_TOOL))
        else:
            refused = self.in_access_log("POST /mcp 403")
            scopes = [set(seen["x-scope"].split()) for seen in self.ran(ADMIN_TOOL)]
            stepped = refused and self.done("admin", ADMIN_TOOL) and self.asked()[-1:] == [ALL]
            self.check("steps up for a tool that needs more scope", stepped and scopes == [ALL])

    def ends(self):
        self.check("and goes on", self.done("after", TOOL) and "end" in self.steps)
        if self.client.ends:
            self.check("ends its session", self.in_access_log("DELETE /mcp 200"))


def visit(client, file, server, native=False):
    def part():
        if isinstance(client, Page) and not CHROMIUM:
            print("  skipped: there is no chromium-headless-shell, which Debian has a package of", flush=True)
            return
        visit = Visit(client, file, server, native)
        visit.signs_in()
        visit.calls_a_tool()
        visit.streams()
        visit.gets_a_new_token()
        visit.steps_up()
        visit.ends()

    module = " with the dynamic module" if native else ""
    part.__name__ = f"{file}{module} {server} {client.name}"
    part.__doc__ = f"{client.name}, a {server} server, {file}{module}"
    return part


# ------------------------------------------------------------------ other parts


def without_a_path(client):
    """What a client makes of a resource without a path."""

    def part():
        both = "resource", "audience"
        changes = [(f'"{key}": "{world.url}"', f'"{key}": "{world.origin}"') for key in both]
        world.guard("mcp.yaml", "Python", *changes)
        before = len(world.events())
        steps, output = client.run(world, seconds=0)
        events = [event for event in world.events()[before:] if event["what"] != "registration"]
        resources = {event["resource"] for event in events}
        if client.adds_slash:
            adds = resources == {f"{world.origin}/"} and "connect" not in steps
            claim = f"known: it adds a slash, and gets no token ({client.adds_slash})"
            check(claim, adds, (events, output))
        else:
            names = resources == {world.origin} and "end" in steps
            check("it names the resource as it is", names, (events, output))

    part.__name__ = f"resource without a path {client.name}"
    part.__doc__ = f"{client.name}, a resource without a path"
    return part


def two_servers(client):
    """A client that signs in to two servers behind one Envoy, and tokens of one at the other."""

    def part():
        servers = dict(zip(("orders", "billing"), world.servers.values(), strict=True))
        port = servers["billing"].port
        changes = [(f"{before}9003", f"{before}{port}") for before in ("literal: 127.0.0.1:", "port_value: ")]
        world.guard("mcp-servers.yaml", next(iter(world.servers)), *changes)
        tokens = {}
        for name, server in servers.items():
            url, before = f"{world.origin}/{name}", len(world.events())
            marks = {each: each.process.mark() for each in servers.values()}
            steps, output = client.run(world, url=url)
            events = [event for event in world.events()[before:] if event["what"] != "registration"]
            ran = {each: [tool for tool, _ in each.executed(mark)] for each, mark in marks.items()}
            seen = (steps, events, ran, output)
            named = {event["resource"] for event in events} == {url}
            check(f"signs in to {name}, with its scope", named and asked(events) == [{f"{name}:tools"}], seen)
            own = [each for each, tools in ran.items() if tools] == [server]
            check("calls its tools alone", own and set(ran[server]) == set(TOOLS), seen)
            tokens[name] = steps.get("end", {}).get("token")
        call = honest(TOOL, NEW)
        for name, server in servers.items():
            for whose, token in tokens.items():
                log = server.process.mark()
                bearer = "authorization", f"Bearer {token}"
                status, headers, body = replace(call, path=f"/{name}").send(world.port, bearer)
                ran = [tool for tool, _ in server.executed(log)]
                if whose == name:
                    check(f"the token for {name} works there", (status, ran) == (200, [TOOL]), body)
                else:
                    challenge = headers.get("www-authenticate", "")
                    own = f"/.well-known/oauth-protected-resource/{name}" in challenge
                    refused = status == 401 and own and "issued for another audience" in body
                    check(f"the token for {whose} does not work at {name}", refused and not ran, body)

    part.__name__ = f"mcp-servers.yaml {client.name}"
    part.__doc__ = f"{client.name}, two servers, mcp-servers.yaml"
    return part


def ways_around(file, server, native=False):
    """Requests of every kind, with a token that lacks the scope."""

    def part():
        world.guard(file, server, native=native)

        def send(each, port, *more):
            # One of its own, which no other request ends.
            more = (*more, session(world.server.port)) if each.in_session else more
            mark = world.server.process.mark()
            status, _, body = each.send(port, *more)
            return status, body, [tool for tool, _ in world.server.executed(mark)]

        def bearer(scope):
            return "authorization", f"Bearer {world.token(scope)}"

        basic, admin = bearer("mcp:tools"), bearer("mcp:tools mcp:admin")
        mark = world.server.process.mark()
        responses = {each.what: (each, *send(each, world.port, basic)) for each in tries()}
        # By then, the server has done what it was going to do.
        for revision in (OLD, NEW):
            ran = send(honest(TOOL, revision), world.port, basic)[-1]
            check(f"a tool for all runs, with revision {revision}", ran == [TOOL], ran)
        ran = [tool for tool, _ in world.server.executed(mark)]
        bad = {what: response[1:] for what, response in responses.items() if ADMIN_TOOL in response[3]}
        check(f"{len(responses)} ways around: the server never runs the tool", ADMIN_TOOL not in ran, bad)
        # What GET opens need not say anything.
        odd = {
            what: (status, *seen)
            for what, (each, status, *seen) in responses.items()
            if status == 401 or (not 200 <= status < 500 and each.method != "GET")
        }
        check("none of them breaks anything", not odd, odd)
        direct = [each.what for each in tries() if ADMIN_TOOL in send(each, world.server.port)[2]]
        check(f"without Envoy, it does for {len(direct)} of them", len(direct) >= 20, direct)
        for revision in (OLD, NEW):
            ran = send(honest(ADMIN_TOOL, revision), world.port, admin)[-1]
            check(f"and with the scope, with revision {revision}", ran == [ADMIN_TOOL], ran)

    module = " with the dynamic module" if native else ""
    part.__name__ = f"{file}{module} {server} ways around"
    part.__doc__ = f"Ways around the rules on tools, a {server} server, {file}{module}"
    return part


def with_logs(part):
    """The part, and what the servers say if a check fails."""

    @functools.wraps(part)
    def run():
        failed = len(check.failed)
        part()
        if len(check.failed) > failed:
            world.print_logs()

    return run


def main():
    global world
    # The last two have rules on tools.
    files = ("mcp.yaml", "mcp-tools.yaml", "mcp-rules.yaml")
    world = World()
    pairs = [(file, server) for file in files for server in world.servers]
    parts = [visit(client, *pair) for pair in pairs for client in CLIENTS]
    parts += [ways_around(*pair) for pair in pairs if pair[0] != "mcp.yaml"]
    parts += [without_a_path(client) for client in CLIENTS if not isinstance(client, Page)]
    modern = next(client for client in CLIENTS if client.name == "TypeScript SDK 2")
    parts.append(two_servers(modern))
    natively = "mcp-rules.yaml", "Python", True
    parts += [visit(modern, *natively), ways_around(*natively)]
    return check.run(map(with_logs, parts), world.recover, world.stop)


if __name__ == "__main__":
    sys.exit(main())
