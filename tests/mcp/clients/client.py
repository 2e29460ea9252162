"""client.py http|fastmcp|stdio PROGRAM: a client of the Python SDK, of the version that is installed, or of
fastmcp; with `stdio`, it talks to this program of Node.js, as a desktop program would. It prints its steps.
`SETTINGS` is JSON: `url`, `era`, `seconds`, `agent`, and for some `metadataUrl` or `options`."""

import json
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from importlib.metadata import version
from urllib.parse import parse_qsl, urlsplit

import anyio

SETTINGS = json.loads(os.environ["SETTINGS"])
REDIRECT = "http://127.0.0.1:1/callback"


def report(step, **what):
    print(json.dumps({"step": step, **what}), flush=True)


class Storage:
    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class UserAgent:
    """The user's browser: the client opens a URL, and later asks for the parameters of the redirect."""

    async def open(self, url):
        run = await anyio.run_process([SETTINGS["agent"], url], stderr=subprocess.STDOUT)
        self.redirect = dict(parse_qsl(urlsplit(run.stdout.decode().strip()).query))

    async def redirected(self):
        from mcp.shared import auth

        if hasattr(auth, "AuthorizationCodeResult"):
            return auth.AuthorizationCodeResult(**self.redirect)
        return self.redirect["code"], self.redirect["state"]


def sign_in():
    from mcp.client.auth import OAuthClientProvider
    from mcp.shared.auth import OAuthClientMetadata

    agent = UserAgent()
    metadata = OAuthClientMetadata(
        client_name="A Python client",
        redirect_uris=[REDIRECT],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        token_endpoint_auth_method="none",
    )
    return OAuthClientProvider(
        server_url=SETTINGS["url"],
        client_metadata=metadata,
        storage=Storage(),
        redirect_handler=agent.open,
        callback_handler=agent.redirected,
        client_metadata_url=SETTINGS.get("metadataUrl"),
    )


class Changes:
    """Counts the notifications of a changed list of tools."""

    count = 0

    async def __call__(self, message):
        message = getattr(message, "root", message)
        self.count += getattr(message, "method", "") == "notifications/tools/list_changed"

    async def subscribed(self, client, *, task_status):
        async with client.listen(tools_list_changed=True) as subscription:
            task_status.started()
            async for _ in subscription:
                self.count += 1


@asynccontextmanager
async def first(changes):
    """Version 1 of the SDK."""
    import httpx
    from mcp.client.session import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async with httpx.AsyncClient(auth=sign_in(), timeout=60) as http:
        async with streamable_http_client(SETTINGS["url"], http_client=http) as (read, write, _):
            async with ClientSession(read, write, message_handler=changes) as session:
                report("connect", protocol=(await session.initialize()).protocolVersion)
                yield session


@asynccontextmanager
async def second(changes):
    """Version 2 of the SDK."""
    import httpx2
    from mcp.client.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client
    from mcp.client.streamable_http import streamable_http_client

    async with httpx2.AsyncClient(auth=sign_in(), timeout=60) as http:
        if sys.argv[1] == "http":
            transport = streamable_http_client(SETTINGS["url"], http_client=http)
        else:
            command = [*sys.argv[2:], SETTINGS["url"], *SETTINGS["options"]]
            transport = stdio_client(
                StdioServerParameters(command="node", args=command, env=dict(os.environ))
            )
        async with Client(transport, mode=SETTINGS["era"], message_handler=changes) as client:
            report("connect", protocol=client.protocol_version)
            async with anyio.create_task_group() as tasks:
                if client.protocol_version >= "2026-07-28":
                    await tasks.start(changes.subscribed, client)
                yield client
                tasks.cancel_scope.cancel()


@asynccontextmanager
async def fastmcp(changes):
    from fastmcp import Client

    os.environ["BROWSER"] = f"{SETTINGS['agent']} %s &"
    async with Client(SETTINGS["url"], auth="oauth", message_handler=changes) as client:
        report("connect", protocol=client.session.protocol_version)
        yield client


def kind_of_client():
    if sys.argv[1] == "fastmcp":
        return fastmcp
    return first if version("mcp").startswith("1.") else second


async def main():
    kind, changes, progress = kind_of_client(), Changes(), 0
    reports_progress = "progress_handler" if kind is fastmcp else "progress_callback"

    async def progressed(*_):
        nonlocal progress
        progress += 1

    async with kind(changes) as client:

        async def call(tool, **arguments):
            result = await client.call_tool(tool, arguments, **{reports_progress: progressed})
            return result.content[0].text

        async def attempt(step, tool, **arguments):
            try:
                report(step, text=await call(tool, **arguments))
            except Exception as error:
                report(step, error=repr(error))

        listed = await client.list_tools()
        report("tools", tools=[tool.name for tool in getattr(listed, "tools", listed)])
        await attempt("call", "list_orders", status="open")

        began = time.monotonic()
        text = await call("get_order", seconds=SETTINGS["seconds"])
        seconds = time.monotonic() - began
        report("stream", text=text, progress=progress, changes=changes.count, seconds=seconds)
        report("refresh", text=await call("list_orders"))

        await attempt("admin", "delete_order")
        report("after", text=await call("list_orders"))
    report("end")


anyio.run(main)
