//! Secrets that may change: where they are valid, and every mistake in them.

use std::sync::Arc;

use oauth2_filter_core::{
    Algorithm, Configuration, Environment, Review, SecretPlace, SecretSource, SignError, review,
};
use serde_json::{Value, json};

use crate::documents::{JWT_BEARER, client, document, password, signing, with_grant};
use crate::load;

/// A source whose secret is not there yet.
struct Late;

impl SecretSource for Late {
    fn current(&self) -> Option<String> {
        None
    }

    fn each_recent(&self, _: &mut dyn FnMut(&str)) {}
}

/// Opens every place but some, whose mistakes are those of a host.
fn open(place: SecretPlace<'_>) -> Result<Arc<dyn SecretSource>, String> {
    match place {
        SecretPlace::File("/absent") => Err("no such file".to_owned()),
        SecretPlace::Sds { name: "unknown", .. } => Err("no such secret".to_owned()),
        SecretPlace::Sds { sds_config: Some(config), .. } if !config.starts_with(r#"{"ads":"#) => {
            Err(format!("not a ConfigSource: {config}"))
        }
        SecretPlace::File(_) | SecretPlace::Sds { .. } => Ok(Arc::new(Late)),
    }
}

/// The mistakes in a document, in a host that has such secrets.
fn mistakes(document: &Value) -> Vec<String> {
    let sign = |algorithm, _: &str, _: &[u8]| match algorithm {
        Algorithm::Es256 => Ok([&[0x30, 68, 2, 32][..], &[1; 32], &[2, 32], &[1; 32]].concat()),
        _ => Err(SignError::BadKey),
    };
    let variable = |name: &str| (name == "SECRET").then(|| "s3cr3t".to_owned());
    let environment = Environment { sign, ..Environment::pretended(&variable) };
    let text = document.to_string();
    let loaded = Configuration::load_with_sources(text.as_bytes(), &environment, &open);
    let Review { mistakes, .. } = review(text.as_bytes(), &environment, Some(&open));
    match loaded {
        Ok(_) => assert!(mistakes.is_empty(), "{mistakes:?}"),
        Err(errors) => assert!(errors.iter().eq(&mistakes), "{errors} {mistakes:?}"),
    }
    mistakes.iter().map(ToString::to_string).collect()
}

/// The clients whose secrets may change, each with that key.
fn changing(secret: &Value) -> [(Value, &'static str); 4] {
    [
        (client(json!({"client_secret": secret})), "client_secret"),
        (signing(json!({"private_key": secret, "alg": "PS256"})), "private_key"),
        (password(json!({"password": secret})), "password"),
        (with_grant(JWT_BEARER, json!({"assertion": secret})), "assertion"),
    ]
}

#[test]
fn a_secret_that_may_change_is_valid_wherever_it_is_read_for_each_call() {
    for secret in [
        json!({"file": "/etc/secret"}),
        json!({"sds": "secret"}),
        json!({"sds": {"name": "secret"}}),
        json!({"sds": {"name": "secret", "sds_config": {"ads": {}}}}),
    ] {
        for (client, key) in changing(&secret) {
            assert_eq!(mistakes(&document(client)), [""; 0], "{key} {secret}");
        }
    }
    let fixed = json!({"env": "SECRET"});
    assert_eq!(mistakes(&document(client(json!({"client_secret": fixed})))), [""; 0]);
}

#[test]
fn a_secret_that_may_change_is_a_mistake_in_the_module_that_says_what_to_use() {
    for secret in [json!({"file": "/etc/secret"}), json!({"sds": "secret"})] {
        for (client, key) in changing(&secret) {
            let found = load(&document(client)).expect_err(key).to_string();
            let place = format!("outbound.clients.a.{key}");
            let text = "only in the dynamic module; use {\"env\": \"NAME\"}";
            assert_eq!(found, format!("{place}: {text}"));
        }
    }
}

#[test]
fn a_secret_that_is_read_once_cannot_change() {
    for (client, key) in [
        (password(json!({"username": {"file": "/a"}})), "username"),
        (with_grant("refresh_token", json!({"refresh_token": {"file": "/a"}})), "refresh_token"),
        (with_grant("direct_token", json!({"access_token": {"file": "/a"}})), "access_token"),
    ] {
        let found = mistakes(&document(client)).join("\n");
        let text = format!("outbound.clients.a.{key}.file: unknown key; expected one of: env");
        assert!(found.contains(&text), "{found}");
    }
}

#[test]
fn d6_11_a_mistake_in_a_secret_names_its_place_and_what_would_be_right() {
    let one = "expected {\"env\": \"NAME\"}, {\"file\": \"PATH\"} or {\"sds\": \"NAME\"}";
    for (secret, place, text) in [
        (json!({}), "", one),
        (json!({"env": "SECRET", "file": "/a"}), "", one),
        (json!({"file": "/a", "sds": "a"}), "", one),
        (json!({"file": ""}), ".file", "expected a path, found an empty string"),
        (json!({"file": 1}), ".file", "expected a path, found a number"),
        (json!({"file": "/absent"}), ".file", "no such file"),
        (json!({"sds": ""}), ".sds", "expected the name of a secret, found an empty string"),
        (json!({"sds": 1}), ".sds", "expected the name of a secret, found a number"),
        (json!({"sds": "unknown"}), ".sds", "no such secret"),
        (json!({"sds": {"sds_config": {"ads": {}}}}), ".sds.name", "required: the name of the"),
        (json!({"sds": {"name": 1}}), ".sds.name", "expected the name of a secret, found a"),
        (
            json!({"sds": {"name": "a", "sds_config": "ads"}}),
            ".sds.sds_config",
            "expected an object, found a string",
        ),
        (json!({"sds": {"name": "a", "sds_config": {}}}), ".sds", "not a ConfigSource: {}"),
        (json!({"env": "UNSET"}), ".env", "environment variable `UNSET` is unset or empty"),
    ] {
        let found = mistakes(&document(client(json!({"client_secret": secret}))));
        let expected = format!("outbound.clients.a.client_secret{place}: {text}");
        let is_it = matches!(&found[..], [it] if it.starts_with(&expected));
        assert!(is_it, "{expected}\n{found:?}");
    }
    for (secret, place) in [
        (json!({"fil": "/a"}), "fil"),
        (json!({"file": "/a", "b": 1}), "b"),
        (json!({"sds": {"name": "a", "b": 1}}), "sds.b"),
    ] {
        let found = mistakes(&document(client(json!({"client_secret": secret}))));
        let expected = format!("outbound.clients.a.client_secret.{place}: unknown key");
        assert!(found.iter().any(|it| it.starts_with(&expected)), "{expected}\n{found:?}");
    }
}

#[test]
fn a_private_key_that_may_change_needs_its_algorithm() {
    let found = mistakes(&document(signing(json!({"private_key": {"file": "/a"}}))));
    assert_eq!(found, ["outbound.clients.a.alg: required: the private key may change"]);
}
