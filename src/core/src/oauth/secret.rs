//! Secrets: those that are passed through, and those of the configuration, which may change while
//! it is in use.

use std::fmt;
use std::sync::Arc;

/// A secret, without `Display` and with an empty `Debug`. Only [`Secret::reveal`] returns it, so
/// that each use can be found.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the request that must contain it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The source of a secret that may change, such as a file.
pub trait SecretSource: Send + Sync {
    /// The secret as it is now; `None` if there is none. It is called for each call to an
    /// authorization server.
    fn current(&self) -> Option<String>;

    /// Shows each secret that was [current](Self::current) in a call that may still be under way.
    fn each_recent(&self, check: &mut dyn FnMut(&str));
}

/// Where a secret is that may change.
#[derive(Clone, Copy, Debug)]
pub enum SecretPlace<'a> {
    /// In the file of this path.
    File(&'a str),
    /// Where Envoy obtains it.
    Sds {
        /// The name of the secret.
        name: &'a str,
        /// An `envoy.config.core.v3.ConfigSource` in JSON; `None` for a static secret of the
        /// bootstrap.
        sds_config: Option<&'a str>,
    },
}

/// Opens the source of a secret that may change. The error says what is wrong with the place.
pub type OpenSecret<'a> = &'a dyn Fn(SecretPlace<'_>) -> Result<Arc<dyn SecretSource>, String>;

/// A secret of the configuration, which is read for each call.
pub(crate) struct Credential {
    /// The secret, or what identifies its source.
    text: Secret,
    /// `None` if it never changes.
    source: Option<Arc<dyn SecretSource>>,
}

impl Credential {
    /// A secret that never changes.
    pub(crate) fn fixed(secret: Secret) -> Self {
        Self { text: secret, source: None }
    }

    /// A secret that its source has; `name` identifies that.
    pub(crate) fn changing(name: String, source: Arc<dyn SecretSource>) -> Self {
        Self { text: Secret::new(name), source: Some(source) }
    }

    pub(crate) fn is_fixed(&self) -> bool {
        self.source.is_none()
    }

    /// The secret as it is now; `None` if there is none, and then no call may be made.
    pub(crate) fn current(&self) -> Option<Secret> {
        match &self.source {
            None => Some(self.text.clone()),
            Some(source) => source.current().filter(|text| !text.is_empty()).map(Secret::new),
        }
    }

    /// Shows each secret that a call under way may contain.
    pub(crate) fn each(&self, check: &mut dyn FnMut(&str)) {
        match &self.source {
            None => check(self.text.reveal()),
            Some(source) => source.each_recent(check),
        }
    }

    /// Adds what distinguishes it from others: the secret, or its source, so that what was obtained
    /// with a secret is not lost when it changes. A secret is never empty, so none looks like a
    /// source.
    pub(crate) fn identify<'s>(&'s self, parts: &mut Vec<&'s str>) {
        if !self.is_fixed() {
            parts.push("");
        }
        parts.push(self.text.reveal());
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source with this secret.
    struct Source(Option<&'static str>);

    impl SecretSource for Source {
        fn current(&self) -> Option<String> {
            self.0.map(str::to_owned)
        }

        fn each_recent(&self, _: &mut dyn FnMut(&str)) {}
    }

    fn changing(name: &str, secret: Option<&'static str>) -> Credential {
        Credential::changing(name.to_owned(), Arc::new(Source(secret)))
    }

    #[test]
    fn d6_01_a_secret_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", Some(Secret::new("s3cr3t".into()))), "Some([redacted])");
        let fixed = Credential::fixed(Secret::new("s3cr3t".into()));
        let all = [fixed, changing("file", Some("s3cr3t"))];
        assert_eq!(format!("{all:?}"), "[[redacted], [redacted]]");
    }

    #[test]
    fn an_empty_secret_is_none() {
        assert_eq!(changing("a", Some("s")).current(), Some(Secret::new("s".into())));
        assert_eq!(changing("a", Some("")).current(), None);
        assert_eq!(changing("a", None).current(), None);
    }

    #[test]
    fn a_source_is_identified_by_its_name_and_differs_from_a_secret_like_that() {
        let identity = |credential: &Credential| {
            let mut parts = Vec::new();
            credential.identify(&mut parts);
            parts.join("|")
        };
        let one = identity(&changing("file:/a", Some("one")));
        assert_eq!(one, identity(&changing("file:/a", Some("other"))));
        assert_ne!(one, identity(&changing("file:/b", Some("one"))));
        assert_ne!(one, identity(&Credential::fixed(Secret::new("file:/a".into()))));
    }
}
