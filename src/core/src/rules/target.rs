//! The properties of a request that rules use.

use std::borrow::Cow;
use std::cell::OnceCell;

use crate::http::authority::{Authority, BadHost};
use crate::http::head::{Fields, Head};
use crate::http::path::{BadPath, EncodedSlash, RequestPath};

/// The properties of a request that rules use, each read once, when first required.
pub(crate) struct Target<'a> {
    /// The request's headers.
    head: &'a dyn Head,
    encoded_slash: EncodedSlash,
    /// Its method, case-sensitive.
    method: OnceCell<Cow<'a, [u8]>>,
    /// The host of its `:authority`; empty if there is none.
    host: OnceCell<Result<Cow<'a, str>, BadHost>>,
    /// Its path; absent for CONNECT.
    pub(super) path: OnceCell<Result<Option<RequestPath<'a>>, BadPath>>,
}

/// Why no rule can be determined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Undecided {
    /// A rule requires the path, which is ambiguous.
    BadPath,
    /// A rule requires the host, which is ambiguous.
    BadHost,
    /// A rule requires a header, which is ambiguous.
    BadHeader,
    /// The index refers to a rule that does not exist: a defect.
    Lost,
}

impl From<BadPath> for Undecided {
    fn from(BadPath: BadPath) -> Self {
        Self::BadPath
    }
}

impl From<BadHost> for Undecided {
    fn from(BadHost: BadHost) -> Self {
        Self::BadHost
    }
}

/// The host of a request; empty if it names none.
pub(crate) fn host_of(head: &dyn Head) -> Result<Cow<'_, str>, BadHost> {
    match head.value(":authority").unwrap_or_default() {
        Cow::Borrowed(authority) => Ok(Authority::parse(authority)?.host),
        Cow::Owned(authority) => Ok(Authority::parse(&authority)?.host.into_owned().into()),
    }
}

impl<'a> Target<'a> {
    pub(crate) fn new(head: &'a dyn Head) -> Self {
        Self::with(head, EncodedSlash::Refuse)
    }

    pub(crate) fn with(head: &'a dyn Head, encoded_slash: EncodedSlash) -> Self {
        let (method, host, path) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { head, encoded_slash, method, host, path }
    }

    /// What `judge` finds for the request. If its path was read and keeps escaped slashes, it is
    /// judged again with slashes in their place.
    ///
    /// # Errors
    /// Those of `judge`; or it finds something else then.
    pub(crate) fn in_both_readings<T: PartialEq>(
        &self,
        mut judge: impl FnMut(&Self) -> Result<T, Undecided>,
    ) -> Result<T, Undecided> {
        let found = judge(self)?;
        match self.with_slashes() {
            Some(other) if judge(&other)? != found => Err(Undecided::BadPath),
            _ => Ok(found),
        }
    }

    /// The same request with slashes in place of the escaped ones that its path keeps, if it was
    /// read and has any.
    fn with_slashes(&self) -> Option<Self> {
        let path = self.path.get()?.as_ref().ok()?.as_ref()?.with_slashes()?;
        Some(Self { path: OnceCell::from(Ok(Some(path))), ..Self::new(self.head) })
    }

    /// The method; empty if it is not UTF-8.
    pub(crate) fn method(&self) -> &str {
        let method = self.method.get_or_init(|| self.head.value(":method").unwrap_or_default());
        std::str::from_utf8(method).unwrap_or_default()
    }

    pub(crate) fn host(&self) -> Result<&str, BadHost> {
        let host = self.host.get_or_init(|| host_of(self.head));
        host.as_deref().map_err(|bad| *bad)
    }

    /// The path. Once it was read, it is checked first.
    pub(crate) fn path(&self) -> Result<Option<&RequestPath<'a>>, BadPath> {
        let parse = |path| RequestPath::parse_with(path, self.encoded_slash);
        let read = || self.head.value(":path").map(parse).transpose();
        self.path.get_or_init(read).as_ref().map(Option::as_ref).map_err(|bad| *bad)
    }

    pub(super) fn fields(&self) -> &'a Fields {
        self.head.fields()
    }

    /// The path, if it was read and has parameters.
    pub(super) fn parameters(&self) -> Option<&RequestPath<'a>> {
        let path = self.path.get()?.as_ref().ok()?.as_ref()?;
        path.has_parameters().then_some(path)
    }
}
