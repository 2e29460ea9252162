//! Secrets that change: in files, and in Envoy, which obtains them by SDS.

use std::collections::VecDeque;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use log::{info, warn};
use oauth2_filter_core::{SecretPlace, SecretSource, Timestamp};

use super::envoy;
use super::locked::lock;

/// The maximum size of a file with a secret, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// How long ago a file must have changed before it is read, so that a later change shows in its
/// metadata: file systems are not exact about time.
const SETTLED: Duration = Duration::from_secs(1);

/// Reads a secret as Envoy has it now; empty if there is none.
pub(crate) type ReadSecret = Box<dyn Fn() -> Option<Vec<u8>> + Send + Sync>;

/// Has Envoy obtain a secret by its name, from an `envoy.config.core.v3.ConfigSource` in JSON or the
/// bootstrap. The error says why it does not.
pub(crate) type Subscribe<'a> = &'a dyn Fn(&str, Option<&str>) -> Result<ReadSecret, String>;

/// Opens a secret.
///
/// # Errors
/// What is wrong with the place, or with the file.
pub(crate) fn open(
    place: SecretPlace<'_>,
    subscribe: Subscribe<'_>,
) -> Result<Arc<dyn SecretSource>, String> {
    match place {
        SecretPlace::File(path) => Ok(Arc::new(FileSecret::open(path)?)),
        SecretPlace::Sds { name, sds_config } => {
            let read = subscribe(name, sds_config)?;
            Ok(Arc::new(SdsSecret { read, recent: Recent::default() }))
        }
    }
}

/// The last secrets of a source.
#[derive(Default)]
struct Recent(Mutex<VecDeque<String>>);

/// How many there are: more than change while a call is under way.
const RECENT: usize = 8;

impl Recent {
    /// This one is used.
    fn used(&self, secret: String) -> String {
        let mut recent = lock(&self.0);
        if recent.back() != Some(&secret) {
            recent.push_back(secret.clone());
        }
        if recent.len() > RECENT {
            recent.pop_front();
        }
        secret
    }

    fn each(&self, check: &mut dyn FnMut(&str)) {
        lock(&self.0).iter().for_each(|secret| check(secret));
    }
}

/// A secret in a file, which is read again after a change. If that fails, the last secret stays in
/// use.
struct FileSecret {
    path: String,
    state: Mutex<FileState>,
    recent: Recent,
}

/// What was read.
struct FileState {
    content: Content,
    /// Whether the file could not be read since.
    is_lost: bool,
}

/// The content of a file.
struct Content {
    secret: String,
    stamp: Stamp,
    /// Whether each later change shows in the stamp.
    is_settled: bool,
}

/// What is different after a change of a file, or of a link on the way to it.
#[derive(Eq, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// When the file or its metadata last changed, in seconds and nanoseconds.
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the file changed so long before this time that a later change has another one.
    fn is_settled(&self, now: Timestamp) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let millis = seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000);
        u64::try_from(millis)
            .is_ok_and(|changed| now >= Timestamp::from_millis(changed).plus(SETTLED))
    }
}

impl Content {
    /// Reads a file.
    ///
    /// # Errors
    /// There is no regular file with a secret.
    fn read(path: &str) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        // To open a pipe would wait for its other end.
        if !fs::metadata(path).map_err(text)?.is_file() {
            return Err("not a regular file".to_owned());
        }
        let now = envoy::now();
        let file = File::open(path).map_err(text)?;
        let stamp = Stamp::of(&file.metadata().map_err(text)?);
        let mut bytes = Vec::new();
        file.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes).map_err(text)?;
        if u64::try_from(bytes.len()).is_ok_and(|size| size > MAX_BYTES) {
            return Err(format!("larger than {} KiB", MAX_BYTES >> 10));
        }
        let secret = secret(bytes).ok_or("empty, or not UTF-8")?;
        Ok(Self { secret, is_settled: now.is_ok_and(|now| stamp.is_settled(now)), stamp })
    }

    /// Whether the file is as it was when it was read.
    fn is_current(&self, path: &str) -> bool {
        self.is_settled
            && fs::metadata(path).is_ok_and(|metadata| Stamp::of(&metadata) == self.stamp)
    }
}

impl FileSecret {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// The path is relative, or the file has no secret.
    fn open(path: &str) -> Result<Self, String> {
        if !Path::new(path).is_absolute() {
            return Err("expected an absolute path".to_owned());
        }
        let content = Content::read(path);
        let content = content.map_err(|error| format!("failed to read the file: {error}"))?;
        let state = Mutex::new(FileState { content, is_lost: false });
        Ok(Self { path: path.to_owned(), state, recent: Recent::default() })
    }
}

impl SecretSource for FileSecret {
    fn current(&self) -> Option<String> {
        let path = self.path.as_str();
        let mut state = lock(&self.state);
        if !state.content.is_current(path) {
            match Content::read(path) {
                Ok(content) => {
                    if state.is_lost {
                        info!("secret file {path:?} can be read again");
                    }
                    *state = FileState { content, is_lost: false };
                }
                Err(error) => {
                    if !state.is_lost {
                        warn!(
                            "failed to read secret file {path:?}: {error}; its last secret stays \
                             in use"
                        );
                    }
                    state.is_lost = true;
                }
            }
        }
        Some(self.recent.used(state.content.secret.clone()))
    }

    fn each_recent(&self, check: &mut dyn FnMut(&str)) {
        self.recent.each(check);
    }
}

/// A secret that Envoy obtains.
struct SdsSecret {
    read: ReadSecret,
    recent: Recent,
}

impl SecretSource for SdsSecret {
    fn current(&self) -> Option<String> {
        (self.read)().and_then(secret).map(|secret| self.recent.used(secret))
    }

    fn each_recent(&self, check: &mut dyn FnMut(&str)) {
        self.recent.each(check);
    }
}

/// The secret in these bytes, without the newline at their end.
fn secret(bytes: Vec<u8>) -> Option<String> {
    let mut secret = String::from_utf8(bytes).ok()?;
    if secret.ends_with('\n') {
        secret.pop();
        if secret.ends_with('\r') {
            secret.pop();
        }
    }
    Some(secret).filter(|secret| !secret.is_empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A folder of its own for a test, which is removed in the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = format!("oauth2-filter-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(folder);
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn write(&self, name: &str, content: &[u8]) -> PathBuf {
            fs::write(self.path(name), content).unwrap();
            self.path(name)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn open(path: &Path) -> Result<FileSecret, String> {
        FileSecret::open(path.to_str().unwrap())
    }

    fn current(file: &FileSecret) -> String {
        file.current().unwrap()
    }

    fn recent(file: &FileSecret) -> Vec<String> {
        let mut recent = Vec::new();
        file.each_recent(&mut |secret| recent.push(secret.to_owned()));
        recent
    }

    #[test]
    fn one_newline_at_the_end_is_no_part_of_a_secret() {
        for (bytes, expected) in [
            ("s3cr3t", Some("s3cr3t")),
            ("s3cr3t\n", Some("s3cr3t")),
            ("s3cr3t\r\n", Some("s3cr3t")),
            ("s3cr3t\n\n", Some("s3cr3t\n")),
            (" s3cr3t\t", Some(" s3cr3t\t")),
            ("\n", None),
            ("\r\n", None),
            ("", None),
        ] {
            assert_eq!(secret(bytes.into()).as_deref(), expected, "{bytes:?}");
        }
        assert_eq!(secret(vec![0xff]), None);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_that_does_not_show_it() {
        let folder = Folder::new("errors");
        let text = |path: &Path| open(path).err().unwrap();
        assert_eq!(text(Path::new("relative")), "expected an absolute path");
        assert!(text(&folder.path("absent")).starts_with("failed to read the file: No such file"));
        assert_eq!(text(&folder.0), "failed to read the file: not a regular file");
        let empty = "failed to read the file: empty, or not UTF-8";
        assert_eq!(text(&folder.write("empty", b"")), empty);
        assert_eq!(text(&folder.write("newline", b"\n")), empty);
        assert_eq!(text(&folder.write("binary", b"s3cr3t\xff")), empty);
        let large = folder.write("large", &vec![b'a'; 65_537]);
        assert_eq!(text(&large), "failed to read the file: larger than 64 KiB");
        assert_eq!(
            current(&open(&folder.write("most", &vec![b'a'; 65_536])).unwrap()).len(),
            65_536
        );
    }

    #[test]
    fn every_way_to_change_a_file_shows_at_once() {
        let folder = Folder::new("changes");
        let path = folder.write("secret", b"one\n");
        let file = open(&path).unwrap();
        assert_eq!(current(&file), "one");
        // Of the same length, in the same file, within the same tick of the file system's clock.
        folder.write("secret", b"two\n");
        assert_eq!(current(&file), "two");
        fs::rename(folder.write("next", b"new\n"), &path).unwrap();
        assert_eq!(current(&file), "new");
        assert_eq!(recent(&file), ["one", "two", "new"]);
        for n in 0..10 {
            folder.write("secret", format!("secret {n}").as_bytes());
            assert_eq!(current(&file), format!("secret {n}"));
            assert_eq!(current(&file), format!("secret {n}"));
        }
        assert_eq!(recent(&file), (2..10).map(|n| format!("secret {n}")).collect::<Vec<_>>());
    }

    #[test]
    fn a_secret_that_kubernetes_mounts_is_followed() {
        let folder = Folder::new("mounted");
        for (name, content) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(folder.path(name)).unwrap();
            fs::write(folder.path(name).join("secret"), content).unwrap();
        }
        symlink("..1", folder.path("..data")).unwrap();
        symlink("..data/secret", folder.path("secret")).unwrap();
        let file = open(&folder.path("secret")).unwrap();
        assert_eq!(current(&file), "one");
        symlink("..2", folder.path("..data_tmp")).unwrap();
        fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
        assert_eq!(current(&file), "two");
    }

    #[test]
    fn a_file_that_is_lost_leaves_its_last_secret() {
        let folder = Folder::new("lost");
        let path = folder.write("secret", b"one");
        let file = open(&path).unwrap();
        for lost in [Some(&b""[..]), Some(b"\n"), Some(b"\xff"), None] {
            match lost {
                Some(content) => _ = folder.write("secret", content),
                None => fs::remove_file(&path).unwrap(),
            }
            assert_eq!(current(&file), "one", "{lost:?}");
        }
        folder.write("secret", b"two");
        assert_eq!(current(&file), "two");
    }

    #[test]
    fn a_file_that_has_not_changed_for_a_while_is_not_read_again() {
        let folder = Folder::new("settled");
        let path = folder.write("secret", b"one");
        let file = open(&path).unwrap();
        let stamp = Stamp::of(&fs::metadata(&path).unwrap());
        let (seconds, nanoseconds) = stamp.changed;
        let changed = u64::try_from(seconds * 1000 + nanoseconds / 1_000_000).unwrap();
        let changed = Timestamp::from_millis(changed);
        assert!(!stamp.is_settled(changed));
        assert!(!stamp.is_settled(changed.minus(SETTLED)), "the clock was set back");
        assert!(stamp.is_settled(changed.plus(SETTLED)));
        // What is not read again shows by what it would have read.
        let secret = "unread".to_owned();
        lock(&file.state).content = Content { secret, stamp, is_settled: true };
        assert_eq!(current(&file), "unread");
    }
}
