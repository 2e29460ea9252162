//! The places in which a configuration accepts tokens, and which of several tokens counts.

use crate::http::head::Head;
use crate::oauth::bearer::MAX_TOKEN_BYTES;
use crate::oauth::reason::Reason;
use crate::oauth::token_source::{Found, Presented, TokenSource};

/// The places in which tokens are accepted.
#[derive(Clone, Debug)]
pub(crate) struct TokenSources {
    /// In order of precedence.
    pub(crate) places: Vec<TokenSource>,
    pub(crate) precedence: Precedence,
    /// The maximum length of a token, in bytes.
    pub(crate) max_bytes: usize,
}

/// Which of several tokens counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Precedence {
    /// A request with several tokens is rejected.
    #[default]
    Single,
    /// The one in the first place counts, even if it is malformed. All are removed.
    First,
}

impl Default for TokenSources {
    fn default() -> Self {
        Self {
            places: vec![TokenSource::authorization()],
            precedence: Precedence::Single,
            max_bytes: MAX_TOKEN_BYTES,
        }
    }
}

impl TokenSources {
    /// Whether Basic credentials may contain a token.
    pub(crate) fn accept_basic(&self) -> bool {
        self.places.iter().any(|place| matches!(place, TokenSource::BasicPassword))
    }

    /// The token of a request that counts, if it has one. Those that `is_ours` recognizes are the
    /// proxy's own.
    ///
    /// # Errors
    /// [`Reason::RepeatedToken`] if there are several in one place or, unless the first counts, in
    /// several places. Tokens joined in one header are detected when the syntax is checked.
    pub(crate) fn find<'h>(
        &'h self,
        head: &'h dyn Head,
        is_ours: &dyn Fn(&Presented<'_>) -> bool,
    ) -> Result<Option<Found<'h>>, Reason> {
        let look = |place: &'h TokenSource| {
            let found = place.look(head);
            // Not filtered, which would move it.
            if let Ok(Some(one)) = &found
                && is_ours(&one.token)
            {
                return Ok(None);
            }
            found
        };
        // Most configurations have one place.
        if let [only] = &*self.places {
            return look(only);
        }
        let mut found: Option<Found<'_>> = None;
        for place in &self.places {
            let Some(counts) = &mut found else {
                found = look(place)?;
                continue;
            };
            match self.precedence {
                Precedence::Single => {
                    if look(place)?.is_some() {
                        return Err(Reason::RepeatedToken);
                    }
                }
                Precedence::First => {
                    // Two places may be in one header, so each removal is of what the others leave.
                    let rest = counts.removals.apply(head.fields());
                    if let Some(other) = place.look(&rest)? {
                        counts.in_query |= other.in_query;
                        counts.removals.add(other.removals.first);
                    }
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::http::head::Fields;
    use crate::oauth::token_source::{Removal, Removals};

    fn first(places: &[TokenSource]) -> TokenSources {
        TokenSources {
            places: places.to_vec(),
            precedence: Precedence::First,
            ..TokenSources::default()
        }
    }

    /// The token that counts, whether one is in the query, and what is left of the head.
    type Seen = Result<Option<(Result<String, Reason>, bool, Vec<(String, String)>)>, Reason>;

    fn look(sources: &TokenSources, headers: &[(&str, &str)]) -> Seen {
        let head = headers.iter().copied().collect::<Fields>();
        let Some(found) = sources.find(&head, &|_| false)? else { return Ok(None) };
        let token = found.token.parse(sources.max_bytes).map(|token| token.reveal().to_owned());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let rest = found.removals.apply(&head);
        let rest = rest.iter().map(|(name, value)| (text(name), text(value))).collect();
        Ok(Some((token, found.in_query, rest)))
    }

    #[test]
    fn the_first_place_with_a_value_counts_and_all_values_are_taken_out() {
        // Without a text, the token is malformed.
        let found = |token: &str, in_query: bool, rest: &[(&str, &str)]| {
            let rest = rest.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let token = (!token.is_empty()).then(|| token.to_owned());
            Ok(Some((token.ok_or(Reason::MalformedToken), in_query, rest.collect())))
        };
        let sources = first(&[
            TokenSource::Cookie("at".into()),
            TokenSource::authorization(),
            TokenSource::BasicPassword,
            TokenSource::Query("access_token".into()),
            TokenSource::Cookie("old".into()),
            TokenSource::Query("token".into()),
            TokenSource::WebSocketProtocol("bearer".into()),
        ]);
        let protocol = "sec-websocket-protocol";
        let repeated = Err(Reason::RepeatedToken);
        let table: [(&[(&str, &str)], Seen); 14] = [
            (&[], Ok(None)),
            (&[("cookie", "at=t"), ("authorization", "Bearer u")], found("t", false, &[])),
            (&[("cookie", "at="), ("authorization", "Bearer u")], {
                found("u", false, &[("cookie", "at=")])
            }),
            // Even if it is malformed.
            (&[("cookie", "at=a b"), ("authorization", "Bearer u")], found("", false, &[])),
            (&[("cookie", "at[]=t"), ("authorization", "Bearer u")], found("", false, &[])),
            (&[("authorization", "Bearer"), (protocol, "bearer, t")], found("", false, &[])),
            // Of a header with several places, all are taken out.
            (&[("cookie", "a=1; old=u; at=t; b=2")], found("t", false, &[("cookie", "a=1; b=2")])),
            (&[("cookie", "old=u; at=t")], found("t", false, &[])),
            (
                &[("authorization", "Basic OnQ="), (":path", "/?token=u&a&access_token=v")],
                found("t", true, &[(":path", "/?a")]),
            ),
            (&[(":path", "/?token=u&access_token=v")], found("v", true, &[(":path", "/")])),
            // A malformed token is taken out like any other.
            (
                &[("cookie", "at=t; old[]=u"), (protocol, "chat, Bearer, v")],
                found("t", false, &[(protocol, "chat")]),
            ),
            // Two values in one place are too many, whichever counts.
            (&[("cookie", "at=t; at=t")], repeated.clone()),
            (&[("cookie", "at=t"), (":path", "/?token=u&token=u")], repeated.clone()),
            (&[("cookie", "at=t"), ("authorization", "Basic OnQ=,Bearer t")], repeated),
        ];
        for (headers, expected) in table {
            assert_eq!(look(&sources, headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_token_has_at_most_the_configured_length_once_it_is_decoded() {
        let sources = TokenSources {
            max_bytes: 3,
            ..first(&[TokenSource::Query("t".into()), TokenSource::BasicPassword])
        };
        let token = |headers: &[(&str, &str)]| look(&sources, headers).unwrap().unwrap().0;
        assert_eq!(token(&[(":path", "/?t=%61%62%63")]), Ok("abc".to_owned()));
        assert_eq!(token(&[(":path", "/?t=abcd")]), Err(Reason::TokenTooLong));
        assert_eq!(token(&[(":path", "/?t=%61%62%63%64")]), Err(Reason::TokenTooLong));
        // longer:abc and :abcd
        assert_eq!(token(&[("authorization", "Basic bG9uZ2VyOmFiYw==")]), Ok("abc".to_owned()));
        assert_eq!(token(&[("authorization", "Basic OmFiY2Q=")]), Err(Reason::TokenTooLong));
    }

    #[test]
    fn a_later_change_to_a_header_takes_the_place_of_an_earlier_one() {
        let head = Fields::from_iter([("cookie", "a=1"), ("x", "y")]);
        let replace = |value: &str| Removal::Replace("cookie".into(), value.into());
        let mut removals = Removals::from(replace("b"));
        removals.add(replace("c"));
        let left =
            |removals: &Removals| removals.apply(&head).joined("cookie").map(Cow::into_owned);
        assert_eq!(left(&removals), Some(b"c".to_vec()));
        removals.add(Removal::Remove("x".into()));
        removals.add(Removal::Remove("cookie".into()));
        assert_eq!(left(&removals), None);
        assert_eq!(removals.iter().count(), 2);
    }
}
