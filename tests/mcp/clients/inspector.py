"""inspector.py LAUNCHER: the Inspector's command line, which keeps its tokens between commands. It prints the
steps of a session."""

import json
import os
import subprocess
import sys
import time

SETTINGS = json.loads(os.environ["SETTINGS"])


def inspector(*arguments):
    command = ["node", sys.argv[1], "--cli", SETTINGS["url"], "--transport", "http"]
    options = ["--protocol-era", SETTINGS["era"], "--callback-url", SETTINGS["callback"]]
    run = subprocess.run(
        [*command, *options, *arguments], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    if run.returncode:
        print(run.stdout, run.stderr, file=sys.stderr)
        return {"error": run.stderr}
    return json.loads(run.stdout[run.stdout.index("{") :])


def report(step, **what):
    print(json.dumps({"step": step, **what}), flush=True)


def call(step, tool, *arguments):
    began = time.monotonic()
    result = inspector("--method", "tools/call", "--tool-name", tool, *arguments)
    if "content" in result:
        report(step, text=result["content"][0]["text"], seconds=time.monotonic() - began)
    else:
        report(step, **result)


report("tools", tools=[tool["name"] for tool in inspector("--method", "tools/list")["tools"]])
call("call", "list_orders", "--tool-arg", "status=open")
call("stream", "get_order", "--tool-arg", f"seconds={SETTINGS['seconds']}")
call("refresh", "list_orders")
call("admin", "delete_order")
call("after", "list_orders")
report("end")
