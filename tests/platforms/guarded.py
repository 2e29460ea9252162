"""The service that the filter guards on every platform: its servers, its manifests, what callers get."""

from pathlib import Path

from rig import PLATFORMS, TARGET, changed, until
from servers import AuthorizationServer, Registry, Upstream, certificates

SECRETS = {"ORDERS_API_SECRET": "orders-api-secret", "BILLING_SECRET": "billing-secret"}
CLIENTS = {"orders-api": "orders-api-secret", "orders": "billing-secret"}
# The second one crashes on command.
IMAGES = {"0.1.0": TARGET / "image", "0.2.0": PLATFORMS / "panics"}
HOSTS = {
    "as.example.com": "127.0.9.1",
    "registry.example.com": "127.0.9.2",
    "billing.example.com": "127.0.9.3",
}


class Servers:
    """What the manifests call, with TLS, and `hosts`, the names of this sandbox by their addresses."""

    def __init__(self, folder, hosts):
        names = "".join(f"{address} {name}\n" for name, address in (HOSTS | hosts).items())
        Path("/etc/hosts").write_text(f"127.0.0.1 localhost\n{names}")
        self.issued = certificates(folder / "certificates", [*HOSTS, "other.example.com"])

        def at(name):
            return (HOSTS[name], 443), self.issued[name]

        address, certificate = at("as.example.com")
        self.authorization_server = AuthorizationServer(address, CLIENTS, certificate)
        self.registry = Registry(*at("registry.example.com"), dict(IMAGES))
        self.billing = Upstream(*at("billing.example.com"))

    def good_token(self, **claims):
        return a_token(self.authorization_server, **claims)


class Guard:
    """The filter of the inbound manifests: `document_of` finds its document in them, and `ask()` sends a
    request to what it guards."""

    def __init__(self, document_of, ask):
        self.document_of, self.ask, self.turn = document_of, ask, 0

    def realm(self, name):
        """A change that shows in the challenge as soon as it is in force."""
        return lambda manifests: self.document_of(manifests).update(realm=name)

    def typo(self, manifests):
        """A change after which the filter rejects the document."""
        rule = next(rule for rule in self.document_of(manifests)["rules"] if "scope" in rule)
        rule["scopes"] = rule.pop("scope")

    def in_force(self, name, seconds=60):
        until(lambda: f'realm="{name}"' in challenge(self.ask()), f"the realm {name}", seconds)

    def renew(self, apply, manifests, *changes):
        """Applies the manifests with these changes, and waits until they are in force."""
        self.turn += 1
        apply(changed(manifests, self.realm(f"turn-{self.turn}"), *changes))
        self.in_force(f"turn-{self.turn}")


class Impostor:
    """While it is open, a server's certificate has another name."""

    def __init__(self, servers, server, name):
        self.servers, self.server, self.name = servers, server, name

    def __enter__(self):
        self.server.present(self.servers.issued["other.example.com"])

    def __exit__(self, *_):
        self.server.present(self.servers.issued[self.name])


def challenge(response):
    return response.headers.get("www-authenticate", "")


def a_token(server, **claims):
    """A token that may read orders, unless the claims say otherwise."""
    usual = {"scope": "orders:read", "client_id": "shop", "sub": "alice", "aud": "https://orders.example.com"}
    return server.token(**(usual | claims))


def what_callers_get(check, ask, server):
    """`ask(token=…, method=…, headers=…)` sends a request for an order."""
    response = ask()
    challenged = response.status == 401 and 'scope="orders:read"' in challenge(response)
    check("no token: 401, and the challenge names the scope", challenged, response)
    response = ask(token=a_token(server), headers={"x-user": "mallory"})
    check("a good token: 200", response.status == 200, response)
    received = response.received()
    forwarded = received.get("x-user"), received.get("x-scope")
    check(
        "the service gets the claims, and not what the caller wrote",
        forwarded == ("alice", "orders:read"),
        received,
    )
    check("the service does not get the token", "authorization" not in received, received)
    response = ask(token=a_token(server, scope="other"))
    insufficient = response.status == 403 and "insufficient_scope" in challenge(response)
    check("a token without the scope: 403 insufficient_scope", insufficient, response)
    response = ask(token=a_token(server), method="POST")
    check("a token to read does not write: 403", response.status == 403, response)
    response = ask(token=a_token(server, aud="https://other.example.com"))
    check("a token for another service: 401", response.status == 401, response)
    response = ask(token="unknown")
    invalid = response.status == 401 and "invalid_token" in challenge(response)
    check("an unknown token: 401 invalid_token", invalid, response)
    token, before = a_token(server), server.introspections()
    statuses = {ask(token=token).status for _ in range(20)}
    calls = server.introspections() - before
    # Every worker has its own VM; they share what one of them has learned.
    check(
        "20 requests with one token: one introspection, or two",
        statuses == {200} and calls in (1, 2),
        (statuses, calls),
    )
    check("the authorization server is called by its name", server.hosts == {"as.example.com"}, server.hosts)
