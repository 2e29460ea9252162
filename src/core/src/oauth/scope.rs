//! Scopes (RFC 6749, section 3.3): whole words, case-sensitive, in any order.

use serde_json::Value;

use crate::cache::footprint::Footprint;

/// The scopes of a token, separated by spaces.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ScopeSet(Box<str>);

impl ScopeSet {
    /// The scopes in a claim: a string separated by single spaces, or a list with one scope per
    /// element. Anything else contains none.
    pub(crate) fn from_claim(claim: Option<&Value>) -> Self {
        match claim {
            Some(Value::String(text)) => Self(text.as_str().into()),
            Some(Value::Array(elements)) => {
                // An element that is not a single word is not a scope.
                let words = elements.iter().filter_map(Value::as_str);
                let words: Vec<&str> = words.filter(|word| !word.contains(' ')).collect();
                Self(words.join(" ").into())
            }
            _ => Self::default(),
        }
    }

    /// The scopes with all that they imply.
    pub(crate) fn with_implied(self, implied: &Implied) -> Self {
        let held = implied.0.iter().filter(|(scope, _)| self.contains(scope));
        let more: Vec<&str> = held.flat_map(|(_, more)| more).map(|word| &**word).collect();
        if more.is_empty() { self } else { Self([&self.0, &*more.join(" ")].join(" ").into()) }
    }

    /// Whether the token has this scope.
    pub(crate) fn contains(&self, word: &str) -> bool {
        !word.is_empty() && self.0.split(' ').any(|held| held == word)
    }
}

impl Footprint for ScopeSet {
    fn owned_bytes(&self) -> usize {
        self.0.owned_bytes()
    }
}

/// Which scopes a scope implies.
#[derive(Debug, Default)]
pub(crate) struct Implied(Vec<Implication>);

type Implication = (Box<str>, Vec<Box<str>>);

impl Implied {
    /// Computes the transitive closure of `direct`.
    ///
    /// # Errors
    /// A scope that implies itself.
    pub(crate) fn transitive(direct: &[Implication]) -> Result<Self, Box<str>> {
        let implied_by = |scope: &str| -> Vec<&Box<str>> {
            direct.iter().filter(|(from, _)| **from == *scope).flat_map(|(_, to)| to).collect()
        };
        let mut implied = Vec::new();
        for (scope, to) in direct {
            let mut all: Vec<Box<str>> = Vec::new();
            let mut next: Vec<&Box<str>> = to.iter().collect();
            while let Some(word) = next.pop() {
                if word == scope {
                    return Err(scope.clone());
                }
                if !all.contains(word) {
                    all.push(word.clone());
                    next.extend(implied_by(word));
                }
            }
            implied.push((scope.clone(), all));
        }
        Ok(Self(implied))
    }
}

/// The scopes that a rule requires: any one of its alternatives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ScopeNeed(Vec<Alternative>);

/// Scopes that are required together.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Alternative {
    words: Vec<Box<str>>,
    /// The value of a `scope` parameter.
    text: Box<str>,
}

impl ScopeNeed {
    /// Requires all scopes of any one entry of `alternatives`.
    pub(crate) fn any_of(alternatives: Vec<Vec<Box<str>>>) -> Self {
        let alternative = |words: Vec<Box<str>>| {
            let text = words.join(" ").into();
            Alternative { words, text }
        };
        Self(alternatives.into_iter().map(alternative).collect())
    }

    /// Each alternative, as the value of a `scope` parameter.
    #[cfg(feature = "review")]
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|alternative| &*alternative.text)
    }

    /// Whether every token that meets this also meets the other.
    #[cfg(feature = "review")]
    pub(crate) fn implies(&self, other: &Self, implied: &Implied) -> bool {
        self.0.iter().all(|alternative| {
            let held = ScopeSet(alternative.text.clone()).with_implied(implied);
            other.check(&held).is_ok()
        })
    }

    /// Checks the scopes of a token.
    ///
    /// # Errors
    /// The `scope` of the alternative of which the token lacks the fewest, the first of equals.
    pub(crate) fn check(&self, held: &ScopeSet) -> Result<(), &str> {
        let lacks = |alternative: &&Alternative| {
            alternative.words.iter().filter(|word| !held.contains(word)).count()
        };
        match self.0.iter().min_by_key(lacks) {
            Some(nearest) if lacks(&nearest) > 0 => Err(&nearest.text),
            _ => Ok(()),
        }
    }

    /// The `scope` for a challenge without a known token: the alternative with the fewest scopes,
    /// the first of equals.
    pub(crate) fn shortest(&self) -> &str {
        self.0.iter().min_by_key(|alternative| alternative.words.len()).map_or("", |a| &a.text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn need(alternatives: &[&str]) -> ScopeNeed {
        let words = |text: &&str| text.split(' ').map(Into::into).collect();
        ScopeNeed::any_of(alternatives.iter().map(words).collect())
    }

    #[test]
    fn rs_6749_02_d5_04_scopes_match_as_whole_words_in_any_order() {
        let table = [
            ("read", "read", true),
            ("read", "write read", true),
            ("a b", "b x a", true),
            ("a b", "a", false),
            ("read", "read:all", false),
            ("read", "reader", false),
            ("read", "READ", false),
            ("admin", "my-admin admin2", false),
            ("a", "", false),
            ("a", "  a  ", true),
            ("a", "b\ta", false),
            ("a", "b\na", false),
        ];
        for (needed, held, met) in table {
            let held = ScopeSet::from_claim(Some(&json!(held)));
            assert_eq!(need(&[needed]).check(&held).is_ok(), met, "{needed:?} of {held:?}");
        }
    }

    #[test]
    fn rs_7662_07_a_list_holds_one_scope_an_element_and_other_types_hold_none() {
        let a = need(&["a"]);
        assert!(a.check(&ScopeSet::from_claim(Some(&json!(["b", "a"])))).is_ok());
        for claim in [json!(["a b"]), json!(1), json!(null), json!({"a": true}), json!([["a"]])] {
            assert!(a.check(&ScopeSet::from_claim(Some(&claim))).is_err(), "{claim}");
        }
        assert!(a.check(&ScopeSet::from_claim(None)).is_err());
    }

    #[test]
    fn any_alternative_will_do_and_the_nearest_is_named() {
        let need = need(&["a b c", "d e", "f g"]);
        let held = |text: &str| ScopeSet::from_claim(Some(&json!(text)));
        assert_eq!(need.check(&held("e d")), Ok(()));
        assert_eq!(need.check(&held("a b")), Err("a b c"));
        assert_eq!(need.check(&held("g")), Err("f g"));
        assert_eq!(need.check(&held("")), Err("d e"));
        assert_eq!(need.shortest(), "d e");
    }

    #[test]
    fn mcp_05_who_has_a_scope_has_those_that_it_implies_too() {
        let direct = |pairs: &[(&str, &[&str])]| {
            let words = |list: &[&str]| list.iter().map(|word| Box::from(*word)).collect();
            pairs.iter().map(|(from, to)| (Box::from(*from), words(to))).collect::<Vec<_>>()
        };
        let implied = Implied::transitive(&direct(&[
            ("admin", &["write", "audit"]),
            ("write", &["read"]),
            ("audit", &["read"]),
        ]))
        .unwrap();
        let held = |text: &str| ScopeSet::from_claim(Some(&json!(text))).with_implied(&implied);
        for (token, needed, met) in [
            ("admin", "read", true),
            ("admin", "read write audit admin", true),
            ("write", "read", true),
            ("read", "write", false),
            ("other", "read", false),
        ] {
            assert_eq!(need(&[needed]).check(&held(token)).is_ok(), met, "{token} {needed}");
        }
        for cycle in [&[("a", &["a"][..])][..], &[("a", &["b"][..]), ("b", &["c"]), ("c", &["a"])]]
        {
            assert_eq!(Implied::transitive(&direct(cycle)).unwrap_err(), "a".into());
        }
        // A way into a cycle from outside is found where the cycle is.
        assert!(
            Implied::transitive(&direct(&[("x", &["a"]), ("a", &["b"]), ("b", &["a"])])).is_err()
        );
    }
}
