//! The lines of the standards: what a filter that guards a resource has to do, and what went wrong
//! in others.
//!
//! A new line is one call here and its identifier at the head of a test's name.

/// Lines that belong together.
pub struct Group {
    /// The heading: document and subject.
    pub title: &'static str,
    /// What the second column says of each line.
    pub origin: &'static str,
    /// The lines, in order.
    pub lines: &'static [Line],
}

/// One statement that a test proves.
pub struct Line {
    /// What test names carry, in lower case and with `_` for `-`.
    pub id: &'static str,
    /// How much it binds.
    pub level: &'static str,
    /// Where it stands: a section, or what went wrong elsewhere.
    pub origin: &'static str,
    /// What must be so.
    pub statement: &'static str,
    /// Whether it is for this filter.
    pub scope: Scope,
}

/// Whether a line is for this filter.
pub enum Scope {
    /// It is: a test proves it.
    Proved,
    /// It is about a feature that the filter does not have, for this reason; a test may show that
    /// nothing bad comes of it.
    NotOffered(&'static str),
    /// It is about something else, for this reason: no test can name it.
    NotApplicable(&'static str),
}

/// What the document demands.
const fn must(id: &'static str, origin: &'static str, statement: &'static str) -> Line {
    Line { id, level: "MUST", origin, statement, scope: Scope::Proved }
}

/// What the document advises.
const fn should(id: &'static str, origin: &'static str, statement: &'static str) -> Line {
    Line { level: "SHOULD", ..must(id, origin, statement) }
}

/// What the document allows, and the filter does.
const fn may(id: &'static str, origin: &'static str, statement: &'static str) -> Line {
    Line { level: "MAY", ..must(id, origin, statement) }
}

/// What follows from the document for a filter like this one.
const fn own(id: &'static str, origin: &'static str, statement: &'static str) -> Line {
    Line { level: "own", ..must(id, origin, statement) }
}

impl Line {
    const fn not_offered(self, why: &'static str) -> Self {
        Self { scope: Scope::NotOffered(why), ..self }
    }

    const fn not_applicable(self, why: &'static str) -> Self {
        Self { scope: Scope::NotApplicable(why), ..self }
    }
}

const SECTION: &str = "section";
const SEEN: &str = "seen in";

/// Every line.
pub const GROUPS: &[Group] = &[
    Group {
        title: "RFC 6749: the framework",
        origin: SECTION,
        lines: &[
            must(
                "RS-6749-01",
                "7",
                "a request passes only with a token that is valid, has not expired and whose scope covers the resource",
            ),
            must(
                "RS-6749-02",
                "3.3",
                "scopes are compared as whole words, case-sensitive, in any order: `read` is not `read:all`, `reader` or `READ`",
            ),
            must("CL-6749-01", "3.2", "a token request is a POST of a form"),
            must("CL-6749-02", "3.2", "the query of an endpoint is kept; a fragment is a mistake"),
            must(
                "CL-6749-03",
                "3.2",
                "no parameter is sent twice, an empty hint is left out, and no extra parameter has the name of one that the filter sends",
            ),
            must(
                "CL-6749-04",
                "2.3.1",
                "Basic is base64(form-encoded id `:` form-encoded secret), with every odd character in both; a raw form for servers that do not decode",
            ),
            must(
                "CL-6749-05",
                "2.3, 2.3.1",
                "exactly one way to authenticate for each call; credentials never in the URL, in the body only if configured",
            ),
            must("CL-6749-06", "1.6, 3.2", "calls go over TLS; plain `http` is warned of"),
            must(
                "CL-6749-07",
                "3.3",
                "a scope that is asked for is words of its character set; anything else is a mistake",
            ),
            must(
                "CL-6749-08",
                "4.3.2",
                "the password grant sends `username` and `password`, and `scope` if there is one",
            ),
            must(
                "CL-6749-09",
                "4.4.2",
                "client credentials are sent with authentication; without only if `none` is said, and that is warned of",
            ),
            should("CL-6749-10", "4.4.3", "a refresh token for client credentials is not used"),
            must(
                "CL-6749-11",
                "5.1",
                "`access_token` and `token_type` are needed, the type in any case; a token may be long",
            ),
            may(
                "CL-6749-12",
                "5.1",
                "without `expires_in` a default holds, never for ever; text and fractions are read; nothing overflows; what lives no time is not kept",
            ),
            must(
                "CL-6749-13",
                "3.3, 5.1",
                "the scope of an answer changes nothing in what is asked for next: none is made up, none lost",
            ),
            must(
                "CL-6749-14",
                "5.2",
                "an answer with `error` is an error, 200 too; its text stands in no log",
            ),
            must(
                "CL-6749-15",
                "6",
                "a refresh asks for no more than was granted; a new refresh token takes the place of the old, none leaves it",
            ),
            own(
                "CL-6749-16",
                "5.2",
                "`invalid_grant` on refresh: the refresh token is forgotten and the grant run again; other errors wait for the back-off",
            ),
            must("CL-6749-17", "7.1", "a token of another type than Bearer is not used"),
        ],
    },
    Group {
        title: "RFC 6750: bearer tokens",
        origin: SECTION,
        lines: &[
            must(
                "RS-6750-01",
                "2.1",
                "`Authorization: Bearer` is read, the scheme in any case, with one or more spaces (RFC 9110 section 11.1)",
            ),
            must("RS-6750-02", "2.1", "what is not a `b64token` is refused without a call"),
            must(
                "RS-6750-03",
                "2, 3.1",
                "a repeated token, or one in two places, is 400 `invalid_request`",
            ),
            must(
                "RS-6750-04",
                "2.2",
                "a token in a form body counts only with the right type, encoding and method",
            )
            .not_offered("a filter would have to hold every body back; such a token is none"),
            should(
                "RS-6750-05",
                "2.3",
                "tokens in the query are off by default; where they are on, the answer gets `Cache-Control: private` and the parameter is taken out",
            ),
            must(
                "RS-6750-06",
                "3",
                "every 401 has a `Bearer` challenge with at least one parameter",
            ),
            should("RS-6750-07", "3.1", "no credentials: 401, and a challenge without an error"),
            should(
                "RS-6750-08",
                "3.1",
                "a token that is expired, revoked, malformed or unknown: 401 `invalid_token`",
            ),
            should(
                "RS-6750-09",
                "3.1",
                "too little scope: 403 `insufficient_scope` with the scope that is needed",
            ),
            should("RS-6750-10", "3.1", "a malformed request: 400 `invalid_request`"),
            must(
                "RS-6750-11",
                "3",
                "each parameter stands once in a challenge, in its character set, quoted right; nothing that a client or a server sent comes back",
            ),
            own("RS-6750-12", "3.1", "error codes of challenges are registered ones"),
            must("RS-6750-13", "5.2, 5.3", "no token stands in logs, statistics or answers"),
            own("RS-6750-14", "2.1", "another scheme counts as no credentials"),
        ],
    },
    Group {
        title: "RFC 7662: introspection",
        origin: SECTION,
        lines: &[
            must(
                "CL-7662-01",
                "2.1",
                "a POST with the token form-encoded, `token_type_hint`, and `Accept: application/json`",
            ),
            must(
                "CL-7662-02",
                "2.1, 4",
                "the call is authenticated; without only if `none` is said",
            ),
            should("CL-7662-03", "4", "GET is never used"),
            must("CL-7662-04", "4", "the server's certificate and name are verified"),
            must("RS-7662-01", "2.2", "only the JSON boolean `true` is active"),
            must(
                "RS-7662-02",
                "2.2",
                "an answer that is no JSON object, breaks off or is too large is the server's failure, not an inactive token",
            ),
            must(
                "RS-7662-03",
                "2.3",
                "400, 401 and 403 are about the filter's own credentials: 502 to the caller, counted, nothing kept",
            ),
            must(
                "RS-7662-04",
                "4",
                "no kept answer serves at or after `exp`, and none is kept for longer than `max_ttl`; `exp` counts even if `active` is true",
            ),
            may("RS-7662-05", "2.2", "an answer without `exp` is kept for `max_ttl`"),
            own(
                "RS-7662-06",
                "2.2",
                "`nbf` in the future refuses; times may be whole, fractional or text, and odd ones neither overflow nor help",
            ),
            may(
                "RS-7662-07",
                "2.2",
                "`aud` is one or a list; no `scope` means none; a list of scopes is read where one is configured",
            ),
            own(
                "RS-7662-08",
                "2.2",
                "what is kept depends on the endpoint, the client, the token and every parameter of the call",
            ),
            own(
                "RS-7662-09",
                "4",
                "bad tokens are no lever against the server: syntax first, short memory of refusals, one call for all that wait, a cap",
            ),
            own(
                "RS-7662-10",
                "2.2",
                "what the server itself calls a refresh or ID token is refused; the hint is no such check",
            ),
            must("RS-7662-11", "5", "the service gets the configured claims and no others"),
        ],
    },
    Group {
        title: "RFC 7521, RFC 7523, RFC 10070: assertions",
        origin: "document and section",
        lines: &[
            must(
                "CL-7523-01",
                "7521 4.2, 7523 2.2",
                "`client_assertion_type`, one JWT as `client_assertion`, and a `client_id` that is its `sub`",
            ),
            must(
                "CL-7523-02",
                "7523 3",
                "`iss` and `sub` are the client, `exp` is near, `jti` is new; it is signed, with a `kid` if one is set",
            ),
            must(
                "CL-7523-03",
                "7523 2.1",
                "the JWT bearer grant sends one JWT as `assertion`, anew where no refresh token came",
            ),
            own("CL-7523-04", "7523 3", "each call has an assertion of its own"),
            must(
                "CL-7523-05",
                "7521 4.2.1",
                "`invalid_client` is not answered by asking again at once",
            ),
            must(
                "CL-10070-01",
                "10070",
                "`aud` is what is configured, the issuer identifier, one string; never learnt from an answer",
            ),
            must(
                "CL-10070-02",
                "10070",
                "`typ` is `client-authentication+jwt`, or what is configured",
            ),
        ],
    },
    Group {
        title: "RFC 8693: token exchange",
        origin: SECTION,
        lines: &[
            must("RS-8693-01", "4.1", "only the outermost `act` counts for access"),
            must(
                "CL-8693-01",
                "2.1",
                "`subject_token` with its type; `resource`, `audience`, `scope`, `requested_token_type` if they are set",
            ),
            must(
                "CL-8693-02",
                "2.1",
                "`actor_token_type` goes with `actor_token` and never without",
            ),
            must(
                "CL-8693-03",
                "2.2.1",
                "`issued_token_type` is there and is what was asked for; a token of type `N_A` is not put on requests",
            ),
            own(
                "CL-8693-04",
                "2.2.1",
                "what is kept depends on the caller's token and all else that was asked, and never outlives that token",
            ),
            own(
                "CL-8693-05",
                "2.2.2",
                "a caller whose token is not exchanged gets 401 or 403, or 502 and 503 if the server fails; its token never goes on",
            ),
        ],
    },
    Group {
        title: "RFC 8705: certificate-bound tokens",
        origin: SECTION,
        lines: &[
            must(
                "RS-8705-01",
                "3",
                "`cnf.x5t#S256` is compared with the certificate of the TLS connection, never with a header",
            ),
            must("RS-8705-02", "3", "no certificate or another one: 401 `invalid_token`"),
            own(
                "RS-8705-03",
                "3",
                "`required` refuses tokens that are not bound; `optional` and `off` still refuse bound ones that are not proved",
            ),
            own("RS-8705-04", "3", "the binding is checked on every request, kept answer or not"),
            must(
                "CL-8705-01",
                "2",
                "with `tls_client_auth` the request has `client_id` and no secret; the certificate is the Envoy cluster's",
            ),
            must("CL-8705-02", "5", "`mtls_endpoint_aliases` come first where mutual TLS is used")
                .not_offered("endpoints are configured, not read from metadata"),
        ],
    },
    Group {
        title: "RFC 8707: resource indicators",
        origin: SECTION,
        lines: &[
            must(
                "CL-8707-01",
                "2",
                "`resource` is an absolute URI without fragment; several are several parameters",
            ),
            own(
                "CL-8707-02",
                "2.2",
                "another resource is another token; `invalid_target` is asked about again in back-off only",
            ),
        ],
    },
    Group {
        title: "RFC 7515: JSON Web Signature",
        origin: SECTION,
        lines: &[
            must(
                "RS-7515-01",
                "5.2",
                "a token is signed by the key of its issuer over header and payload as they were sent",
            ),
            must(
                "RS-7515-02",
                "4.1.1, 10.7",
                "an algorithm that is not supported makes a token invalid; a forged one is tried with no other",
            ),
            must(
                "RS-7515-03",
                "4.1.11",
                "what is critical and not understood makes a token invalid, as an empty or malformed `crit` does",
            ),
            own("RS-7515-04", "4.1.3, D", "`jwk`, `x5c` and `x5t` in a token give it no key"),
            own("RS-7515-05", "4.1.2, 4.1.5", "nobody is called because of `jku` or `x5u`"),
            own("RS-7515-06", "4.1.4", "`kid` is text that is compared, whatever it contains"),
            must("RS-7515-07", "4", "names of header parameters are unique"),
            must(
                "RS-7515-08",
                "2",
                "base64url without padding, line breaks, white space or other characters",
            ),
            own(
                "RS-7515-09",
                "2",
                "bits after the last byte are zero, so that a token has one spelling",
            ),
            must("RS-7515-10", "5.2", "a header is a JSON object in UTF-8, with `alg`"),
            must(
                "RS-7515-11",
                "7.1",
                "a JWS in compact form has three parts; other forms are not read",
            ),
            own("RS-7515-12", "6, D", "without `kid`, at most five keys are tried"),
        ],
    },
    Group {
        title: "RFC 7517: JSON Web Key",
        origin: SECTION,
        lines: &[
            must(
                "RS-7517-01",
                "4.2, 4.3, 4.4",
                "a key whose `use`, `key_ops` or `alg` is for something else verifies nothing",
            ),
            own(
                "RS-7517-02",
                "5, 9.2",
                "keys of other kinds, secrets and private keys in a set are left out",
            ),
            must(
                "RS-7517-03",
                "5",
                "members and keys that are not understood are ignored; keys of one `kid` are all tried",
            ),
            own(
                "RS-7517-04",
                "5",
                "a set that is empty, invalid or too large is a failed fetch; older keys serve for `stale_if_error`",
            ),
            own("RS-7517-05", "5", "what a withdrawn key has verified goes with it"),
            own(
                "RS-7517-06",
                "4.5",
                "an unknown `kid` causes one fetch in 30 seconds, and 503 until then",
            ),
        ],
    },
    Group {
        title: "RFC 7518: JSON Web Algorithms",
        origin: SECTION,
        lines: &[
            should("RS-7518-01", "3.1", "RS256 and ES256, and RS384, RS512 and ES384"),
            own("RS-7518-02", "3.2", "no HMAC, for which a public key would be the secret"),
            own(
                "RS-7518-03",
                "3.1",
                "the key decides on the algorithm, and the configuration on which are accepted",
            ),
            must(
                "RS-7518-04",
                "3.4",
                "a signature by ECDSA is r and s, each of the size of the field",
            ),
            must("RS-7518-05", "3.3", "a signature by RSA is of the size of the modulus"),
            must(
                "RS-7518-06",
                "3.3, 6.2",
                "RSA keys have 2048 bits or more; points are on the curve that is named",
            ),
        ],
    },
    Group {
        title: "RFC 7519: JSON Web Token",
        origin: SECTION,
        lines: &[
            own("RS-7519-01", "6", "a token without a signature is none"),
            must("RS-7519-02", "4", "names of claims are unique, whatever their escapes"),
            must(
                "RS-7519-03",
                "7.2",
                "a payload is a JSON object in UTF-8; nested tokens are not read",
            ),
            own("RS-7519-04", "7.2", "a signature is one of its own token only"),
            own("RS-7519-05", "5.1", "`typ` is compared without regard to case and `application/`"),
            must(
                "RS-7519-06",
                "2, 4.1.4, 4.1.5",
                "times are numbers, possibly with fractions; what is no time is one that does not let a token pass",
            ),
            must("RS-7519-07", "4.1.4", "a token is not accepted at or after `exp`"),
            must(
                "RS-7519-08",
                "4.1.3",
                "one audience or a list, of which one is ours; compared as text",
            ),
            must("RS-7519-09", "4.1.1", "issuers are compared as text, byte for byte"),
        ],
    },
    Group {
        title: "RFC 8414: metadata of authorization servers",
        origin: SECTION,
        lines: &[
            must(
                "CL-8414-01",
                "3.1",
                "the well-known path is inserted between host and path; that of OpenID Connect is appended, and comes second",
            ),
            must("CL-8414-02", "3.3", "metadata of another `issuer` is not used"),
            own(
                "CL-8414-03",
                "3.3",
                "keys on another origin need a configured `jwks_uri` and `cluster`",
            ),
            own("CL-8414-04", "3", "a failure is followed by a pause, whoever asks"),
        ],
    },
    Group {
        title: "RFC 9068: JWT access tokens",
        origin: SECTION,
        lines: &[
            must(
                "RS-9068-01",
                "4",
                "`typ` is `at+jwt`, in any case and with or without `application/`; ID, refresh and logout tokens are refused",
            ),
            must(
                "RS-9068-02",
                "4",
                "issuer, audience and signature are verified, by an allowed algorithm and a key of that issuer",
            ),
            must("RS-9068-03", "2.2, 4", "`exp` is required, and verified"),
        ],
    },
    Group {
        title: "RFC 9396: rich authorization requests",
        origin: SECTION,
        lines: &[must("RS-9396-01", "9.2", "rules can match `authorization_details`").not_offered(
            "rules compare plain claims; of objects one can only ask whether they are there",
        )],
    },
    Group {
        title: "RFC 9449: DPoP",
        origin: SECTION,
        lines: &[
            must("RS-9449-01", "7.1", "a DPoP proof is verified in full").not_offered(DPOP),
            must(
                "RS-9449-02",
                "7.2",
                "a token that is bound to a DPoP key is refused under `Bearer`",
            ),
            must("RS-9449-03", "6.2", "`cnf.jkt` is read from the answer and proved")
                .not_offered(DPOP),
            should("RS-9449-04", "11.1", "proofs are remembered against replay").not_offered(DPOP),
            must("RS-9449-05", "7.1", "challenges name the DPoP scheme").not_offered(DPOP),
            must("RS-9449-06", "9", "nonces are asked for").not_offered(DPOP),
            own(
                "RS-9449-07",
                "7.2",
                "a token with a `cnf` that the filter cannot check is refused",
            ),
        ],
    },
    Group {
        title: "RFC 9470: step-up authentication",
        origin: SECTION,
        lines: &[
            must(
                "RS-9470-01",
                "3",
                "`acr` or `auth_time` not enough: 401 `insufficient_user_authentication` with `acr_values` and `max_age`",
            ),
            own(
                "RS-9470-02",
                "6.2",
                "both come from the introspection answer; absent or unreadable is not enough",
            ),
            own(
                "RS-9470-03",
                "3",
                "`max_age` is judged when the request comes: a cached response ages",
            ),
        ],
    },
    Group {
        title: "RFC 9700: best current practice",
        origin: SECTION,
        lines: &[
            must(
                "RS-9700-01",
                "2.3",
                "the audience is checked on each request; a configuration without one is warned of",
            ),
            should("RS-9700-02", "2.2.1", "sender-constrained tokens are supported (mutual TLS)"),
            must("RS-9700-03", "4.3.2", "no token is taken from the query by default"),
            must(
                "RS-9700-04",
                "4.9",
                "tokens are secrets: cache keys are hashes, stored tokens are encrypted, and none is forwarded by default",
            ),
            must(
                "RS-9700-05",
                "4.13",
                "headers that the filter sets are taken out of what clients send",
            ),
            must("CL-9700-01", "2.4", "the password grant is legacy: it is warned of"),
            may("CL-9700-02", "2.5", "asymmetric client authentication: a signed JWT, mutual TLS"),
            own("CL-9700-03", "4.14", "no refresh token is sent twice, by whichever workers"),
            own(
                "CL-9700-04",
                "2.3",
                "a token goes where a rule sends it and nowhere else, redirects included",
            ),
        ],
    },
    Group {
        title: "RFC 9701: signed introspection answers",
        origin: SECTION,
        lines: &[
            must("RS-9701-01", "5", "a signed answer is verified")
                .not_offered("answers come over TLS from the server itself"),
            must("RS-9701-02", "8.1", "a signed answer is no access token")
                .not_offered("no JWT is read as a token or as an answer"),
        ],
    },
    Group {
        title: "RFC 9728: protected resource metadata",
        origin: SECTION,
        lines: &[
            must(
                "RS-9728-01",
                "3, 3.2",
                "GET of the well-known path gives the document as JSON, without a token",
            ),
            must(
                "RS-9728-02",
                "2",
                "`resource` is required, other members are those of the standard, and no list without elements is told",
            ),
            must(
                "RS-9728-03",
                "3.1",
                "the well-known part goes between host and path of `resource`; its query is kept",
            ),
            must(
                "RS-9728-04",
                "3.3",
                "`resource` is told as it is configured; what would need another form is a mistake",
            ),
            may("RS-9728-05", "5.1", "every challenge has `resource_metadata`"),
            own(
                "RS-9728-06",
                "3",
                "nothing in a request moves the resource: `Host` and `X-Forwarded-*` do not count",
            ),
        ],
    },
    Group {
        title: "Model Context Protocol: authorization, for servers",
        origin: SECTION,
        lines: &[
            must(
                "MCP-01",
                "Overview",
                "RFC 9728 metadata with its authorization servers, found by challenge or well-known path",
            ),
            should("MCP-02", "Scope Selection", "a 401 names the scope that is needed"),
            must("MCP-03", "Token Handling", "tokens for another audience are refused"),
            should(
                "MCP-04",
                "Runtime Insufficient Scope",
                "403 `insufficient_scope` with every scope that is needed, in one challenge, with the metadata",
            ),
            must("MCP-05", "Step-Up", "a broader scope satisfies a narrower need"),
            must("MCP-06", "Error Handling", "401, 403 and 400 as specified"),
            must("MCP-07", "Token Handling", "the client's token never goes on to the service"),
            must(
                "MCP-08",
                "Token Requirements",
                "every request of a session carries its token in the header, never in the query",
            ),
            should(
                "MCP-09",
                "Refresh Tokens",
                "`offline_access` in `scopes_supported` or in a rule's scope is warned of",
            ),
            must("MCP-10", "Resource Parameter", "as a client: `resource` in token requests"),
            must(
                "MCP-11",
                "OAuth Client Credentials",
                "client credentials with a signed assertion or a secret, `resource` included",
            ),
            must(
                "MCP-12",
                "Enterprise-Managed Authorization",
                "an assertion is obtained by exchange at one server and used at another",
            )
            .not_offered("an assertion is configured, or made by another program, not obtained"),
        ],
    },
    Group {
        title: "HTTP",
        origin: SECTION,
        lines: &[
            must("RS-HTTP-01", "RFC 9110 11.6.1", "every 401 has `WWW-Authenticate`"),
            own(
                "RS-HTTP-02",
                "RFC 9110 15.6",
                "503 with `Retry-After` for a server that cannot answer, 502 for an answer that is none",
            ),
            own(
                "RS-HTTP-03",
                "RFC 9111 5.2",
                "the filter's refusals are `Cache-Control: no-store`",
            ),
            own("RS-HTTP-04", "gRPC", "gRPC requests get a `grpc-status` instead of a body"),
            own("RS-HTTP-05", "Fetch", "a CORS preflight may be let through, and no other OPTIONS"),
        ],
    },
    Group {
        title: "What went wrong elsewhere (D1): one answer for two questions",
        origin: SEEN,
        lines: &[
            own(
                "D1-01",
                "Oathkeeper CVE-2026-33496",
                "a token that is active at one server is asked about at the other",
            ),
            own("D1-02", "Duende GHSA-84rm-mhfq-f476", "so it is while both are being asked"),
            own("D1-03", "Tyk, Couper, liboauth2", "an answer's key holds more than the token"),
            own("D1-04", "Quarkus 56319", "the key is made of all parts"),
            own("D1-05", "Camel CVE-2026-94386", "another scope or secret fetches another token"),
            own("D1-06", "FastMCP CVE-2025-69196", "parameters such as `resource` are in the key"),
            own("D1-07", "Tyk", "two users of a client get two tokens"),
            own("D1-08", "nextjs-auth0 2382", "exchanges for two users never share a result"),
            own("D1-09", "Kong", "parts of a key cannot run into each other"),
            own("D1-10", "lua-resty-openidc 526", "several configurations in one VM keep apart"),
            own("D1-11", "Skipper 4196", "two clients of one server keep apart"),
        ],
    },
    Group {
        title: "What went wrong elsewhere (D2): kept answers that skip checks or live too long",
        origin: SEEN,
        lines: &[
            own("D2-01", "Oathkeeper CVE-2021-32701", "each rule judges a cached response itself"),
            own("D2-02", "liboauth2", "a long time to live does not outlive `exp`"),
            own(
                "D2-03",
                "Kong",
                "a revoked token ends with its time to live; zero means that nothing is kept",
            ),
            own(
                "D2-04",
                "Kong",
                "an `exp` or `expires_in` of zero, below, now or no number never means for ever",
            ),
            own("D2-05", "mod_auth_openidc", "an `exp` far away is kept like any other"),
            own("D2-06", "RFC 8705", "another certificate does not get a cached response"),
        ],
    },
    Group {
        title: "What went wrong elsewhere (D3): floods and memory",
        origin: SEEN,
        lines: &[
            own(
                "D3-01",
                "Kong",
                "any number of bad tokens takes bounded memory and pushes out no good one",
            ),
            own(
                "D3-02",
                "lua-resty-openidc 523",
                "refusals are kept for a short time, in a room of their own, or not at all",
            ),
            own("D3-03", "mod_auth_openidc", "what is fetched anew on an unknown key is throttled")
                .not_applicable("no keys are fetched"),
            own(
                "D3-04",
                "authlib CVE-2025-61920, x/oauth2 CVE-2025-22868",
                "a token has a largest length, checked first; dots cost nothing",
            ),
            own("D3-05", "x/oauth2", "an answer has a largest length"),
        ],
    },
    Group {
        title: "What went wrong elsewhere (D4): spoofed headers, exempt paths",
        origin: SEEN,
        lines: &[
            own(
                "D4-01",
                "Kong, APISIX, Caddy",
                "a client's header never passes for a claim that is absent, on whatever path",
            ),
            own("D4-02", "oauth2-proxy CVE-2025-64484", "nor under another spelling"),
            own(
                "D4-03",
                "mod_auth_openidc",
                "a claim with line breaks, NUL, other than ASCII or too long splits no header",
            ),
            own(
                "D4-04",
                "Envoy CVE-2024-45806",
                "a client's certificate is never read from a header",
            ),
            own(
                "D4-05",
                "oauth2-proxy",
                "rules compare method, host and path in normal form, whatever the query, other headers and escapes say",
            ),
            own(
                "D4-06",
                "Kong",
                "what no rule fits is refused; without rules everything needs a token",
            ),
        ],
    },
    Group {
        title: "What went wrong elsewhere (D5): tokens that should not count",
        origin: SEEN,
        lines: &[
            own("D5-01", "lua-resty-openidc, APISIX 1741", "`active` is read strictly"),
            own(
                "D5-02",
                "mod_auth_openidc GHSA-wcvh-g65p-v576",
                "`aud` is compared exactly, absent is not met",
            ),
            own(
                "D5-03",
                "nuts-node CVE-2026-41164",
                "a refresh token, ID token or presentation is no access token",
            ),
            own(
                "D5-04",
                "SciTokens CVE-2026-32716",
                "scopes are no prefixes, and only spaces part them",
            ),
            own(
                "D5-05",
                "Cloudreve CVE-2026-54560",
                "a claim that is absent, null or of another type meets nothing",
            ),
            own("D5-06", "Spring CVE-2022-31690", "an empty scope is none"),
            own("D5-07", "authlib CVE-2024-37568", "algorithms of JWTs are on a list"),
            own(
                "D5-08",
                "Frappe 42693",
                "a server that calls every token inactive shows in the statistics",
            ),
            own("D5-09", "Spring 16937", "a bound token is not downgraded to a bearer token"),
        ],
    },
    Group {
        title: "What went wrong elsewhere (D6): secrets, logs, failures",
        origin: SEEN,
        lines: &[
            own(
                "D6-01",
                "Headscale GHSA-wp76-cf2j-rqq7",
                "no secret or token in logs, `Debug` or messages",
            ),
            own(
                "D6-02",
                "mod_auth_openidc",
                "a server's error text is neither logged nor repeated",
            ),
            own("D6-03", "liboauth2", "what is stored holds no token"),
            own("D6-04", "NGINX", "a token is one form parameter, whatever stands in it"),
            own("D6-05", "CVE-2025-27370", "the audience of an assertion is configured"),
            own("D6-06", "Hydra GHSA-3p3g-vpw6-4w66", "every try has its own assertion"),
            own("D6-07", "oauth2-rs", "redirects are not followed"),
            own("D6-08", "Quarkus GHSA-6hc9-cf8x-hf83", "calls in clear text are warned of"),
            own(
                "D6-09",
                "Duende",
                "while requests pass unchecked, their token is taken out all the same",
            ),
            own("D6-10", "Kong, Tyk", "a fetched token takes the place of the caller's"),
            own("D6-11", "mod_auth_openidc", "a configuration is read strictly"),
            own(
                "D6-12",
                "mod_oauth2 94",
                "every way to be refused ends in a status of 400 or above",
            ),
            own(
                "D6-13",
                "Envoy CVE-2024-45809",
                "an answer that comes after its request has gone does no harm",
            ),
            own("D6-14", "mod_auth_openidc", "requests do not change the configuration")
                .not_applicable(
                    "it is a value without interior mutability, read only once it is loaded",
                ),
        ],
    },
];

/// Why proofs of a key are not.
const DPOP: &str = "a bound token is refused instead: RS-9449-02 and RS-9449-07";
