//! The image that Istio, Envoy Gateway and other hosts of proxy-wasm pull: an OCI image of one
//! layer with one file, `plugin.wasm`, as the Wasm Image Specification has it in its variant
//! "compat" (<https://github.com/solo-io/wasm/tree/master/spec>).

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::Path,
};

use flate2::{Compression, GzBuilder};
use serde::Serialize;

use crate::{Package, Source, archive::tar, renew, sha256, write};

/// The file that hosts expect.
pub const PLUGIN: &str = "plugin.wasm";

/// The only type of layer that all of them accept.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The file that marks a folder as an image layout.
const LAYOUT: &str = "oci-layout";

/// A complete image of the module.
#[derive(Clone, Debug)]
pub struct Image {
    layer: Blob,
    config: Blob,
    manifest: Blob,
    index: Vec<u8>,
}

impl Image {
    /// Packs the module.
    pub fn new(module: &[u8], package: &Package, source: &Source) -> io::Result<Self> {
        let archive = tar([(PLUGIN, module)])?;
        let layer = Blob::new(LAYER, gzip(&archive)?);
        let annotations = annotations(package, source);
        let config = Blob::json(
            CONFIG,
            &ImageConfig {
                created: source.time(),
                // The module runs on any machine, but some tools do not unpack the architecture
                // `wasm`. There is one image for all instead of an index: a `WasmPlugin` names the
                // digest of what it pulls, and Istio compares it with the image's.
                architecture: "amd64",
                os: "linux",
                config: Labels { labels: &annotations },
                rootfs: RootFs { kind: "layers", diff_ids: [digest(&archive)] },
            },
        )?;
        let manifest = Blob::json(
            MANIFEST,
            &Manifest {
                schema_version: 2,
                media_type: MANIFEST,
                config: config.descriptor(None),
                layers: [layer.descriptor(None)],
                annotations: &annotations,
            },
        )?;
        let name = [("org.opencontainers.image.ref.name", package.version.clone())];
        let index = serde_json::to_vec(&Index {
            schema_version: 2,
            media_type: INDEX,
            manifests: [manifest.descriptor(Some(name.into()))],
        })?;
        Ok(Self { layer, config, manifest, index })
    }

    /// The digest by which the image is pulled, and which a `WasmPlugin` may name as `sha256`.
    pub fn digest(&self) -> String {
        digest(&self.manifest.bytes)
    }

    /// Writes an image layout, which replaces an existing one.
    pub fn write_layout(&self, folder: &Path) -> Result<(), String> {
        renew(folder, LAYOUT)?;
        for (path, bytes) in self.files() {
            let path = folder.join(path);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)
                    .map_err(|error| format!("{}: {error}", folder.display()))?;
            }
            write(&path, bytes)?;
        }
        Ok(())
    }

    /// The image layout as one file, which tools call `oci-archive`.
    pub(crate) fn archive(&self) -> io::Result<Vec<u8>> {
        let files = self.files();
        tar(files.iter().map(|(path, bytes)| (path.as_str(), *bytes)))
    }

    /// The files of an image layout, by path.
    fn files(&self) -> BTreeMap<String, &[u8]> {
        let blobs = [&self.layer, &self.config, &self.manifest];
        let blobs = blobs
            .map(|blob| (format!("blobs/sha256/{}", sha256(&blob.bytes)), blob.bytes.as_slice()));
        let version: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
        let rest = [(LAYOUT.to_owned(), version), ("index.json".to_owned(), self.index.as_slice())];
        blobs.into_iter().chain(rest).collect()
    }
}

/// The annotations of the image.
fn annotations(package: &Package, source: &Source) -> BTreeMap<&'static str, String> {
    let known = [
        ("module.wasm.image/variant", Some("compat".to_owned())),
        ("org.opencontainers.image.title", Some(package.name.clone())),
        ("org.opencontainers.image.version", Some(package.version.clone())),
        ("org.opencontainers.image.description", package.description.clone()),
        ("org.opencontainers.image.licenses", package.license.clone()),
        ("org.opencontainers.image.source", package.repository.clone()),
        ("org.opencontainers.image.revision", source.revision.clone()),
        ("org.opencontainers.image.created", source.time()),
    ];
    known.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// Compressed without name, time and operating system.
fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let unknown_system = 255;
    let mut compressed = GzBuilder::new()
        .mtime(0)
        .operating_system(unknown_system)
        .write(Vec::new(), Compression::best());
    compressed.write_all(bytes)?;
    compressed.finish()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

/// A part of the image, with its media type.
#[derive(Clone, Debug)]
struct Blob {
    media_type: &'static str,
    bytes: Vec<u8>,
}

impl Blob {
    const fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { media_type, bytes }
    }

    fn json(media_type: &'static str, document: &impl Serialize) -> io::Result<Self> {
        Ok(Self::new(media_type, serde_json::to_vec(document)?))
    }

    fn descriptor(&self, annotations: Option<BTreeMap<&'static str, String>>) -> Descriptor {
        let Self { media_type, bytes } = self;
        Descriptor { media_type, digest: digest(bytes), size: bytes.len(), annotations }
    }
}

// The documents of the OCI image specification, version 1, in the order of their members.

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<&'static str, String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    media_type: &'static str,
    manifests: [Descriptor; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: [Descriptor; 1],
    annotations: &'a BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct ImageConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    architecture: &'static str,
    os: &'static str,
    config: Labels<'a>,
    rootfs: RootFs,
}

#[derive(Serialize)]
struct Labels<'a> {
    #[serde(rename = "Labels")]
    labels: &'a BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: [String; 1],
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use serde_json::Value;
    use tar::Archive;

    use super::*;

    /// The smallest module there is.
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    fn package() -> Package {
        serde_json::from_value(serde_json::json!({
            "name": "oauth2-filter", "version": "1.2.3", "description": "a filter",
            "license": "Apache-2.0", "repository": null, "rust_version": "1.95",
            "manifest_path": "Cargo.toml",
        }))
        .unwrap()
    }

    fn image(source: &Source) -> Image {
        Image::new(MODULE, &package(), source).unwrap()
    }

    fn document(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn the_layer_holds_one_file_that_says_nothing_of_its_origin() {
        let image = image(&Source::default());
        // No flags, no time, the best compression, an unknown system (RFC 1952).
        assert_eq!(image.layer.bytes[..10], [31, 139, 8, 0, 0, 0, 0, 0, 2, 255]);
        let mut archive = Archive::new(GzDecoder::new(image.layer.bytes.as_slice()));
        let mut files = archive.entries().unwrap();
        let mut file = files.next().unwrap().unwrap();
        assert_eq!(file.path().unwrap().to_str(), Some(PLUGIN));
        let header = file.header().clone();
        assert_eq!(header.mode().unwrap(), 0o644);
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(header.mtime().unwrap(), 0);
        let mut module = Vec::new();
        file.read_to_end(&mut module).unwrap();
        assert_eq!(module, MODULE);
        assert!(files.next().is_none());
    }

    #[test]
    fn the_same_module_is_the_same_image_on_every_machine() {
        // If it is not after an update of what packs it, an image changes while its module does
        // not: worth a line in the changelog.
        let layer = "5f867f5ced35488c9530d0661aec4ece7a83e23877d46827a9d0390e3a2bfe66";
        assert_eq!(sha256(&image(&Source::default()).layer.bytes), layer);
    }

    #[test]
    fn a_commit_changes_the_image_but_not_its_layer() {
        let commit = Source { revision: Some("1f0e".to_owned()), seconds: Some(1_762_300_800) };
        let (before, after) = (image(&Source::default()), image(&commit));
        assert_eq!(before.layer.bytes, after.layer.bytes);
        assert_ne!(before.digest(), after.digest());
        let annotations = &document(&after.manifest.bytes)["annotations"];
        assert_eq!(annotations["org.opencontainers.image.revision"], "1f0e");
        assert_eq!(annotations["org.opencontainers.image.created"], "2025-11-05T00:00:00Z");
        assert_eq!(document(&after.config.bytes)["created"], "2025-11-05T00:00:00Z");
        let without = document(&before.manifest.bytes);
        assert_eq!(without["annotations"].get("org.opencontainers.image.created"), None);
        assert_eq!(document(&before.config.bytes).get("created"), None);
    }

    #[test]
    fn the_manifest_is_what_hosts_take() {
        let image = image(&Source::default());
        let manifest = document(&image.manifest.bytes);
        assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
        let layer = &manifest["layers"][0];
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
        let annotations = &manifest["annotations"];
        assert_eq!(annotations["module.wasm.image/variant"], "compat");
        for (name, value) in
            [("title", "oauth2-filter"), ("version", "1.2.3"), ("licenses", "Apache-2.0")]
        {
            assert_eq!(annotations[format!("org.opencontainers.image.{name}")], value);
        }
        for (descriptor, blob) in [(&manifest["config"], &image.config), (layer, &image.layer)] {
            assert_eq!(descriptor["digest"], digest(&blob.bytes));
            assert_eq!(descriptor["size"], blob.bytes.len());
        }
        let mut archive = Vec::new();
        GzDecoder::new(image.layer.bytes.as_slice()).read_to_end(&mut archive).unwrap();
        let config = document(&image.config.bytes);
        assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!([digest(&archive)]));
    }

    #[test]
    fn a_layout_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let layout = folder.path().join("image");
        let commit = Source { revision: Some("1f0e".to_owned()), seconds: None };
        image(&commit).write_layout(&layout).unwrap();
        let image = image(&Source::default());
        image.write_layout(&layout).unwrap();
        let blobs = fs::read_dir(layout.join("blobs/sha256")).unwrap();
        let mut blobs: Vec<String> =
            blobs.map(|blob| blob.unwrap().file_name().into_string().unwrap()).collect();
        blobs.sort();
        let ours = [&image.layer, &image.config, &image.manifest];
        let mut ours = ours.map(|blob| sha256(&blob.bytes));
        ours.sort();
        assert_eq!(blobs, ours);
        let index = document(&fs::read(layout.join("index.json")).unwrap());
        assert_eq!(index["manifests"][0]["digest"], image.digest());
        let name = &index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
        assert_eq!(name, "1.2.3");
        assert_eq!(
            document(&fs::read(layout.join("oci-layout")).unwrap())["imageLayoutVersion"],
            "1.0.0"
        );
    }

    #[test]
    fn a_folder_that_is_no_layout_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("something"), "").unwrap();
        let told = image(&Source::default()).write_layout(folder.path()).unwrap_err();
        assert!(told.contains("has other things in it"), "{told}");
        assert!(folder.path().join("something").is_file());
    }
}
