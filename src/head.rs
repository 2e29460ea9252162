//! The head of a request, as far as the filter looks at it.

/// Reads a request's head. Each call may cost the host a copy, so the filter asks for little.
pub trait Head {
    /// A header's value, or a pseudo-header's (`:method`, `:path`, `:authority`). A header that
    /// stands more than once is joined by commas, if the host shows that here: Envoy does for
    /// `authorization`.
    fn value(&self, name: &str) -> Option<Vec<u8>>;

    /// All headers, each as often as it stands, names in lower case. From then on
    /// [`value`](Self::value) joins every header.
    fn all(&self) -> &[(String, Vec<u8>)];

    /// The SHA-256 digest of the certificate that the client has shown in TLS, if it has.
    fn peer_certificate(&self) -> Option<[u8; 32]>;
}

#[cfg(test)]
pub(crate) mod fixture {
    //! A head that a test writes down.

    use super::Head;

    /// Headers as given.
    pub(crate) struct FixedHead(Vec<(String, Vec<u8>)>);

    impl FixedHead {
        /// A head of these headers.
        pub(crate) fn new<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
            Self(headers.into_iter().map(|(n, v)| (n.to_owned(), v.into())).collect())
        }
    }

    impl Head for FixedHead {
        fn value(&self, name: &str) -> Option<Vec<u8>> {
            let values: Vec<&[u8]> =
                self.0.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_slice()).collect();
            (!values.is_empty()).then(|| values.join(&b','))
        }

        fn all(&self) -> &[(String, Vec<u8>)] {
            &self.0
        }

        fn peer_certificate(&self) -> Option<[u8; 32]> {
            None
        }
    }
}
