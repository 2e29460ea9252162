"""A service on Python's `wsgiref`. It listens on the socket that is its standard input."""

import json
import posixpath
import socket
from http.cookies import CookieError, SimpleCookie
from socketserver import ThreadingMixIn
from urllib.parse import parse_qs, unquote, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer


class Server(ThreadingMixIn, WSGIServer):
    """Answers while a connection is open that nothing comes on."""

    daemon_threads = True


class Handler(WSGIRequestHandler):
    """Tells the program the target as it came, as gunicorn does too."""

    def get_environ(self):
        return super().get_environ() | {"RAW_URI": self.requestline.split()[1]}

    def log_request(self, code="-", size="-"):
        """Logs errors only."""


def split(url):
    """The parts of a URL, none if it is refused."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def cookies(header):
    """The cookies by the standard library."""
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}


def bearer(header):
    """The token as Django REST framework takes it out: by splitting at white space."""
    words = header.split()
    return words[1:2] if words and words[0].lower() == "bearer" else []


def application(environ, start_response):
    target, path = environ["RAW_URI"], environ["PATH_INFO"]
    host = environ.get("HTTP_HOST", "")
    raw = split(target)
    query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
    read = {
        "service": "wsgi",
        "method": environ["REQUEST_METHOD"],
        "target": target,
        "paths": {
            "PATH_INFO": path,
            # As `http.server` looks for files.
            "file": posixpath.normpath(path),
            "urlsplit": unquote(raw.path),
        },
        "hosts": {
            "urlsplit": raw.hostname,
            "authority": split("//" + host).hostname,
            "partition": host.partition(":")[0],
        },
        "headers": {name: value for name, value in environ.items() if name.startswith("HTTP_")},
        "trailers": {},
        "query": {name: values[-1] for name, values in query.items()},
        "cookies": cookies(environ.get("HTTP_COOKIE", "")),
        "bearer": bearer(environ.get("HTTP_AUTHORIZATION", "")),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(read).encode()]


server = Server(("127.0.0.1", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=0)
server.server_name, server.server_port = server.socket.getsockname()
server.setup_environ()
server.set_app(application)
server.serve_forever()
