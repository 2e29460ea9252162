//! A file as a tree with positions.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// A position in a file, as in editors: lines and characters from 1.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Position {
    pub(crate) line: usize,
    /// The character in it.
    pub(crate) column: usize,
}

impl Position {
    /// The first character of a file.
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

/// A value with its position.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where it begins.
    pub(crate) at: Position,
    /// What it is.
    pub(crate) kind: Kind,
}

/// The kind of a value.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A JSON value other than a string, list or object.
    Json(Value),
    /// An unquoted word in YAML, whose type depends on the reader of the file.
    Plain(String),
    /// A word or text with a YAML tag: a word for Envoy, and a string for Kubernetes.
    Tagged(String),
    /// A string, and how it is written.
    String(String, Written),
    List(Vec<Node>),
    /// An object, with its members in the order of the file.
    Object(Vec<Member>),
}

/// A member of an object.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) key: String,
    /// The position of the name.
    pub(crate) at: Position,
    pub(crate) value: Node,
}

/// How the text of a string is written in the file.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    /// Verbatim from here on, with indented lines.
    AsIs {
        /// The first character.
        from: Position,
        /// The indentation of each further line.
        indent: usize,
    },
    /// With escapes, or with joined lines.
    Otherwise,
}

/// The reader of a YAML file, which determines the type of unquoted words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dialect {
    /// Envoy with yaml-cpp: only integers of 32 bits are numbers.
    Envoy,
    /// Kubernetes with sigs.k8s.io/yaml.
    Kubernetes,
}

impl Node {
    /// A member of the object, under its name in `snake_case` or, as protobuf allows, `camelCase`.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.member(name).map(|member| &member.value)
    }

    /// The same with the position of its name.
    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        let camel = camel_case(name);
        self.members().iter().rfind(|member| member.key == name || member.key == camel)
    }

    /// The value at this path of names.
    pub(crate) fn path(&self, names: &[&str]) -> Option<&Self> {
        names.iter().try_fold(self, |node, name| node.get(name))
    }

    /// The members, if it is an object.
    pub(crate) fn members(&self) -> &[Member] {
        match &self.kind {
            Kind::Object(members) => members,
            _ => &[],
        }
    }

    /// The elements, if it is a list.
    pub(crate) fn elements(&self) -> &[Self] {
        match &self.kind {
            Kind::List(elements) => elements,
            _ => &[],
        }
    }

    /// The text, if it is a string or a word.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Plain(text) | Kind::Tagged(text) | Kind::String(text, _) => Some(text),
            _ => None,
        }
    }

    /// Whether it is true.
    pub(crate) fn is_true(&self) -> bool {
        self.to_json(Dialect::Envoy) == Value::Bool(true)
    }

    /// The value as its reader parses it; of duplicate members the last counts.
    pub(crate) fn to_json(&self, dialect: Dialect) -> Value {
        match &self.kind {
            Kind::Json(value) => value.clone(),
            Kind::Plain(word) => dialect.value(word),
            Kind::Tagged(word) if dialect == Dialect::Envoy => dialect.value(word),
            Kind::Tagged(text) | Kind::String(text, _) => Value::String(text.clone()),
            Kind::List(elements) => {
                Value::Array(elements.iter().map(|element| element.to_json(dialect)).collect())
            }
            Kind::Object(members) => {
                let member = |member: &Member| (member.key.clone(), member.value.to_json(dialect));
                Value::Object(members.iter().map(member).collect::<Map<_, _>>())
            }
        }
    }

    /// The position of a path such as `inbound.rules[2].scope`, or of the longest part of it that
    /// exists.
    pub(crate) fn find(&self, place: &str) -> Position {
        let mut here = self.at;
        let mut next = Some((self, (!place.is_empty()).then_some(place)));
        while let Some((node, Some(place))) = next {
            // Names may contain dots, so the longest name that matches counts; of duplicates, the
            // last.
            let steps = node.steps(place).into_iter().rev();
            let step = steps
                .min_by_key(|(_, _, rest)| rest.map_or(0, |rest| rest.len().saturating_add(1)));
            next = step.map(|(node, at, rest)| {
                here = at;
                (node, rest)
            });
        }
        here
    }

    /// All interpretations of the first part of a path: the value, its position, and the rest of
    /// the path.
    fn steps<'p>(&self, place: &'p str) -> Vec<(&Self, Position, Option<&'p str>)> {
        let after = |rest: &'p str| match rest.strip_prefix('.') {
            Some(rest) => Some(Some(rest)),
            None if rest.starts_with('[') => Some(Some(rest)),
            None => rest.is_empty().then_some(None),
        };
        let element = || {
            let (number, rest) = place.strip_prefix('[')?.split_once(']')?;
            let element = self.elements().get(number.parse::<usize>().ok()?)?;
            Some((element, element.at, after(rest)?))
        };
        let is_escaped = place.contains('\\');
        let members = self.members().iter().filter_map(|member| {
            let escaped = || place.strip_prefix(&*member.key.escape_debug().to_string());
            let rest =
                place.strip_prefix(&*member.key).or_else(|| is_escaped.then(escaped).flatten())?;
            Some((&member.value, member.at, after(rest)?))
        });
        members.chain(element()).collect()
    }

    /// The elements of a repeated field: protobuf accepts a single value as a list.
    pub(crate) fn each(&self) -> &[Self] {
        match &self.kind {
            Kind::List(elements) => elements,
            _ => std::slice::from_ref(self),
        }
    }

    /// The duplicate members of objects, anywhere in this value.
    pub(crate) fn repeated(&self) -> Vec<&Member> {
        let mut found = Vec::new();
        let mut names = BTreeSet::new();
        for member in self.members() {
            if !names.insert(&member.key) {
                found.push(member);
            }
            found.extend(member.value.repeated());
        }
        found.extend(self.elements().iter().flat_map(Self::repeated));
        found
    }

    /// The value after YAML 1.1 merge keys, as in Kubernetes: an object inherits the members of
    /// those under `<<`, except its own.
    pub(crate) fn merged(self) -> Self {
        let kind = match self.kind {
            Kind::List(elements) => Kind::List(elements.into_iter().map(Self::merged).collect()),
            Kind::Object(members) => {
                let (mut merged, mut own) = (Vec::new(), Vec::new());
                for Member { key, at, value } in members {
                    let value = value.merged();
                    match (key.as_str(), value.kind) {
                        ("<<", Kind::Object(members)) => merged.extend(members),
                        // The first of a list takes precedence.
                        ("<<", Kind::List(list)) => {
                            let members = list.iter().rev().flat_map(Self::members);
                            merged.extend(members.cloned());
                        }
                        (_, kind) => own.push(Member { key, at, value: Self { kind, ..value } }),
                    }
                }
                merged.retain(|member: &Member| own.iter().all(|own| own.key != member.key));
                merged.extend(own);
                Kind::Object(merged)
            }
            kind => kind,
        };
        Self { kind, ..self }
    }

    /// Replaces the strings at a path.
    pub(crate) fn replace(&mut self, place: &str, other: fn(&str) -> &'static str) {
        let ends = self.ends((!place.is_empty()).then_some(place));
        self.replace_at(&ends, other);
    }

    /// The positions of the values at a path.
    fn ends(&self, place: Option<&str>) -> Vec<Position> {
        let Some(place) = place else { return vec![self.at] };
        self.steps(place).into_iter().flat_map(|(next, _, rest)| next.ends(rest)).collect()
    }

    /// Replaces the strings at these positions.
    fn replace_at(&mut self, places: &[Position], other: fn(&str) -> &'static str) {
        match &mut self.kind {
            Kind::String(text, _) if places.contains(&self.at) => *text = other(text).to_owned(),
            Kind::List(elements) => {
                for element in elements {
                    element.replace_at(places, other);
                }
            }
            Kind::Object(members) => {
                for member in members {
                    member.value.replace_at(places, other);
                }
            }
            _ => {}
        }
    }
}

impl Dialect {
    /// The value of an unquoted word.
    fn value(self, word: &str) -> Value {
        if matches!(word, "" | "~" | "null" | "Null" | "NULL") {
            return Value::Null;
        }
        if let Some(value) = self.truth(word) {
            return Value::Bool(value);
        }
        if let Some(number) = integer(word) {
            return match i32::try_from(number) {
                Err(_) if self == Self::Envoy => Value::String(number.to_string()),
                _ => Value::Number(number.into()),
            };
        }
        let is_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
        if self == Self::Kubernetes
            && word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
            && word.chars().all(is_number)
            && let Some(number) = word.parse().ok().and_then(serde_json::Number::from_f64)
        {
            return Value::Number(number);
        }
        Value::String(word.to_owned())
    }

    /// The boolean of a word, as in YAML 1.1.
    fn truth(self, word: &str) -> Option<bool> {
        let lower = word.to_ascii_lowercase();
        let is_cased = |c: char| c.is_ascii_uppercase();
        let capital = word.starts_with(is_cased);
        let uniform = word.chars().skip(1).all(is_cased) || !word.chars().skip(1).any(is_cased);
        if !uniform || (!capital && word != lower) {
            return None;
        }
        match lower.as_str() {
            "y" if self == Self::Envoy => Some(true),
            "n" if self == Self::Envoy => Some(false),
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        }
    }
}

/// An integer: decimal, `0x…` or, after a 0, octal.
fn integer(word: &str) -> Option<i64> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let number = i64::from_str_radix(digits, radix).ok()?;
    if negative { number.checked_neg() } else { Some(number) }
}

/// A protobuf name in its JSON form.
fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                camel.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => camel.push(c),
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{json_text, yaml};

    #[test]
    fn words_without_quotes_are_what_their_reader_makes_of_them() {
        for (word, envoy, kubernetes) in [
            ("true", json!(true), json!(true)),
            ("Yes", json!(true), json!(true)),
            ("OFF", json!(false), json!(false)),
            ("yEs", json!("yEs"), json!("yEs")),
            ("y", json!(true), json!("y")),
            ("~", json!(null), json!(null)),
            ("10", json!(10), json!(10)),
            ("-3", json!(-3), json!(-3)),
            ("0x10", json!(16), json!(16)),
            ("010", json!(8), json!(8)),
            ("3000000000", json!("3000000000"), json!(3_000_000_000_u32)),
            ("1.5", json!("1.5"), json!(1.5)),
            ("1e3", json!("1e3"), json!(1000.0)),
            ("5s", json!("5s"), json!("5s")),
            ("e", json!("e"), json!("e")),
            ("a b", json!("a b"), json!("a b")),
        ] {
            assert_eq!(Dialect::Envoy.value(word), envoy, "{word}");
            assert_eq!(Dialect::Kubernetes.value(word), kubernetes, "{word}");
        }
    }

    #[test]
    fn a_place_is_found_or_the_nearest_part_of_it() {
        let text = "a:\n  b.c: 1\n  b:\n    - x\n    - d: y\n  \"t\\tb\": 1\n  '': 1\n  '[x': 1\n";
        let root = yaml::read(text).unwrap().remove(0);
        for (place, line, column) in [
            ("", 1, 1),
            ("a", 1, 1),
            ("a.b.c", 2, 3),
            ("a.b", 3, 3),
            ("a.b[0]", 4, 7),
            ("a.b[1].d", 5, 7),
            ("a.b[1].e", 5, 7),
            ("a.b[7]", 3, 3),
            ("a.e.f", 1, 1),
            ("a.t\\tb", 6, 3),
            ("a.", 7, 3),
            ("a.[x", 8, 3),
        ] {
            assert_eq!(root.find(place), Position { line, column }, "{place}");
        }
    }

    #[test]
    fn what_a_place_may_mean_is_replaced_and_nothing_else() {
        let text = r#"{"a": {"b": "x", "c": 1}, "a.b": "y", "[0]": ["z", {"a": "v"}], "l": ["w", {"": "u"}]}"#;
        let replaced = |place: &str| {
            let mut root = json_text::read(text, Position::START).unwrap();
            root.replace(place, |_| "S");
            let text = root.to_json(Dialect::Envoy).to_string();
            text.matches("\"S\"").count()
        };
        for (place, count) in [
            ("a.b", 2),
            ("a", 0),
            ("a.c", 0),
            ("[0][0]", 1),
            ("[0][1].a", 1),
            ("l[0]", 1),
            ("l[1].", 1),
            ("l[2]", 0),
            ("x", 0),
        ] {
            assert_eq!(replaced(place), count, "{place}");
        }
    }

    #[test]
    fn members_under_a_merge_key_are_taken_over() {
        let text = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  c: 5\n  <<: [*x, *y]\n";
        let root = yaml::read(text).unwrap().remove(0).merged();
        assert_eq!(root.find("z.b"), Position { line: 1, column: 14 });
        let z = root.get("z").unwrap().to_json(Dialect::Kubernetes);
        assert_eq!(z, json!({"a": 1, "b": 2, "c": 5}));
    }

    #[test]
    fn a_member_has_either_spelling_and_the_last_counts() {
        let root =
            json_text::read(r#"{"vmConfig": {"a": 1}, "vm_config": {"a": 2}}"#, Position::START);
        let root = root.unwrap();
        let value = root.path(&["vm_config", "a"]).unwrap();
        assert_eq!(value.to_json(Dialect::Envoy), json!(2));
        assert!(root.repeated().is_empty());
        let root =
            json_text::read(r#"{"x": [{"a": 1, "b": 2, "a": 3}]}"#, Position::START).unwrap();
        let repeated: Vec<_> = root.repeated().iter().map(|member| member.at.column).collect();
        assert_eq!(repeated, [25]);
    }
}
