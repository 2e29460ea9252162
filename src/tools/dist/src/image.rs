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
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::{packages::Package, renew, sha256, source::Source, write};

/// The file that hosts look for.
const PLUGIN: &str = "plugin.wasm";

/// The only kind of layer that all of them take.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The file by which a folder is known as an image layout.
const LAYOUT: &str = "oci-layout";

/// An image of the module, complete.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// What an image layout holds, by path.
    files: BTreeMap<String, Vec<u8>>,
    /// The digest by which the image is pulled, and which a `WasmPlugin` may name as `sha256`.
    pub(crate) digest: String,
}

impl Image {
    /// Packs the module.
    pub(crate) fn new(module: &[u8], package: &Package, source: &Source) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        let mut blob = |media_type: &str, bytes: Vec<u8>| {
            let digest = sha256(&bytes);
            let descriptor = json!({
                "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len(),
            });
            files.insert(format!("blobs/sha256/{digest}"), bytes);
            descriptor
        };
        let archive = tar([(PLUGIN, module)])?;
        let layer = blob(LAYER, gzip(&archive)?);
        let annotations = annotations(package, source);
        let mut config = json!({
            // The module is for any machine, but who looks here unpacks no `wasm`. There is one image
            // for all and no index of two: a `WasmPlugin` names the digest of what it pulls, and Istio
            // compares that with the image's.
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": annotations},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&archive))]},
        });
        if let Some(time) = &source.time {
            config["created"] = time.as_str().into();
        }
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": blob("application/vnd.oci.image.config.v1+json", config),
            "layers": [layer],
            "annotations": annotations,
        });
        let mut manifest = blob(MANIFEST, manifest.to_string().into_bytes());
        let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": package.version});
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [manifest],
        });
        files.insert("index.json".to_owned(), index.to_string().into_bytes());
        files.insert(LAYOUT.to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
        Ok(Self { files, digest })
    }

    /// Writes an image layout, which takes the place of the one that is there.
    pub(crate) fn write_layout(&self, folder: &Path) -> Result<(), String> {
        renew(folder, LAYOUT)?;
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|error| format!("{}: {error}", blobs.display()))?;
        self.files.iter().try_for_each(|(path, bytes)| write(&folder.join(path), bytes))
    }

    /// The image layout as one file, which tools call `oci-archive`.
    pub(crate) fn archive(&self) -> io::Result<Vec<u8>> {
        tar(self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())))
    }
}

/// What hosts, registries and people read about the image.
fn annotations(package: &Package, source: &Source) -> Value {
    let known = [
        ("title", Some(package.name.clone())),
        ("version", Some(package.version.clone())),
        ("description", package.description.clone()),
        ("licenses", package.licence().ok()),
        ("source", package.repository.clone()),
        ("revision", source.revision.clone()),
        ("created", source.time.clone()),
    ];
    let mut annotations = json!({"module.wasm.image/variant": "compat"});
    for (key, value) in known {
        if let Some(value) = value {
            annotations[format!("org.opencontainers.image.{key}")] = value.into();
        }
    }
    annotations
}

/// Packs these files, in this order: owned by root, readable by all, of the year 1970.
fn tar<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, path, bytes)?;
    }
    archive.into_inner()
}

/// Compressed, without a name and a time, and without the name of this system.
fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let unknown_system = 255;
    let builder = GzBuilder::new().mtime(0).operating_system(unknown_system);
    let mut compressed = builder.write(Vec::new(), Compression::best());
    compressed.write_all(bytes)?;
    compressed.finish()
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[cfg(test)]
mod tests {
    use super::*;

    fn image(revision: Option<&str>, time: Option<&str>) -> Image {
        let package = json!({
            "name": "oauth2-filter", "version": "1.2.3", "description": "a filter",
            "license": "Apache-2.0", "repository": null, "manifest_path": "Cargo.toml",
        });
        let [revision, time] = [revision, time].map(|text| text.map(ToOwned::to_owned));
        let package = serde_json::from_value(package).unwrap();
        // The smallest module there is.
        Image::new(b"\0asm\x01\0\0\0", &package, &Source { revision, time }).unwrap()
    }

    /// The manifest, and the document or the layer that it names.
    fn blob(image: &Image, pointer: &str) -> Vec<u8> {
        let manifest = &image.files[&format!("blobs/sha256/{}", &image.digest[7..])];
        let manifest: Value = serde_json::from_slice(manifest).unwrap();
        let digest = manifest.pointer(pointer).unwrap().as_str().unwrap();
        image.files[&format!("blobs/{}", digest.replace(':', "/"))].clone()
    }

    #[test]
    fn the_same_module_is_the_same_image_on_every_machine() {
        // If it is not after an update of what packs it, an image changes while its module does
        // not: worth a line in the changelog.
        let layer = "5f867f5ced35488c9530d0661aec4ece7a83e23877d46827a9d0390e3a2bfe66";
        let image = image(None, None);
        let packed = blob(&image, "/layers/0/digest");
        assert_eq!(sha256(&packed), layer);
        // No flags, no time, the best compression, an unknown system (RFC 1952).
        assert_eq!(packed[..10], [31, 139, 8, 0, 0, 0, 0, 0, 2, 255]);
    }

    #[test]
    fn a_commit_changes_the_image_but_not_its_layer() {
        let (before, after) =
            (image(None, None), image(Some("1f0e"), Some("2025-11-05T00:00:00Z")));
        let layer = |image| blob(image, "/layers/0/digest");
        assert_eq!(layer(&before), layer(&after));
        assert_ne!(before.digest, after.digest);
        let config =
            |image| serde_json::from_slice::<Value>(&blob(image, "/config/digest")).unwrap();
        assert_eq!(config(&after)["created"], "2025-11-05T00:00:00Z");
        let labels = &config(&after)["config"]["Labels"];
        assert_eq!(labels["org.opencontainers.image.revision"], "1f0e");
        assert_eq!(config(&before).get("created"), None);
    }

    #[test]
    fn a_layout_takes_the_place_of_the_one_before_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let layout = folder.path().join("image");
        image(Some("1f0e"), None).write_layout(&layout).unwrap();
        image(None, None).write_layout(&layout).unwrap();
        assert_eq!(fs::read_dir(layout.join("blobs/sha256")).unwrap().count(), 3);
        let told = image(None, None).write_layout(folder.path()).unwrap_err();
        assert!(told.contains("has other things in it"), "{told}");
        assert!(layout.join("index.json").is_file());
    }
}
