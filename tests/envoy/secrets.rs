//! Secrets that change while Envoy runs: in files, and by SDS. Only the dynamic module has them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oauth2_filter_testbed::Received;
use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::{
    Bootstrap, Envoy, Listener, WasmPlugin, merge, native, with_members,
};
use oauth2_filter_testbed::scripted::Answer;
use oauth2_filter_testbed::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::set_up::{ENDPOINT, Ends, LISTENER, SetUp, active, listener, one_worker, plugin};

/// The filter with this client secret.
fn with_secret(secret: &Value) -> WasmPlugin {
    plugin(json!({"introspection": {"client_secret": secret}}))
}

/// The client secret of a call.
fn secret_of(call: &Received) -> String {
    let value = call.headers.get("authorization").expect("credentials");
    let value = value.strip_prefix("Basic ").expect("Basic credentials");
    let both = String::from_utf8(STANDARD.decode(value).expect("Base64")).expect("text");
    both.split_once(':').expect("two parts").1.to_owned()
}

/// Files with one secret, in the way in which Kubernetes mounts them.
struct Mount(TempDir);

impl Mount {
    fn new(secret: &str) -> Self {
        let mount = Self(TempDir::with_prefix("mount-").expect("a temporary directory"));
        mount.write(secret);
        symlink("..data/secret", mount.file()).expect("a link");
        mount
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self) -> PathBuf {
        self.path().join("secret")
    }

    /// Replaces the secret in one step.
    fn write(&self, secret: &str) {
        let folder = format!("..{secret}");
        fs::create_dir(self.path().join(&folder)).expect("a folder");
        fs::write(self.path().join(&folder).join("secret"), format!("{secret}\n")).expect("a file");
        symlink(&folder, self.path().join("..next")).expect("a link");
        fs::rename(self.path().join("..next"), self.path().join("..data")).expect("renamed");
    }
}

/// An authorization server that accepts these client secrets.
fn accepts(set_up: &SetUp, secrets: &Arc<Mutex<BTreeSet<String>>>) {
    let secrets = Arc::clone(secrets);
    set_up.server.on_each(ENDPOINT, move |call| {
        let is_known = secrets.lock().expect("no panic").contains(&secret_of(call));
        if is_known { active() } else { Answer::status(401) }
    });
}

/// Waits until a call has this client secret.
async fn used(set_up: &SetUp, secret: &str) {
    wait::until(&format!("a call with {secret}"), async || {
        set_up.server.requests(ENDPOINT).last().is_some_and(|call| secret_of(call) == secret)
    })
    .await;
}

/// Replaces the secret up to this number while requests arrive: none is lost, the next call has each,
/// and what was cached stays.
async fn changes_under_load(set_up: &SetUp, mount: &Mount, number: u32) {
    let accepted = Arc::new(Mutex::new(BTreeSet::from(["secret-0".to_owned()])));
    accepts(set_up, &accepted);
    assert_eq!(set_up.get("before").await.status, 200);
    let load = set_up.under_load(10, "/", async || {
        for n in 1..number {
            let secret = format!("secret-{n}");
            accepted.lock().expect("no panic").insert(secret.clone());
            mount.write(&secret);
            used(set_up, &secret).await;
        }
    });
    assert!(load.await > 0);
    let calls = set_up.calls();
    assert_eq!(set_up.get("before").await.status, 200);
    assert_eq!(set_up.calls(), calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_in_a_file_changes_under_load_and_no_request_is_lost() {
    if !native::is_chosen() {
        return;
    }
    let mount = Mount::new("secret-0");
    let ends = Ends::start().await;
    let plugin = with_secret(&json!({"file": mount.file()}));
    let bootstrap = ends.bootstrap().listener(listener(&plugin));
    let set_up = ends.with(bootstrap).await;
    changes_under_load(&set_up, &mount, 20).await;
    // The last secret outlives its file.
    fs::remove_file(mount.path().join("..data")).expect("removed");
    assert_eq!(set_up.get("after").await.status, 200);
    set_up.envoy.logged("its last secret stays in use").await;
    let log = set_up.envoy.log();
    assert_eq!(log.matches("failed to read secret file").count(), 1, "{log}");
    assert!(!log.contains("secret-1"));
}

/// SDS by a file that names the file with the secret.
fn sds(name: &str, directory: &Path, secret: &Value) -> Value {
    let file = directory.join(format!("{name}.json"));
    let resource = json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name, "generic_secret": {"secret": secret},
    }]});
    fs::write(&file, resource.to_string()).expect("a file");
    json!({"sds": {"name": name, "sds_config": {"path_config_source": {"path": file}}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_by_sds_changes_under_load_and_no_request_is_lost() {
    if !native::is_chosen() {
        return;
    }
    let mount = Mount::new("secret-0");
    let directory = TempDir::new().expect("a temporary directory");
    let ends = Ends::start().await;
    let secret = sds("client-secret", directory.path(), &json!({"filename": mount.file()}));
    let bootstrap = ends.bootstrap().listener(listener(&with_secret(&secret)));
    let set_up = ends.with(bootstrap).await;
    changes_under_load(&set_up, &mount, 5).await;
}

/// A bootstrap with static secrets.
fn with_static_secrets(ends: &Ends, secret: &Value) -> Bootstrap {
    let bootstrap = ends.bootstrap().listener(listener(&with_secret(secret)));
    bootstrap.secret("client-secret", "rs-secret").secret("empty", "")
}

/// Checks that a request is refused because there is no secret, and that no call was made.
async fn is_refused(set_up: &SetUp) {
    let before = set_up.envoy.access_log(LISTENER).len();
    let calls = set_up.calls();
    let answer = set_up.get("token").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    let log = set_up.envoy.access_log_entries(LISTENER, before + 1).await;
    assert_eq!(log[before]["details"], "oauth2_no_secret");
    assert_eq!(set_up.calls(), calls, "never a call without a secret");
    set_up.service_is_untouched().await;
    set_up.envoy.logged("no secret, or a key that cannot sign").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_secret_of_the_bootstrap_is_used_and_an_empty_or_unknown_one_never_opens() {
    if !native::is_chosen() {
        return;
    }
    let ends = Ends::start().await;
    let bootstrap = with_static_secrets(&ends, &json!({"sds": "client-secret"}));
    let set_up = ends.with(bootstrap).await;
    assert_eq!(set_up.get("token").await.status, 200);
    assert_eq!(secret_of(&set_up.server.requests(ENDPOINT)[0]), "rs-secret");

    let ends = Ends::start().await;
    let bootstrap = with_static_secrets(&ends, &json!({"sds": "empty"}));
    is_refused(&ends.with(bootstrap).await).await;

    let ends = Ends::start().await;
    let bootstrap = with_static_secrets(&ends, &json!({"sds": "unknown"}));
    let started = Envoy::start_with(bootstrap, &one_worker()).await;
    let log = started.expect_err("a configuration that is rejected").log;
    let mistake = "inbound.introspection.client_secret.sds: rejected by Envoy, whose log says why";
    assert!(log.contains(mistake), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_an_ecds_update_brings_has_no_secret_by_sds_and_refuses_requests() {
    if !native::is_chosen() {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let ends = Ends::start().await;
    let secret = sds("client-secret", directory.path(), &json!({"inline_string": "rs-secret"}));
    let fixed = with_secret(&json!("rs-secret"));
    let listener =
        Listener::to(LISTENER, "service").discovered_filter("oauth2", &fixed.typed_config());
    let bootstrap = ends.bootstrap().listener(listener);
    let set_up = ends.with(bootstrap).await;
    let config = with_secret(&secret).typed_config();
    set_up.envoy.update_filter("oauth2", &config).await.expect("accepted");
    is_refused(&set_up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_read_rejects_the_configuration() {
    if !native::is_chosen() {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let empty = directory.path().join("empty");
    fs::write(&empty, "\n").expect("a file");
    for (secret, mistake) in [
        (json!({"file": "/absent"}), "client_secret.file: failed to read the file: No such file"),
        (
            json!({"file": empty}),
            "client_secret.file: failed to read the file: empty, or not UTF-8",
        ),
        (json!({"file": "relative"}), "client_secret.file: expected an absolute path"),
        (
            json!({"sds": {"name": "a", "sds_config": {"path_config_source": {"path": "/absent"}}}}),
            "client_secret.sds: rejected by Envoy, whose log says why",
        ),
        (
            json!({"sds": {"name": "a", "sds_config": {"unknown": true}}}),
            "client_secret.sds: rejected by Envoy, whose log says why",
        ),
    ] {
        let ends = Ends::start().await;
        let bootstrap = ends.bootstrap().listener(listener(&with_secret(&secret)));
        let started = Envoy::start_with(bootstrap, &one_worker()).await;
        let log = started.expect_err("a configuration that is rejected").log;
        assert!(log.contains(mistake), "{mistake}\n{log}");
    }
}

/// A key in PEM format, in one file after the other.
const KEYS: [&str; 2] = [include_str!("keys/rsa-pkcs8.pem"), include_str!("keys/rsa-pkcs1.pem")];

#[tokio::test(flavor = "multi_thread")]
async fn every_secret_that_may_change_is_read_for_each_call() {
    if !native::is_chosen() {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let file = directory.path().join("secret");
    let jwt_bearer = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    let secret = json!({"client_secret": "s"});
    for (client, key, parameter) in [
        (json!({"grant_type": "password", "username": "alice"}), "password", "password"),
        (json!({"grant_type": jwt_bearer}), "assertion", "assertion"),
        (
            json!({
                "grant_type": "client_credentials", "auth_method": "private_key_jwt",
                "alg": "PS256", "aud": "https://as.test", "client_secret": null,
            }),
            "private_key",
            "client_assertion",
        ),
    ] {
        let ends = Ends::start().await;
        // A token that has expired already serves one request.
        let token = json!({"access_token": "t", "token_type": "Bearer", "expires_in": 0});
        ends.server.on("/token", Answer::json(200, &token));
        let mut all = json!({
            "endpoint": "http://as.test/token", "cluster": "as", "client_id": "orders",
            key: {"file": file},
        });
        merge(&mut all, with_members(secret.clone(), &client));
        let document = json!({"outbound": {"clients": {"billing": all}}});
        fs::write(&file, KEYS[0]).expect("a file");
        let bootstrap = ends.bootstrap().listener(listener(&WasmPlugin::new(&document)));
        let set_up = ends.with(bootstrap).await;
        assert_eq!(set_up.send(&Request::get("/")).await.status, 200, "{key}");
        fs::write(&file, KEYS[1]).expect("a file");
        assert_eq!(set_up.send(&Request::get("/")).await.status, 200, "{key}");
        let calls = set_up.server.requests("/token");
        let sent: Vec<_> = calls.iter().map(|call| call.parameter(parameter)).collect();
        let expected = KEYS.map(|key| Some(key.trim_end().to_owned()));
        if key != "private_key" {
            assert_eq!(sent, expected, "{key}");
        }
        assert_eq!(sent.len(), 2, "{key}");
        // A key of another kind cannot sign, and then there is no call.
        if key == "private_key" {
            fs::write(&file, include_str!("keys/p256-pkcs8.pem")).expect("a file");
            assert_eq!(set_up.send(&Request::get("/")).await.status, 503, "{key}");
            assert_eq!(set_up.server.count("/token"), 2);
            let line = "token endpoint of client billing failed (1 in a row): no secret, or a key";
            set_up.envoy.logged(line).await;
        }
    }
}
