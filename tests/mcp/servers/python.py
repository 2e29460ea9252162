"""An MCP server of the Python SDK on the loopback port that is its argument. It prints each tool that it
executes, with headers of the request."""

import json
import sys
from typing import Annotated

import anyio
from mcp.server.mcpserver import Context, MCPServer
from pydantic import Field

HEADERS = ("mcp-protocol-version", "mcp-param-status", "x-user", "x-scope", "authorization", "origin")

server = MCPServer("python")
# Clients of revision 2026-07-28 send such an argument in a header, too.
Status = Annotated[str, Field(json_schema_extra={"x-mcp-header": "Status"})]


def executed(tool, context):
    headers = context.request_context.request.headers
    seen = {name: headers.get(name) for name in HEADERS}
    print(f"executed {tool} {json.dumps(seen)}", flush=True)
    return f"{tool}: done"


@server.tool()
async def list_orders(context: Context, status: Status = "any") -> str:
    return executed("list_orders", context)


@server.tool()
async def get_order(context: Context, seconds: int = 0) -> str:
    """Reports its progress in its own response, and changes of the list of tools in the stream of events."""
    for second in range(seconds):
        await context.report_progress(second + 1, seconds)
        await context.notify_tools_changed()
        await context.session.send_tool_list_changed()
        await anyio.sleep(1)
    return executed("get_order", context)


@server.tool()
async def delete_order(context: Context) -> str:
    return executed("delete_order", context)


server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
