//! Tokens that a service or an authorization server has not taken.

use log::info;

use super::state::{Outbound, of_client};
use crate::metrics::client::{ClientEvent, TokenEvent};
use crate::oauth::call::TokenUse;
use crate::run::Run;

impl Outbound {
    /// Whether an answer with this status says that the token was not taken.
    pub(crate) fn is_refusal(&self, sent: TokenUse, status: u16) -> bool {
        let client = self.config.clients.get(sent.client);
        client.is_some_and(|client| client.renew_on_status.contains(&status))
    }

    /// The upstream has answered a request that was sent with one of our tokens.
    pub(crate) fn response(&mut self, sent: TokenUse, status: u16, run: &mut Run<'_>) {
        if self.is_refusal(sent, status) {
            self.drop_token(sent, run);
        }
    }

    /// A token was not taken: whether the next try gets another. Many calls may have carried it, of
    /// which the first that ends drops it.
    pub(crate) fn is_replaced(&mut self, sent: TokenUse, run: &mut Run<'_>) -> bool {
        self.drop_token(sent, run)
            || self.holders.get(sent.client).is_some_and(|holder| {
                holder.holding.number != sent.number || holder.holding.dropped
            })
    }

    /// A token was not taken: it is not used again, unless there can be no other.
    fn drop_token(&mut self, sent: TokenUse, run: &mut Run<'_>) -> bool {
        let (data, now) = (run.data, run.now);
        let Some((client, holder)) = of_client(&self.config, &mut self.holders, sent.client) else {
            return false;
        };
        let dropped = match sent.subject {
            Some(key) => {
                let dropped = self.exchanges.drop_token(client, key, sent.number, data, now);
                if dropped {
                    holder.tell(data);
                }
                dropped
            }
            None if !client.can_renew() => false,
            None => holder.update(&client.identity, data, now, &mut |holding| {
                holding.dropped(sent.number, now)
            }),
        };
        if dropped {
            info!("client {}: token rejected, dropping it", client.name);
            run.count_client(sent.client, ClientEvent::Token(TokenEvent::Dropped));
        }
        dropped
    }
}
