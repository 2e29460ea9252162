//! The head of a request, as far as the filter looks at it.

/// Reads a request's head. Each call may cost the host a copy, so the filter asks for little.
pub trait Head {
    /// A header's value, or a pseudo-header's (`:method`, `:path`, `:authority`). A header that
    /// stands more than once is joined by commas.
    fn value(&self, name: &str) -> Option<Vec<u8>>;

    /// The names of all headers, in lower case.
    fn names(&self) -> Vec<String>;
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

        fn names(&self) -> Vec<String> {
            self.0.iter().map(|(name, _)| name.clone()).collect()
        }
    }
}
