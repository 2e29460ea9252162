"""What the inbound manifests of every platform promise to callers."""


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
