//! JSON text with positions. The filter itself reports errors in it; this module only finds
//! positions.

use serde_json::Value;

use crate::tree::{Kind, Member, Node, Position, Written};

/// The maximum nesting depth, as in the filter.
const DEPTH: usize = 128;

/// Parses a JSON text that begins at `start` in a file. `None` if it is invalid.
pub(crate) fn read(text: &str, start: Position) -> Option<Node> {
    let mut reader = Reader { rest: text, at: start };
    let node = reader.value(0)?;
    reader.skip_space();
    reader.rest.is_empty().then_some(node)
}

/// The unread text.
struct Reader<'t> {
    rest: &'t str,
    /// Its position.
    at: Position,
}

impl<'t> Reader<'t> {
    /// Consumes bytes.
    fn take(&mut self, bytes: usize) -> Option<&'t str> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        for c in taken.chars() {
            if c == '\n' {
                self.at = Position { line: self.at.line.saturating_add(1), column: 1 };
            } else {
                self.at.column = self.at.column.saturating_add(1);
            }
        }
        self.rest = rest;
        Some(taken)
    }

    /// Consumes white space.
    fn skip_space(&mut self) {
        let space = self.rest.len().saturating_sub(self.rest.trim_start().len());
        self.take(space);
    }

    /// Consumes a character, if it comes next.
    fn sign(&mut self, sign: char) -> bool {
        self.skip_space();
        self.rest.starts_with(sign) && self.take(sign.len_utf8()).is_some()
    }

    /// Parses a value.
    fn value(&mut self, depth: usize) -> Option<Node> {
        if depth > DEPTH {
            return None;
        }
        let depth = depth.saturating_add(1);
        self.skip_space();
        let at = self.at;
        let kind = match self.rest.chars().next()? {
            '{' => Kind::Object(self.members(depth)?),
            '[' => {
                self.sign('[');
                let mut elements = Vec::new();
                while !self.sign(']') {
                    if !elements.is_empty() && !self.sign(',') {
                        return None;
                    }
                    elements.push(self.value(depth)?);
                }
                Kind::List(elements)
            }
            '"' => {
                let from = Position { column: at.column.saturating_add(1), ..at };
                let (text, is_escaped) = self.string()?;
                let as_is = Written::AsIs { from, indent: 0 };
                Kind::String(text, if is_escaped { Written::Otherwise } else { as_is })
            }
            _ => {
                let is_end = |c: char| c.is_whitespace() || ",]}".contains(c);
                let end = self.rest.find(is_end).unwrap_or(self.rest.len());
                let value: Value = serde_json::from_str(self.take(end)?).ok()?;
                Kind::Json(value)
            }
        };
        Some(Node { at, kind })
    }

    /// Parses an object.
    fn members(&mut self, depth: usize) -> Option<Vec<Member>> {
        self.sign('{');
        let mut members = Vec::new();
        while !self.sign('}') {
            if !members.is_empty() && !self.sign(',') {
                return None;
            }
            self.skip_space();
            let at = self.at;
            let (key, _) = self.string()?;
            if !self.sign(':') {
                return None;
            }
            members.push(Member { key, at, value: self.value(depth)? });
        }
        Some(members)
    }

    /// Parses a string, and returns whether it has escapes.
    fn string(&mut self) -> Option<(String, bool)> {
        let inner = self.rest.strip_prefix('"')?;
        let mut is_escape = false;
        let end = inner.find(|c| {
            let is_end = c == '"' && !is_escape;
            is_escape = c == '\\' && !is_escape;
            is_end
        })?;
        let whole = self.take(end.saturating_add(2))?;
        Some((serde_json::from_str(whole).ok()?, whole.contains('\\')))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tree::Dialect;

    #[test]
    fn json_is_read_with_its_places() {
        let text = "\n{\"a\" : [1, -0.5,\n  true, null, \"x\\\"\\u00e9\"], \"b\\n\": {}}\n";
        let root = read(text, Position::START).unwrap();
        assert_eq!(
            root.to_json(Dialect::Envoy),
            json!({"a": [1, -0.5, true, null, "x\"\u{e9}"], "b\n": {}})
        );
        for (place, line, column) in [("a", 2, 2), ("a[2]", 3, 3), ("a[4]", 3, 15), ("b\n", 3, 29)]
        {
            assert_eq!(root.find(place), Position { line, column }, "{place}");
        }
        let root = read("[\n1]", Position { line: 7, column: 5 }).unwrap();
        assert_eq!(root.at, Position { line: 7, column: 5 });
        assert_eq!(root.find("[0]"), Position { line: 8, column: 1 });
    }

    #[test]
    fn what_is_no_json_is_not_read() {
        let deep = "[".repeat(1000);
        for text in ["", "{", "[1", "[1 2]", "{\"a\"}", "{\"a\":1,}", "x", "{} {}", "\"a", &deep] {
            assert!(read(text, Position::START).is_none(), "{text}");
        }
    }
}
