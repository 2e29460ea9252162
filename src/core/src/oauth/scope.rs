//! Scopes (RFC 6749, section 3.3): whole words, case-sensitive, in any order.

use serde_json::Value;

use crate::cache::footprint::Footprint;
use crate::oauth::claims::{ClaimPath, Claims};

/// How the scopes of a token are read from a response.
#[derive(Clone, Debug)]
pub(crate) struct ScopeReading {
    /// The claims that may contain the scopes. The first that is present counts.
    pub(crate) claims: Vec<ClaimPath>,
    /// Whether `*` in a granted scope stands for any component.
    pub(crate) wildcards: bool,
}

impl ScopeReading {
    /// The claim with the scopes.
    pub(crate) fn claim<'c>(&self, claims: &'c Claims) -> Option<&'c Value> {
        self.claims.iter().find_map(|path| path.find(claims))
    }

    /// The granted scopes.
    pub(crate) fn scopes(&self, claims: &Claims) -> ScopeSet {
        let granted = ScopeSet::from_claim(self.claim(claims));
        if self.wildcards { granted.with_patterns() } else { granted }
    }
}

/// The scopes of a token, separated by spaces.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ScopeSet {
    words: Box<str>,
    /// Those that also stand for others. Implied scopes never do.
    patterns: Box<str>,
}

impl ScopeSet {
    /// The scopes in a claim: a string separated by single spaces, or a list with one scope per
    /// element. Anything else contains none.
    pub(crate) fn from_claim(claim: Option<&Value>) -> Self {
        match claim {
            Some(Value::String(text)) => Self::of(text.as_str()),
            Some(Value::Array(elements)) => {
                // An element that is not a single word is not a scope.
                let words = elements.iter().filter_map(Value::as_str);
                let words: Vec<&str> = words.filter(|word| !word.contains(' ')).collect();
                Self::of(words.join(" "))
            }
            _ => Self::default(),
        }
    }

    /// These scopes, none of which stands for others.
    fn of(words: impl Into<Box<str>>) -> Self {
        Self { words: words.into(), patterns: Box::default() }
    }

    /// The scopes, where those with wildcards stand for all that they cover.
    fn with_patterns(self) -> Self {
        let patterns: Vec<&str> = self.words.split(' ').filter(|word| is_pattern(word)).collect();
        Self { patterns: patterns.join(" ").into(), ..self }
    }

    /// The scopes with all that they imply.
    pub(crate) fn with_implied(self, implied: &Implied) -> Self {
        let held = implied.0.iter().filter(|(scope, _)| self.contains(scope));
        let more: Vec<&str> = held.flat_map(|(_, more)| more).map(|word| &**word).collect();
        if more.is_empty() {
            return self;
        }
        Self { words: [&self.words, &*more.join(" ")].join(" ").into(), ..self }
    }

    /// Whether the token has this scope.
    pub(crate) fn contains(&self, word: &str) -> bool {
        !word.is_empty()
            && (self.words.split(' ').any(|held| held == word)
                || !self.patterns.is_empty()
                    && self.patterns.split(' ').any(|pattern| covers(pattern, word)))
    }
}

impl Footprint for ScopeSet {
    fn owned_bytes(&self) -> usize {
        let Self { words, patterns } = self;
        words.owned_bytes().saturating_add(patterns.owned_bytes())
    }
}

/// The component that stands for any other.
const WILDCARD: &[u8] = b"*";

/// The first component of a scope, and what begins with the next separator.
fn component(scope: &[u8]) -> (&[u8], &[u8]) {
    let end = scope.iter().position(|byte| matches!(byte, b'.' | b'/' | b':'));
    scope.split_at_checked(end.unwrap_or(scope.len())).unwrap_or_default()
}

/// Whether a scope stands for others. One without a literal component would stand for all.
fn is_pattern(scope: &str) -> bool {
    let (mut has_wildcard, mut has_literal) = (false, false);
    let mut next = Some(scope.as_bytes());
    while let Some(rest) = next {
        let (part, rest) = component(rest);
        has_wildcard |= part == WILDCARD;
        has_literal |= part != WILDCARD && !part.is_empty();
        next = rest.split_first().map(|(_, rest)| rest);
    }
    has_wildcard && has_literal
}

/// Whether a scope is one of those that `pattern` stands for: each wildcard for one component.
fn covers(pattern: &str, scope: &str) -> bool {
    let (mut pattern, mut scope) = (pattern.as_bytes(), scope.as_bytes());
    loop {
        let ((any, more), (part, rest)) = (component(pattern), component(scope));
        if any != part && (any != WILDCARD || part.is_empty()) {
            return false;
        }
        match (more.split_first(), rest.split_first()) {
            (Some((one, more)), Some((other, rest))) if one == other => {
                (pattern, scope) = (more, rest);
            }
            (None, None) => return true,
            _ => return false,
        }
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
                    for (_, more) in direct.iter().filter(|(from, _)| from == word) {
                        next.extend(more);
                    }
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
            let held = ScopeSet::of(alternative.text.clone()).with_implied(implied);
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

    fn granted(claims: &Value, names: &[&str], wildcards: bool) -> ScopeSet {
        let claims = claims.as_object().unwrap();
        let names = names.iter().map(|name| ClaimPath::new(*name)).collect();
        ScopeReading { claims: names, wildcards }.scopes(claims)
    }

    #[test]
    fn the_first_claim_that_is_present_has_the_scopes() {
        for (claims, met) in [
            (json!({"scope": "a"}), true),
            (json!({"scp": ["a"]}), true),
            (json!({"scope": null, "scp": "a"}), true),
            (json!({"scope": "b", "scp": "a"}), false),
            (json!({"scope": "", "scp": "a"}), false),
            (json!({"scope": 1, "scp": "a"}), false),
            (json!({"other": "a"}), false),
        ] {
            let held = granted(&claims, &["scope", "scp"], false);
            assert_eq!(held.contains("a"), met, "{claims}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_whole_component_beside_a_literal_one() {
        for (scope, needed, met) in [
            ("patient/*.read", "patient/Observation.read", true),
            ("patient/*.read", "patient/*.read", true),
            ("patient/*.*", "patient/Observation.read", true),
            ("x patient/*.read y", "patient/Observation.read", true),
            ("a.*.b", "a.x.b", true),
            ("a:*", "a:x", true),
            ("*.read", "orders.read", true),
            ("patient/*.read", "patient/Observation.write", false),
            ("patient/*.read", "user/Observation.read", false),
            ("patient/*.read", "patient/.read", false),
            ("patient/*.read", "patient/A.b.read", false),
            ("patient/*.read", "patient/A.read.x", false),
            ("patient/*.read", "patient:Observation.read", false),
            ("a.*.b", "a.b", false),
            ("a.*", "a", false),
            ("a.*", "a.", false),
            ("a.*", "a.x.y", false),
            ("a.**", "a.x", false),
            ("a.x*", "a.xy", false),
            ("a*b", "axb", false),
            ("*", "a", false),
            ("*.*", "a.b", false),
            ("*:*.*", "a:b.c", false),
            (".*", ".a", false),
            ("*/", "a/", false),
            ("a*b", "a*b", true),
            ("*", "*", true),
            ("*.*", "*.*", true),
        ] {
            for claim in [json!({ "scope": scope }), json!({"scope": [scope]})] {
                // A list has one scope an element.
                if scope.contains(' ') && claim["scope"].is_array() {
                    continue;
                }
                assert_eq!(
                    granted(&claim, &["scope"], true).contains(needed),
                    met,
                    "{claim} {needed}"
                );
                let literal = scope.split(' ').any(|word| word == needed);
                assert_eq!(granted(&claim, &["scope"], false).contains(needed), literal, "{claim}");
            }
        }
    }

    #[test]
    fn an_implied_scope_is_never_widened() {
        let direct = [("admin".into(), vec!["a.*".into()]), ("b.x".into(), vec!["c".into()])];
        let implied = Implied::transitive(&direct).unwrap();
        let held = |scope: &str| {
            granted(&json!({ "scope": scope }), &["scope"], true).with_implied(&implied)
        };
        assert!(held("admin").contains("a.*") && !held("admin").contains("a.x"));
        // What a wildcard stands for has what it implies.
        assert!(held("b.*").contains("b.x") && held("b.*").contains("c"));
        assert!(held("admin b.*").contains("b.y") && !held("admin b.*").contains("a.x"));
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
