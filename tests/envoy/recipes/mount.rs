//! A directory in which the kubelet would mount a Secret or a projected token.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use oauth2_filter_testbed::envoy::example;
use tempfile::TempDir;

/// A mounted volume. Its files are links into `..data`, which is a link to the newest directory.
pub(super) struct Mount {
    directory: TempDir,
    versions: usize,
}

impl Mount {
    /// An empty volume.
    pub(super) fn new() -> Self {
        let directory = TempDir::with_prefix("mount-").expect("a temporary directory");
        Self { directory, versions: 0 }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Replaces what is in it by this one file, as the kubelet does: a new directory, then a new
    /// link to it, which is moved to the place of the old one.
    pub(super) fn write(&mut self, file: &str, content: &str) {
        self.versions += 1;
        let version = format!("..version-{}", self.versions);
        let path = self.path();
        fs::create_dir(path.join(&version)).expect("a directory");
        fs::write(path.join(&version).join(file), content).expect("a file");
        // The kubelet makes the link of a new file last. Envoy may have read by then, and only
        // what is moved makes it read again.
        if !path.join(file).is_symlink() {
            symlink(Path::new("..data").join(file), path.join(file)).expect("a link");
        }
        symlink(&version, path.join("..data_tmp")).expect("a link");
        fs::rename(path.join("..data_tmp"), path.join("..data")).expect("a link in its place");
    }

    /// Saves an SDS file of `envoy/sds`, which names this directory instead of `mounted`, and
    /// returns its path.
    pub(super) fn sds(&self, file: &str, mounted: &str) -> String {
        let text = example(&format!("sds/{file}"), &[(mounted, &self.path().to_string_lossy())]);
        // A file there is no part of the volume, but moves in the volume must not be its own.
        let folder = self.path().join("sds");
        fs::create_dir_all(&folder).expect("a directory");
        let path = folder.join(file);
        fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    }
}
