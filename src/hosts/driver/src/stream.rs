//! The state of a request.

use oauth2_filter_core::TokenUse;

/// The state of a request, stored only while something depends on it.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// Its headers are held back until it is decided.
    Waiting {
        /// Whether trailers may follow, and must be checked.
        guards_trailers: bool,
    },
    /// Its headers were forwarded.
    Forwarded {
        /// Whether trailers may follow, and must be checked.
        guards_trailers: bool,
        /// Whether its response is private.
        private: bool,
        /// The client's token with which it was forwarded.
        sent: Option<TokenUse>,
    },
    /// A response was sent, or cannot be sent: nothing of it is forwarded.
    Refused,
}

impl Stream {
    /// Whether what follows its headers is forwarded. A host may deliver that before the request
    /// is decided (`allow_on_headers_stop_iteration`), and would then forward the headers with it.
    pub fn is_forwarded(self) -> bool {
        matches!(self, Self::Forwarded { .. })
    }

    /// Whether trailers may follow, and must be checked.
    pub fn guards_trailers(self) -> bool {
        match self {
            Self::Waiting { guards_trailers } | Self::Forwarded { guards_trailers, .. } => {
                guards_trailers
            }
            Self::Refused => false,
        }
    }

    /// Whether nothing depends on it any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Forwarded { guards_trailers: false, private: false, sent: None })
    }
}
