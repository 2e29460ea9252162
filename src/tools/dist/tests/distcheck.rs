//! What is published, as others take it: skopeo, a registry, Istio's agent, Envoy, and the
//! official schema. `make distcheck` makes it, and installs what these tests need.

use std::{
    fs::{self, File},
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use dist::{LAYER, PLUGIN, sha256};
use flate2::read::GzDecoder;
use oauth2_filter_testbed::{
    client::Request,
    envoy::{Bootstrap, Envoy, Listener, WasmPlugin, workspace},
    process::Process,
    scripted::{Answer, ScriptedServer},
    wait,
};
use serde_json::{Value, json};
use tar::Archive;
use tempfile::TempDir;

#[tokio::test]
#[ignore = "needs skopeo, a registry and Envoy: make distcheck"]
async fn the_image_goes_through_a_registry_into_envoy() {
    let registry = Registry::start().await;
    let version = version();
    let here = format!("oci:{}:{version}", workspace().join("target/image").display());
    let there = format!("docker://{}/auth/oauth2-filter:{version}", registry.address);
    skopeo(&["copy", "--dest-tls-verify=false", &here, &there]);

    // What is pulled is what was pushed, under the same digest.
    let digest = digest(&here);
    let folder = tempfile::tempdir().unwrap();
    let back = format!("oci:{}:{version}", folder.path().join("image").display());
    skopeo(&["copy", "--src-tls-verify=false", &there, &back]);
    assert_eq!(self::digest(&back), digest);

    let pulled = registry.pulled_as_by_istio("auth/oauth2-filter", &version, &digest).await;
    assert!(pulled == module(), "it is another module than target/oauth2_filter.wasm");
    let file = folder.path().join("pulled.wasm");
    fs::write(&file, pulled).unwrap();
    guards_a_service(&file).await;
}

#[test]
#[ignore = "needs skopeo: make distcheck"]
fn tools_can_read_what_the_image_is() {
    let version = version();
    let layout = format!("oci:{}:{version}", workspace().join("target/image").display());
    let told: Value = serde_json::from_str(&skopeo(&["inspect", &layout])).unwrap();
    assert_eq!(told["Labels"]["org.opencontainers.image.title"], "oauth2-filter");
    assert_eq!(told["Labels"]["org.opencontainers.image.version"], version);
    assert_eq!(told["Labels"]["org.opencontainers.image.licenses"], "Apache-2.0");
    assert_eq!(told["Layers"].as_array().unwrap().len(), 1);
    // The archive of the release is the same image.
    let archive = format!("oci-archive:{}", release("oci.tar").display());
    assert_eq!(digest(&archive), digest(&layout));
}

#[test]
#[ignore = "needs a release: make distcheck"]
fn the_checksums_hold() {
    let told = run(Command::new("sha256sum")
        .args(["--check", "SHA256SUMS"])
        .current_dir(workspace().join("target/dist")));
    let files = fs::read_dir(workspace().join("target/dist")).unwrap().count();
    assert_eq!(told.lines().filter(|line| line.ends_with(": OK")).count(), files - 1, "{told}");
    assert!(fs::read(release("wasm")).unwrap() == module());
}

#[test]
#[ignore = "needs CycloneDX's schema: make distcheck"]
fn the_bill_of_materials_is_as_its_schema_wants_it() {
    let python = workspace().join("target/cyclonedx/bin/python");
    let script = workspace().join("src/tools/dist/tests/validate.py");
    let bill = release("cdx.json");
    run(Command::new(&python).arg(&script).arg(&bill));
    // The schema does say no.
    let folder = tempfile::tempdir().unwrap();
    let mut document: Value = serde_json::from_slice(&fs::read(bill).unwrap()).unwrap();
    document["components"][0]["licenses"] = json!([{"name": 1}]);
    let wrong = folder.path().join("wrong.cdx.json");
    fs::write(&wrong, document.to_string()).unwrap();
    let output = Command::new(&python).arg(&script).arg(&wrong).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A registry of container images on a free loopback port, without anything in it.
struct Registry {
    address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl Registry {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configuration = json!({
            "version": "0.1",
            "http": {"addr": "127.0.0.1:0"},
            "log": {"formatter": "json"},
            "storage": {"filesystem": {"rootdirectory": folder.path().join("images")}},
        });
        // JSON is YAML.
        fs::write(folder.path().join("config.yml"), configuration.to_string()).unwrap();
        let log = folder.path().join("registry.log");
        let mut command = Command::new(workspace().join("target/registry/usr/bin/docker-registry"));
        command.arg("serve").arg(folder.path().join("config.yml"));
        command.stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let process = Process::start(command).expect("a registry: make distcheck installs it");
        let address = wait::poll("the registry to listen", wait::LIMIT, async || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let (_, rest) = log.split_once("listening on ")?;
            rest.split('"').next()?.parse().ok()
        });
        let address = address.await;
        let address = address.unwrap_or_else(|_| panic!("{:?}", fs::read_to_string(&log)));
        Self { address, _process: process, _folder: folder }
    }

    /// The module of this image, by the steps of Istio's agent (`pkg/wasm/imagefetcher.go`):
    /// the manifest by its tag, which has the digest that is wanted; its last layer, which is of
    /// the one type; and the first file in that with the one name.
    async fn pulled_as_by_istio(&self, image: &str, tag: &str, digest: &str) -> Vec<u8> {
        let get = async |path: String| {
            let request = Request::get(&format!("/v2/{image}/{path}"));
            let manifest = "application/vnd.oci.image.manifest.v1+json";
            let answer = request.header("accept", manifest).send(self.address).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer
        };
        let manifest = get(format!("manifests/{tag}")).await;
        assert_eq!(format!("sha256:{}", sha256(&manifest.body)), digest);
        let manifest = manifest.json();
        assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
        let layer = manifest["layers"].as_array().unwrap().last().unwrap();
        assert_eq!(layer["mediaType"], LAYER);
        let digest = layer["digest"].as_str().unwrap();
        let blob = get(format!("blobs/{digest}")).await.body;
        assert_eq!(format!("sha256:{}", sha256(&blob)), digest);
        let mut archive = Archive::new(GzDecoder::new(blob.as_slice()));
        let mut file = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(file.path().unwrap().to_str(), Some(PLUGIN));
        let mut module = Vec::new();
        file.read_to_end(&mut module).unwrap();
        module
    }
}

/// Runs this module in Envoy: a request with an active token is forwarded, and no other.
async fn guards_a_service(module: &Path) {
    let server = ScriptedServer::start().await;
    server.on("/introspect", Answer::json(200, &json!({"active": true})));
    let document = json!({"inbound": {"introspection": {
        "endpoint": "http://as.test/introspect", "cluster": "as",
        "client_id": "rs", "client_secret": "rs-secret",
    }}});
    let plugin = WasmPlugin::new(&document).file(module);
    let listener = Listener::answering("in", 200, "").filter(plugin.filter("oauth2"));
    let bootstrap = Bootstrap::new().cluster("as", server.address()).listener(listener);
    let envoy = Envoy::start(bootstrap).await.expect("Envoy with the module that was pulled");
    let status = async |request: Request| request.send(envoy.address("in")).await.unwrap().status;
    assert_eq!(status(Request::get("/")).await, 401);
    assert_eq!(status(Request::get("/").bearer("t")).await, 200);
    assert_eq!(server.count("/introspect"), 1);
}

/// The module that the image and the release are made of.
fn module() -> Vec<u8> {
    fs::read(workspace().join("target/oauth2_filter.wasm")).expect("a module: make build")
}

/// The version of the filter.
fn version() -> String {
    dist::version().unwrap()
}

/// A file of the release.
fn release(extension: &str) -> PathBuf {
    workspace().join(format!("target/dist/oauth2_filter-{}.{extension}", version()))
}

/// The digest of an image.
fn digest(image: &str) -> String {
    skopeo(&["inspect", "--format", "{{.Digest}}", image])
}

/// Runs skopeo, which does not need to know whom this machine trusts.
fn skopeo(arguments: &[&str]) -> String {
    run(Command::new("skopeo").arg("--insecure-policy").args(arguments))
}

/// What a program prints; panics with what it says if it fails.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{told}\n{errors}", output.status);
    told
}
