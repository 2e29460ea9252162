//! The images. The one that Istio, Envoy Gateway and other hosts of proxy-wasm pull is an OCI image
//! of one layer with one file, `plugin.wasm`, as the Wasm Image Specification has it in its variant
//! "compat" (<https://github.com/solo-io/wasm/tree/master/spec>). The one of the dynamic module is for
//! a volume: an image for each architecture, with the file that Envoy loads.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::Path,
};

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::{build::Module, packages::Package, renew, sha256, source::Source, write};

/// The file that hosts of proxy-wasm look for.
const PLUGIN: &str = "plugin.wasm";

/// The file that Envoy looks for if a configuration names the dynamic module `oauth2_filter`.
const DYNAMIC_MODULE: &str = "liboauth2_filter.so";

/// The only kind of layer that all of them take.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The file by which a folder is known as an image layout.
const LAYOUT: &str = "oci-layout";

/// An image of the filter, complete.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// What an image layout holds, by path.
    files: BTreeMap<String, Vec<u8>>,
    /// The digest by which the image is pulled, and which a `WasmPlugin` may name as `sha256`.
    pub(crate) digest: String,
}

impl Image {
    /// Packs a WebAssembly module, or dynamic modules.
    pub(crate) fn new(modules: &[Module], package: &Package, source: &Source) -> io::Result<Self> {
        let mut blobs = Blobs(BTreeMap::new());
        let annotations = annotations(package, source);
        let mut image = match modules {
            // One image for all and no index of two: a `WasmPlugin` names the digest of what it
            // pulls, and Istio compares that with the image's.
            [module] if module.is_wasm() => {
                let mut annotations = annotations;
                annotations["module.wasm.image/variant"] = "compat".into();
                blobs.image((PLUGIN, module), &annotations, source)?
            }
            modules => {
                let mut manifests = Vec::new();
                for module in modules {
                    let mut manifest =
                        blobs.image((DYNAMIC_MODULE, module), &annotations, source)?;
                    manifest["platform"] =
                        json!({"architecture": module.build.architecture, "os": "linux"});
                    manifests.push(manifest);
                }
                let index = json!({
                    "schemaVersion": 2,
                    "mediaType": INDEX,
                    "manifests": manifests,
                    "annotations": annotations,
                });
                blobs.add(INDEX, index.to_string().into_bytes())
            }
        };
        let digest = image["digest"].as_str().unwrap_or_default().to_owned();
        image["annotations"] = json!({"org.opencontainers.image.ref.name": package.version});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [image]});
        let Blobs(mut files) = blobs;
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

/// What an image layout refers to by digest, by path.
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Adds these bytes, and describes them.
    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = sha256(&bytes);
        let descriptor = json!({
            "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len(),
        });
        self.0.insert(format!("blobs/sha256/{digest}"), bytes);
        descriptor
    }

    /// Adds an image of one file, and describes its manifest.
    fn image(
        &mut self,
        (name, module): (&str, &Module),
        annotations: &Value,
        source: &Source,
    ) -> io::Result<Value> {
        let archive = tar([(name, module.bytes.as_slice())])?;
        let layer = self.add(LAYER, gzip(&archive)?);
        let mut config = json!({
            "architecture": module.build.architecture,
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
            "config": self.add("application/vnd.oci.image.config.v1+json", config),
            "layers": [layer],
            "annotations": annotations,
        });
        Ok(self.add(MANIFEST, manifest.to_string().into_bytes()))
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
    let mut annotations = json!({});
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{AARCH64, WASM, X86_64};

    fn package() -> Package {
        let package = json!({
            "name": "oauth2-filter", "version": "1.2.3", "description": "a filter",
            "license": "Apache-2.0", "repository": null, "manifest_path": "Cargo.toml",
        });
        serde_json::from_value(package).unwrap()
    }

    fn image(revision: Option<&str>, time: Option<&str>) -> Image {
        let [revision, time] = [revision, time].map(|text| text.map(ToOwned::to_owned));
        // The smallest module there is.
        let module = Module { build: &WASM, bytes: b"\0asm\x01\0\0\0".to_vec() };
        Image::new(&[module], &package(), &Source { revision, time }).unwrap()
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
    fn the_image_of_the_dynamic_module_has_an_image_for_each_architecture() {
        let modules = [&X86_64, &AARCH64]
            .map(|build| Module { build, bytes: build.architecture.as_bytes().to_vec() });
        let image = Image::new(&modules, &package(), &Source::default()).unwrap();
        let file = |digest: &Value| {
            let path = format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));
            &image.files[&path]
        };
        let document = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let layout = document(&image.files["index.json"]);
        assert_eq!(layout["manifests"][0]["digest"], format!("sha256:{}", &image.digest[7..]));
        let index = document(file(&layout["manifests"][0]["digest"]));
        for (described, expected) in index["manifests"].as_array().unwrap().iter().zip(modules) {
            assert_eq!(described["platform"]["architecture"], expected.build.architecture);
            let manifest = document(file(&described["digest"]));
            let config = document(file(&manifest["config"]["digest"]));
            assert_eq!(config["architecture"], expected.build.architecture);
            let layer =
                flate2::read::GzDecoder::new(file(&manifest["layers"][0]["digest"]).as_slice());
            let mut archive = tar::Archive::new(layer);
            let mut entries = archive.entries().unwrap();
            let mut entry = entries.next().unwrap().unwrap();
            assert_eq!(entry.path().unwrap().to_str(), Some("liboauth2_filter.so"));
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            assert_eq!(bytes, expected.bytes);
        }
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
