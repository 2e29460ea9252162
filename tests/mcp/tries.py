"""Requests that might make a server run a tool which the caller may not call."""

import base64
import gzip
import http.client
import json
from dataclasses import dataclass, field

OLD, NEW = "2025-11-25", "2026-07-28"
TOOL, ADMIN_TOOL = "list_orders", "delete_order"
META = {
    "io.modelcontextprotocol/protocolVersion": NEW,
    "io.modelcontextprotocol/clientInfo": {"name": "tries", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
INITIALIZE = {"protocolVersion": OLD, "capabilities": {}, "clientInfo": {"name": "tries", "version": "1"}}
PLAIN = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")]


@dataclass(frozen=True)
class Try:
    """One request, and what it tries."""

    what: str
    body: bytes
    headers: list = field(default_factory=lambda: PLAIN)
    method: str = "POST"
    path: str = "/mcp"
    chunked: bool = False
    # Whether it needs a session, as requests of revision 2025-11-25 do.
    in_session: bool = False

    def send(self, port, *more):
        """Its status, headers and body. A connection that the server closes is status 0."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2 if self.method == "GET" else 10)
        try:
            connection.putrequest(self.method, self.path, skip_accept_encoding=True)
            for name, value in [*self.headers, *more]:
                connection.putheader(name, value)
            if self.chunked:
                connection.putheader("transfer-encoding", "chunked")
            else:
                connection.putheader("content-length", str(len(self.body)))
            connection.endheaders()
            if self.chunked:
                half = len(self.body) // 2
                for piece in (self.body[:half], self.body[half:]):
                    connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
                connection.send(b"0\r\n\r\n")
            else:
                connection.send(self.body)
            response = connection.getresponse()
            # The stream of events does not end.
            body = b"" if self.method == "GET" else response.read()
            return response.status, dict(response.getheaders()), body.decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, {}, repr(error)
        finally:
            connection.close()


def message(method, params=None, revision=OLD, **more):
    params = dict(params or {})
    if revision == NEW:
        params["_meta"] = META
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params, **more})


def session(port):
    """A new one of the server at this port."""
    started = Try("initialize", message("initialize", INITIALIZE).encode()).send(port)
    identifier = ("mcp-session-id", started[1]["mcp-session-id"])
    Try("initialized", json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode()).send(
        port, identifier
    )
    return identifier


def call(tool, revision=OLD):
    return message("tools/call", {"name": tool, "arguments": {}}, revision)


def headers(revision, tool=TOOL, method="tools/call"):
    """Those of a client of this revision that calls this tool."""
    return [*PLAIN, ("mcp-protocol-version", revision), ("mcp-method", method), ("mcp-name", tool)]


def honest(tool, revision):
    """The call of a client that tries nothing."""
    return Try(
        f"{revision}: {tool}",
        call(tool, revision).encode(),
        headers(revision, tool),
        in_session=revision == OLD,
    )


def tries():
    found = []
    for revision in (OLD, NEW):
        admin = call(ADMIN_TOOL, revision).encode()
        other = NEW if revision == OLD else OLD

        def add(what, body=admin, sent=None, revision=revision, in_session=revision == OLD, **more):
            sent = headers(revision) if sent is None else sent
            found.append(Try(f"{revision}: {what}", body, sent, in_session=in_session, **more))

        # Headers that say something else than the body.
        version = ("mcp-protocol-version", revision)
        add("another tool in the header")
        add("the tool in the header only", call(TOOL, revision).encode(), headers(revision, ADMIN_TOOL))
        add("two tools in headers", sent=[*headers(revision), ("mcp-name", ADMIN_TOOL)])
        add("two tools in headers, other order", sent=[*headers(revision, ADMIN_TOOL), ("mcp-name", TOOL)])
        for tool in (TOOL, ADMIN_TOOL):
            encoded = base64.b64encode(tool.encode()).decode()
            add(f"base64 of {tool} in the header", sent=headers(revision, f"=?base64?{encoded}?="))
        add("broken base64 in the header", sent=headers(revision, "=?base64?%%%?="))
        add("another method in the header", sent=headers(revision, method="tools/list"))
        add("two methods in headers", sent=[*headers(revision, ADMIN_TOOL), ("mcp-method", "tools/list")])
        add("no name in a header", sent=[*PLAIN, version, ("mcp-method", "tools/call")])
        add("no headers but the revision", sent=[*PLAIN, version])
        add("no headers", sent=PLAIN)
        add("the other revision in the header", sent=headers(other, ADMIN_TOOL))
        add(
            "two revisions in headers", sent=[*headers(revision, ADMIN_TOOL), ("mcp-protocol-version", other)]
        )
        add("without a session", sent=headers(revision, ADMIN_TOOL), in_session=False)
        add("in a session", sent=headers(revision, ADMIN_TOOL), in_session=True)
        add("in a session, the other revision", sent=headers(other, ADMIN_TOOL), in_session=True)
        add("an old revision in the header", sent=headers("2024-11-05", ADMIN_TOOL))
        add("an unknown revision in the header", sent=headers("2099-01-01", ADMIN_TOOL))
        add("a wide scope in a header", sent=[*headers(revision, ADMIN_TOOL), ("x-scope", "mcp:admin")])
        add("a wide scope in a variant", sent=[*headers(revision, ADMIN_TOOL), ("x_scope", "mcp:admin")])
        # Bodies that readers read in different ways.
        for what, body in bodies(revision):
            add(what, body)
            # Servers of the new revision compare them with the header.
            if revision == NEW:
                add(f"{what}, and in the header", body, headers(revision, ADMIN_TOOL))
        own = headers(revision, ADMIN_TOOL)[1:]
        for kind in (
            "APPLICATION/JSON",
            "application/json;charset=utf-8",
            "application/json; charset=utf-16",
            "application/json ; x",
            "application/json, text/plain",
            "application/json-rpc",
            "application/jsonx",
            "text/plain",
            "",
        ):
            add(f"content type {kind!r}", sent=[("content-type", kind), *own])
        add("no content type", sent=own)
        add("two content types", sent=[("content-type", "text/plain"), *headers(revision, ADMIN_TOOL)])
        add("no accept", sent=[PLAIN[0], *own[1:]])
        for accept in ("*/*", "application/json", "text/event-stream", "text/html"):
            add(f"accept {accept}", sent=[PLAIN[0], ("accept", accept), *own[1:]])
        add("in chunks", sent=headers(revision, ADMIN_TOOL), chunked=True)
        identity = [*headers(revision, ADMIN_TOOL), ("content-encoding", "identity")]
        add("an encoding that is none", sent=identity)
        packed = [*headers(revision, ADMIN_TOOL), ("content-encoding", "gzip")]
        add("gzip", gzip.compress(admin), packed)
        for method in ("GET", "DELETE", "PUT", "PATCH", "OPTIONS", "post"):
            add(f"method {method!r}", sent=headers(revision, ADMIN_TOOL), method=method)
            override = [*headers(revision, ADMIN_TOOL), ("x-http-method-override", "POST")]
            add(f"method {method!r}, POST in a header", sent=override, method=method)
        for path in (
            "/mcp/",
            "/mcp/.",
            "//mcp",
            "/mcp?x",
            "/MCP",
            "/%6dcp",
            "/mcp;x",
            "/mcp%2f",
            "/x/../mcp",
            "/mcp#",
        ):
            add(f"path {path}", sent=headers(revision, ADMIN_TOOL), path=path)
    return found


def bodies(revision):
    """Bodies that some server might take for a call of the tool."""
    admin, harmless = call(ADMIN_TOOL, revision), call(TOOL, revision)
    meta = f',"_meta":{json.dumps(META)}' if revision == NEW else ""
    listing = message("tools/list", revision=revision)

    def whole(name):
        return f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{name},"arguments":{{}}{meta}}}}}'

    def params(name):
        return f'"params":{{"name":"{name}","arguments":{{}}{meta}}}'

    def twice(first, second):
        return f'{{"jsonrpc":"2.0","id":1,{first},{second}}}'

    method = '"method":"tools/call"'
    texts = {
        "a batch": f"[{admin}]",
        "a batch of two": f"[{listing},{admin}]",
        "two messages": f"{listing}\n{admin}",
        "text after it": f"{listing}{admin}",
        "name twice": whole('"name":"list_orders","name":"delete_order"'),
        "name twice, other order": whole('"name":"delete_order","name":"list_orders"'),
        "name twice, escaped": whole('"name":"list_orders","n\\u0061me":"delete_order"'),
        "params twice": twice(f"{method},{params(TOOL)}", params(ADMIN_TOOL)),
        "params twice, other order": twice(f"{method},{params(ADMIN_TOOL)}", params(TOOL)),
        "method twice": twice('"method":"tools/list"', f"{method},{params(ADMIN_TOOL)}"),
        "method twice, other order": twice(f"{method},{params(ADMIN_TOOL)}", '"method":"tools/list"'),
        "jsonrpc twice": admin.replace("{", '{"jsonrpc":"1.0",', 1),
        "a key in capitals": whole('"name":"list_orders","NAME":"delete_order"'),
        "escaped name": whole('"name":"delete\\u005forder"'),
        "escaped key": whole('"n\\u0061me":"delete_order"'),
        "escaped method": admin.replace("tools/call", "tools\\/call"),
        "escaped method, in hexadecimal": admin.replace("tools/call", "t\\u006fols/call"),
        "method in capitals": admin.replace("tools/call", "TOOLS/CALL"),
        "method with a space": admin.replace("tools/call", "tools/call "),
        "method with a zero": admin.replace("tools/call", "tools/call\\u0000"),
        "a list as name": whole('"name":["delete_order"]'),
        "an object as name": whole('"name":{"delete_order":1}'),
        "name in capitals": whole('"Name":"delete_order"'),
        "name with a space": whole('"name":"delete_order "'),
        "name with a zero": whole('"name":"delete_order\\u0000"'),
        "name with a zero in front": whole('"name":"\\u0000delete_order"'),
        "no name": whole('"tool":"delete_order"'),
        "no version": admin.replace('"jsonrpc": "2.0", ', ""),
        "no id": admin.replace('"id": 1, ', ""),
        "null as id": admin.replace('"id": 1', '"id": null'),
        "a response too": admin.replace('"method"', '"result":{},"method"'),
        "a response, too, after it": admin[:-1] + ',"result":{}}',
        "an error too": admin.replace('"method"', '"error":{"code":1,"message":""},"method"'),
        "white space first": f" \r\n\t{admin}",
        "a form feed first": f"\f{admin}",
        "a comment": f"/* */{admin}",
        "a comma at the end": admin[:-1] + ",}",
        "BOM": f"\ufeff{admin}",
        "8 KiB first": padded(admin, 8 * 1024),
        "64 KiB first": padded(admin, 64 * 1024),
        "1 MiB first": padded(admin, 1024 * 1024),
        "1 MiB of white space": " " * 1024 * 1024 + admin,
        "1 MiB in the params": admin.replace('"arguments"', f'"pad":"{"x" * 1024 * 1024}","arguments"'),
        "200 levels first": admin.replace("{", '{"pad":' + "[" * 200 + "]" * 200 + ",", 1),
        "NaN first": admin.replace("{", '{"pad":NaN,', 1),
        "a large number first": admin.replace("{", '{"pad":1e999,', 1),
        "a surrogate first": admin.replace("{", '{"pad":"\\ud800",', 1),
        "a control character first": admin.replace("{", '{"pad":"\t",', 1),
        "a surrogate": whole('"name":"delete_order\\ud800"'),
        "single quotes": admin.replace('"', "'"),
        "a form": f"message={admin}",
        "an event": f"data: {admin}\n\n",
        "a task": admin.replace('"arguments"', '"task":{"ttl":60000},"arguments"'),
        "another tool inside": harmless.replace('"arguments": {}', f'"arguments": {{}}, "params": {admin}'),
    }
    found = [(what, text.encode()) for what, text in texts.items()]
    found += [
        (f"{code}", admin.encode(code)) for code in ("UTF-16", "UTF-16-LE", "UTF-16-BE", "UTF-32", "UTF-7")
    ]
    found.append(
        (
            "a byte that is not UTF-8 first",
            admin.replace("{", '{"pad":"X",', 1).encode().replace(b"X", b"\xff"),
        )
    )
    found.append(("an overlong slash", admin.encode().replace(b"tools/call", b"tools\xc0\xafcall")))
    return found


def padded(text, size):
    return text.replace("{", f'{{"pad":"{"x" * size}",', 1)
