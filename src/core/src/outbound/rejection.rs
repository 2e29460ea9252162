//! Tokens that an upstream service has rejected.

use super::state::Outbound;
use crate::lookup::Lookup;
use crate::oauth::call::TokenUse;
use crate::run::Run;

impl Outbound {
    /// Whether a response with this status rejects the token.
    pub(crate) fn is_refusal(&self, sent: TokenUse, status: u16) -> bool {
        let client = self.config.client(sent.client);
        client.is_some_and(|client| client.renew_on_status.contains(&status))
    }

    /// Handles the upstream response to a request with one of the proxy's tokens.
    pub(crate) fn response(&mut self, sent: TokenUse, status: u16, run: &mut Run<'_>) {
        if !self.is_refusal(sent, status) {
            return;
        }
        let Some(client) = self.config.client(sent.client) else { return };
        let rejected = match sent.subject {
            None => {
                // The next request asks the fetcher, which may be elsewhere and hear of this later.
                if let Some(token) = self.tokens.get_mut(sent.client.index()) {
                    token.doubt(sent.number);
                }
                Some(Lookup::Rejected(sent.client, sent.number))
            }
            Some(key) => {
                let rejected = self.exchanged.reject(client, key, sent.number, run.store, run.now);
                rejected.map(|(fingerprint, record)| {
                    Lookup::RejectedExchanged(sent.client, fingerprint, record)
                })
            }
        };
        run.output.lookups.0.extend(rejected);
    }
}
