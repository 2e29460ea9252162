"""What the checks of all control planes need: checks and their count, requests, processes, manifests."""

import copy
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
TARGET = REPOSITORY / "target"
PLATFORMS = TARGET / "platforms"


class Checks:
    """Prints each check, and their number at the end. `ONLY=word` selects parts by their names."""

    def __init__(self):
        self.passed, self.failed, self.began = 0, [], time.monotonic()

    def __call__(self, claim, holds, seen=""):
        if holds:
            self.passed += 1
            print(f"  ok      {claim}", flush=True)
        else:
            self.failed.append(claim)
            print(f"  FAILED  {claim}\n          seen: {str(seen)[:1500]}", flush=True)
        return holds

    def run(self, parts, recover, stop):
        """Runs each part, and after one that ends early `recover`, so that the others have their say. At
        the end `stop`. The value is the program's status."""
        only = os.environ.get("ONLY", "")
        try:
            for part in parts:
                if only not in part.__name__:
                    continue
                print(f"{part.__doc__.splitlines()[0].rstrip('.')}:", flush=True)
                try:
                    part()
                except (TimeoutError, AssertionError, OSError, subprocess.SubprocessError) as error:
                    self(part.__name__ + " gets to its end", False, repr(error))
                    recover()
        finally:
            stop()
        return self.finish()

    def finish(self):
        seconds = time.monotonic() - self.began
        for claim in self.failed:
            print(f"failed: {claim}")
        failed = f", {len(self.failed)} failed" if self.failed else ""
        minutes, seconds = divmod(round(seconds), 60)
        print(f"{self.passed} checks passed{failed} ({minutes} min {seconds} s)", flush=True)
        return 1 if self.failed or not self.passed else 0


@dataclass
class Response:
    """What came back; without a connection the status is 0, and the body says why."""

    status: int
    headers: dict = field(default_factory=dict)
    body: str = ""

    def received(self):
        """The headers that reached the upstream service."""
        return json.loads(self.body)["headers"] if self.status == 200 else {}


def request(address, host="localhost", path="/", method="GET", token=None, headers=(), timeout=15, tls=None):
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    if tls:
        connection = http.client.HTTPSConnection(*address, timeout=timeout, context=tls)
    try:
        sent = {"host": host, **dict(headers)}
        if token:
            sent["authorization"] = f"Bearer {token}"
        connection.request(method, path, headers=sent)
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, received, response.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        return Response(0, {}, repr(error))
    finally:
        connection.close()


def until(condition, what, seconds=60):
    """The first value that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise TimeoutError(f"not within {seconds} s: {what}")


class Load:
    """Requests from several threads while it is open; `seen` counts the values of `ask()`."""

    def __init__(self, *asks, threads=2):
        self.seen, self.ended = Counter(), threading.Event()
        self.threads = [
            threading.Thread(target=self.run, args=(ask,), daemon=True)
            for ask in asks
            for _ in range(threads)
        ]

    def run(self, ask):
        while not self.ended.is_set():
            self.seen[ask()] += 1
            time.sleep(0.01)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join(20)


class Closed(Load):
    """Requests that must not get through, while it is open: `holds` if none reached the upstream service."""

    HEADERS = {"x-probe": "closed"}

    def __init__(self, upstream, *asks):
        super().__init__(*asks)
        self.upstream = upstream

    def __enter__(self):
        self.before = self.upstream.probes
        return super().__enter__()

    @property
    def holds(self):
        return self.seen and 200 not in self.seen and self.upstream.probes == self.before


class Process:
    """A program whose output goes to a file."""

    def __init__(self, arguments, log, environment=None, **options):
        self.log_file = Path(log)
        self.begin = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as output:
            self.process = subprocess.Popen(
                [str(argument) for argument in arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **options,
            )

    def running(self):
        return self.process.poll() is None

    def stop(self, seconds=30):
        if self.running():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def log(self, since=None):
        with self.log_file.open("rb") as output:
            output.seek(self.begin if since is None else since)
            return output.read().decode(errors="replace")

    def mark(self):
        """Where the log ends now, for `log`."""
        return self.log_file.stat().st_size


def objects(*files):
    """The Kubernetes objects of manifests."""
    found = []
    for file in files:
        found += [document for document in yaml.safe_load_all(Path(file).read_text()) if document]
    return found


def find(manifests, kind, name=None):
    """The only object of a kind, or the one of a name."""
    found = [o for o in manifests if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} objects: {kind} {name or ''}"
    return found[0]


def changed(manifests, *changes):
    """A copy, to which functions were applied."""
    manifests = copy.deepcopy(manifests)
    for change in changes:
        change(manifests)
    return manifests


def print_log(process):
    """The end of its log, without Envoy's access log, where something went wrong."""
    lines = [
        line for line in process.log().splitlines() if not line.startswith('{"') and 'HTTP/1.1"' not in line
    ]
    print("\n".join("          | " + line[:300] for line in lines[-30:]), file=sys.stderr)
