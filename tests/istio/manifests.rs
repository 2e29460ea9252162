//! The objects in `envoy/istio`, as a Kubernetes client reads them.

use std::fs;

use oauth2_filter_testbed::workspace;
use serde_json::Value;

use crate::yaml;

/// The files.
pub const AUTHORIZATION_SERVER: &str = "authorization-server.yaml";
pub const AUTHORIZATION_POLICY: &str = "authorization-policy.yaml";
pub const INBOUND: &str = "inbound.yaml";
pub const OUTBOUND: &str = "outbound.yaml";
pub const OUTBOUND_RETRY: &str = "outbound-retry.yaml";
pub const PROTECTED_SERVICE: &str = "protected-service.yaml";

/// All of them: a file that is added to the folder has to be added here.
pub const ALL: [&str; 6] = [
    AUTHORIZATION_POLICY,
    AUTHORIZATION_SERVER,
    INBOUND,
    OUTBOUND_RETRY,
    OUTBOUND,
    PROTECTED_SERVICE,
];

/// The objects of a file.
pub fn objects(file: &str) -> Vec<Value> {
    let path = workspace().join("envoy/istio").join(file);
    let text = fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let documents = yaml::documents(&text);
    let documents = documents.unwrap_or_else(|error| panic!("{file}: {error}"));
    assert!(!documents.is_empty(), "{file} is empty");
    documents
}

/// The only object of this kind in a file.
pub fn object(file: &str, kind: &str) -> Value {
    let objects: Vec<_> =
        objects(file).into_iter().filter(|object| object["kind"] == kind).collect();
    let [object] = <[Value; 1]>::try_from(objects).expect("one object of the kind");
    object
}

#[test]
fn every_file_of_the_folder_is_tested() {
    let files = workspace().join("envoy/istio").read_dir().expect("the folder");
    let mut files: Vec<_> = files
        .map(|file| file.expect("a file").file_name().into_string().expect("a name"))
        .collect();
    files.sort();
    assert_eq!(files, {
        let mut all = ALL;
        all.sort_unstable();
        all
    });
}
