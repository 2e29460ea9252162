//! The filter as a client of oidc-provider.

use std::{collections::BTreeSet, net::SocketAddr};

use oauth2_filter_testbed::{
    client::Request,
    envoy::{Cluster, merge},
    story::{NotAsExpected, Page, READ, arrival, expect},
};
use serde_json::{Value, json};

use super::{INTROSPECTION, Keys, SERVER_NAME, SHORT, TOKEN};
use crate::{
    outbound::{Outbound, client, one, token_on},
    stage::{AUDIENCE, ORDER, Stage, UserTokens, grants, introspection, text, with},
};

/// Plays the steps, in an Envoy of their own.
pub(super) async fn play(
    keys: &Keys,
    server: SocketAddr,
    stage: &Stage,
    page: &mut Page,
) -> Result<Outbound, String> {
    let given = refresh_token(server).await.map_err(|error| error.to_string())?;
    let documents = documents(keys, server, &given);
    let outbound = Outbound::start(page, stage, [tls_cluster(keys)], &documents).await?;
    let scene = &Scene { server, stage, outbound: &outbound };
    page.step("client_credentials: a token is put on requests, in place of what they carry", {
        async |page| scene.client_credentials(page).await
    })
    .await;
    page.step("client_secret_post, and odd characters in id and secret", async |page| {
        scene.obtains(page, "post", "shop-post", "client_secret_post").await?;
        scene.obtains(page, "odd", "odd:client id", "client_secret_basic").await
    })
    .await;
    page.step("private_key_jwt with RS256; a token that is revoked is replaced", {
        async |page| scene.revoked(page).await
    })
    .await;
    page.step("private_key_jwt with ES256", async |page| {
        let grant = scene.obtains(page, "ec", "shop-key", "private_key_jwt").await?;
        expect("alg", text(&grant, "alg"), "ES256")
    })
    .await;
    page.step("tls_client_auth: the certificate of Envoy's cluster says who asks", {
        async |page| {
            let method = "tls_client_auth";
            let grant = scene.obtains(page, "certificate", "shop-certificate", method).await?;
            expect("the certificate's name", text(&grant, "certificate"), "DNS:shop.test")
        }
    })
    .await;
    page.step("resource (RFC 8707): a token for somebody else is refused by the service", {
        async |page| scene.another_resource(page).await
    })
    .await;
    page.step("A wrong secret: the caller is not to blame, and the server is left in peace", {
        async |page| scene.wrong_secret(page).await
    })
    .await;
    page.step("password: many requests, tokens of 3 s, each refresh token used once", {
        async |page| scene.password(page).await
    })
    .await;
    page.step("A refresh token is sent by somebody else too: the grant is lost, and run again", {
        async |page| scene.lost_grant(page).await
    })
    .await;
    page.step("refresh_token: one that was obtained elsewhere, and those that follow it", {
        async |page| scene.given_refresh_token(page, &given).await
    })
    .await;
    page.step("Token exchange: the caller's token is checked, exchanged, and stays here", {
        async |page| scene.token_exchange(page).await
    })
    .await;
    Ok(outbound)
}

/// What the steps are played with.
struct Scene<'a> {
    server: SocketAddr,
    stage: &'a Stage,
    outbound: &'a Outbound,
}

impl Scene<'_> {
    /// What the server has noted of a client's requests for tokens.
    async fn grants(&self, client_id: &str) -> Result<Vec<Value>, NotAsExpected> {
        grants(self.server, client_id).await
    }

    /// A client that has no token gets one, with one call, and by this method: what the server has
    /// noted.
    async fn obtains(
        &self,
        page: &mut Page,
        listener: &str,
        client_id: &str,
        method: &str,
    ) -> Result<Value, NotAsExpected> {
        let before = self.grants(client_id).await?.len();
        let token = self.outbound.serves(page, listener, client_id).await?;
        let grants = self.grants(client_id).await?;
        expect("the number of requests for a token", grants.len() - before, 1)?;
        let grant = grants.last().cloned().unwrap_or_default();
        let said = ["method", "alg", "typ", "certificate"].map(|name| text(&grant, name)).join(" ");
        page.say(&format!("The server says who asked for the token: {client_id} by {said}"));
        expect("the method", text(&grant, "method"), method)?;
        expect("grant_type", text(&grant, "grant_type"), "client_credentials")?;
        expect("the token that was issued", text(&grant, "access_token"), &*token)?;
        expect("the scope that was asked for", text(&grant, "scope"), READ)?;
        Ok(grant)
    }

    async fn client_credentials(&self, page: &mut Page) -> Result<(), NotAsExpected> {
        let request = Request::get(ORDER).bearer("of-the-caller");
        let token = token_on(&self.outbound.arrives(page, "basic", &request).await?)?;
        let next = self.outbound.serves(page, "basic", "shop").await?;
        expect("the next request's token", &*next, &*token)?;
        let grants = self.grants("shop").await?;
        page.say(&format!("Requests for a token, as the server says: {}.", grants.len()));
        let [grant] = &*grants else {
            return Err(NotAsExpected::new("it was not one request"));
        };
        expect("the method", text(grant, "method"), "client_secret_basic")?;
        expect("the token that was issued", text(grant, "access_token"), &*token)
    }

    async fn revoked(&self, page: &mut Page) -> Result<(), NotAsExpected> {
        let first = self.obtains(page, "rsa", "shop-key", "private_key_jwt").await?;
        expect("alg", text(&first, "alg"), "RS256")?;
        page.say("Now the token is revoked at the server, of which the filter hears nothing.");
        self.stage.revoke(page, text(&first, "access_token")).await?;
        page.say(
            "The service refuses it, so it is dropped. The assertion for the next is a new one: the \
             server takes none twice.",
        );
        let token = self.outbound.replaces(page, "rsa", text(&first, "access_token")).await?;
        let grants = self.grants("shop-key").await?;
        let [first, second] = &*grants else {
            return Err(NotAsExpected::new(format!("there were {} requests", grants.len())));
        };
        expect("the token that was issued", text(second, "access_token"), &*token)?;
        if second["jti"] == first["jti"] {
            return Err(NotAsExpected::new("the assertion is the old one"));
        }
        Ok(())
    }

    async fn another_resource(&self, page: &mut Page) -> Result<(), NotAsExpected> {
        let address = self.outbound.envoy.address("resource");
        let answer = page.exchange(address, &Request::get(ORDER)).await?;
        expect("the status", answer.status, 401)?;
        let grants = self.grants("shop").await?;
        let resource = grants.last().map(|grant| text(grant, "resource")).unwrap_or_default();
        page.say(&format!("For whom a token was asked for, as the server says: {resource}"));
        expect("resource", resource, SHORT)
    }

    async fn wrong_secret(&self, page: &mut Page) -> Result<(), NotAsExpected> {
        for _ in 0..2 {
            let reason = "oauth2_server_refused_client";
            self.outbound.refuses(page, "wrong-secret", 502, reason).await?;
        }
        let refused = self.grants("shop").await?;
        let refused = refused.iter().filter(|grant| grant["error"] == "invalid_client").count();
        page.say(&format!("Refused requests for a token, as the server says: {refused}."));
        expect("the number of requests for a token", refused, 1)
    }

    async fn password(&self, page: &mut Page) -> Result<(), NotAsExpected> {
        page.say(
            "This server counts in whole seconds, so a token of 3 s may live for 2 s only: \
             clock_skew is 1s here. The service asks about the token of every request.",
        );
        let tokens = self.renewals(page, "password", "shop-user").await?;
        let grants = self.grants("shop-user").await?;
        let Some((first, rest)) = grants.split_first() else {
            return Err(NotAsExpected::new("no token was asked for"));
        };
        expect("the first grant", text(first, "grant_type"), "password")?;
        once(rest)?;
        only_issued(&tokens, &grants)
    }

    /// Sends requests while a client's token is renewed several times: with which tokens they
    /// have arrived.
    async fn renewals(
        &self,
        page: &mut Page,
        listener: &str,
        client_id: &str,
    ) -> Result<BTreeSet<String>, NotAsExpected> {
        let calls = async || Ok::<_, NotAsExpected>(self.grants(client_id).await?.len());
        let before = calls().await?;
        let enough = async || Ok(calls().await? > before + RENEWALS);
        let load = self.outbound.load(page, listener, enough).await?;
        page.say(&format!(
            "Requests for a token, as the server says: {}. Tokens that reached the service: {}.",
            calls().await? - before,
            load.tokens.len()
        ));
        Ok(load.tokens)
    }

    async fn lost_grant(&self, page: &mut Page) -> Result<(), NotAsExpected> {
        let grants = self.grants("shop-user").await?;
        let spent = grants.iter().find_map(|grant| grant["refresh_token"].as_str());
        let spent = spent.ok_or_else(|| NotAsExpected::new("no refresh token was used"))?;
        page.say("This server then takes back everything that came of the grant.");
        let form = [("grant_type", "refresh_token"), ("refresh_token", spent)];
        let request = Request::form(TOKEN, &form).basic("shop-user", "shop-user-secret");
        let answer = page.exchange(self.server, &request).await?;
        expect("the status", answer.status, 400)?;
        let held = grants.last().map(|grant| text(grant, "access_token")).unwrap_or_default();
        let token = self.outbound.replaces(page, "password", held).await?;
        let grants = self.grants("shop-user").await?;
        let last = grants.iter().rev().take(2).rev();
        let last = last.map(|grant| match text(grant, "error") {
            "" => text(grant, "grant_type").to_owned(),
            error => format!("{} ({error})", text(grant, "grant_type")),
        });
        let last = last.collect::<Vec<_>>().join(", then ");
        page.say(&format!("What the filter asked for last, as the server says: {last}"));
        expect("what was asked for", &*last, "refresh_token (invalid_grant), then password")?;
        let issued = grants.last().map(|grant| text(grant, "access_token")).unwrap_or_default();
        expect("the token that was issued", issued, &*token)
    }

    async fn given_refresh_token(&self, page: &mut Page, given: &str) -> Result<(), NotAsExpected> {
        let tokens = self.renewals(page, "refresh-token", "shop-refresh").await?;
        let grants = self.grants("shop-refresh").await?;
        // By the first we got what the filter was given.
        let rest = grants.get(1..).unwrap_or_default();
        let first = rest.first().map(|grant| text(grant, "refresh_token")).unwrap_or_default();
        expect("the first refresh token", first, given)?;
        once(rest)?;
        only_issued(&tokens, rest)
    }

    async fn token_exchange(&self, page: &mut Page) -> Result<(), NotAsExpected> {
        page.say("A user has a token.");
        let UserTokens { access_token: callers, .. } = self.stage.user_tokens(page).await?;
        let request = Request::get(ORDER).bearer(&callers);
        page.say(
            "The filter asks the server about it, and exchanges it for one with which it acts for \
             the user (RFC 8693): x-user says who that is, x-actor who acts, x-client who asked.",
        );
        let arrived = self.outbound.arrives(page, "exchange", &request).await?;
        let token = token_on(&arrived)?;
        for (name, value) in
            [("x-user", "alice"), ("x-client", "shop-exchange"), ("x-actor", "shop")]
        {
            expect(name, &*arrived.headers.all(name).join(", "), value)?;
        }
        let answer = request.send(self.outbound.envoy.address("exchange")).await?;
        expect("the next request's token", &*token_on(&arrival(&answer)?)?, &*token)?;
        let grants = self.grants("shop-exchange").await?;
        page.say(&format!("Exchanges, as the server says: {}.", grants.len()));
        let [grant] = &*grants else { return Err(NotAsExpected::new("it was not one exchange")) };
        expect("subject_token", text(grant, "subject_token"), &*callers)?;
        expect("the token that was issued", text(grant, "access_token"), &*token)?;
        let actor = text(grant, "actor_token");
        if !self.grants("shop").await?.iter().any(|grant| grant["access_token"] == actor) {
            return Err(NotAsExpected::new("actor_token is none of the client shop"));
        }
        page.say("Who has no token gets nowhere.");
        self.outbound.refuses(page, "exchange", 401, "oauth2_no_token").await?;
        page.say("Nor does who had one that is revoked, though its exchanged token is still kept.");
        self.stage.revoke(page, &callers).await?;
        let answer = page.exchange(self.outbound.envoy.address("exchange"), &request).await?;
        expect("the status", answer.status, 401)?;
        expect("the number of exchanges", self.grants("shop-exchange").await?.len(), 1)
    }
}

/// Every token that reached the service was issued for these.
fn only_issued(tokens: &BTreeSet<String>, grants: &[Value]) -> Result<(), NotAsExpected> {
    let issued: BTreeSet<&str> = grants.iter().map(|grant| text(grant, "access_token")).collect();
    if tokens.iter().all(|token| issued.contains(token.as_str())) {
        Ok(())
    } else {
        Err(NotAsExpected::new("a token reached the service that was not issued for it"))
    }
}

/// All of these were renewals, and each refresh token was sent once and taken.
fn once(grants: &[Value]) -> Result<(), NotAsExpected> {
    for grant in grants {
        expect("grant_type", text(grant, "grant_type"), "refresh_token")?;
        expect("the error", text(grant, "error"), "")?;
    }
    let sent: BTreeSet<&str> = grants.iter().map(|grant| text(grant, "refresh_token")).collect();
    expect("the number of different refresh tokens", sent.len(), grants.len())
}

/// A user's refresh token, for a client that is configured with it.
async fn refresh_token(server: SocketAddr) -> Result<String, NotAsExpected> {
    let grant = [("grant_type", "password"), ("username", "alice"), ("password", "alice-pw")];
    let form = [&grant[..], &[("scope", READ)]].concat();
    let request = Request::form(TOKEN, &form).basic("shop-refresh", "shop-refresh-secret");
    let answer = request.send(server).await?;
    expect("the token endpoint's status", answer.status, 200)?;
    let token = answer.json()["refresh_token"].as_str().map(ToOwned::to_owned);
    token.ok_or_else(|| NotAsExpected::new("there is no refresh_token"))
}

fn documents(keys: &Keys, server: SocketAddr, given: &str) -> Vec<(&'static str, Value)> {
    let client = |id: &str, grant_type: &str, more: Value| {
        let mut client = client(&format!("http://{server}{TOKEN}"), id, grant_type);
        merge(&mut client, more);
        client
    };
    let own = |id: &str, more: Value| client(id, "client_credentials", more);
    let shop = |more: Value| {
        let mut shop = own("shop", json!({"client_secret": "shop-secret"}));
        merge(&mut shop, more);
        shop
    };
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    let key = |name: &str| one(&own("shop-key", keys.signing(name, server)));
    vec![
        ("basic", one(&shop(json!({})))),
        ("post", {
            let more = json!({"client_secret": "shop-post-secret"});
            one(&with(own("shop-post", more), "auth_method", "client_secret_post"))
        }),
        ("odd", one(&own("odd:client id", json!({"client_secret": "s%c&r=t+/~!"})))),
        ("rsa", key("rsa")),
        ("ec", key("ec")),
        ("certificate", {
            let endpoint = format!("https://{SERVER_NAME}{TOKEN}");
            let more = json!({
                "endpoint": endpoint, "cluster": "as-tls", "auth_method": "tls_client_auth",
            });
            one(&own("shop-certificate", more))
        }),
        ("resource", one(&shop(json!({"resource": SHORT})))),
        ("wrong-secret", one(&shop(json!({"client_secret": "not-the-secret"})))),
        ("password", {
            let more = json!({
                "client_secret": "shop-user-secret",
                "username": "alice", "password": "alice-pw", "clock_skew": "1s",
            });
            one(&client("shop-user", "password", more))
        }),
        ("refresh-token", {
            let more = json!({
                "client_secret": "shop-refresh-secret", "refresh_token": given, "clock_skew": "1s",
            });
            one(&client("shop-refresh", "refresh_token", more))
        }),
        ("exchange", {
            let more = json!({"client_secret": "shop-exchange-secret", "actor": "shop"});
            let mut document = one(&client("shop-exchange", exchange, more));
            document["outbound"]["clients"]["shop"] = shop(json!({}));
            document["inbound"] = json!({
                "introspection": introspection(server, INTROSPECTION, "rs", "rs-secret"),
                "audience": AUDIENCE,
                "scope": READ,
                "cache": {"max_ttl": "0s"},
            });
            document
        }),
    ]
}

/// The server with TLS, to which Envoy shows the client's certificate.
fn tls_cluster(keys: &Keys) -> Cluster {
    Cluster::new("as-tls", keys.tls).with(json!({"transport_socket": {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/\
                envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": SERVER_NAME,
            "common_tls_context": {
                "tls_certificates": [keys.client.tls_certificate()],
                "validation_context": {
                    "trusted_ca": {"inline_string": keys.authority.pem()},
                    "match_typed_subject_alt_names": [
                        {"san_type": "DNS", "matcher": {"exact": SERVER_NAME}},
                    ],
                },
            },
        },
    }}))
}

/// How often a token is renewed under load.
const RENEWALS: usize = 4;
