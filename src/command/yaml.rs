//! YAML with positions.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use crate::tree::{Kind, Member, Node, Position, Written};

/// Why a text is not valid YAML, and where.
#[derive(Debug)]
pub(crate) struct NoYaml {
    pub(crate) at: Position,
    pub(crate) why: String,
}

/// The maximum nesting depth.
const DEPTH: usize = 256;

/// The maximum number of values, including those that aliases expand to.
const MOST_NODES: usize = 1_000_000;

/// Parses all documents of a YAML text. JSON is YAML too, except for some escapes.
pub(crate) fn read(text: &str) -> Result<Vec<Node>, NoYaml> {
    let lines = text.lines().collect();
    let parser = Parser::new_from_str(text);
    let mut reader = Reader { lines, parser, anchors: HashMap::new(), nodes: 0 };
    let mut documents = Vec::new();
    while let Some(event) = reader.parser.next() {
        match event? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd, _) => {}
            (Event::StreamEnd, _) => break,
            (event, span) => {
                let node = reader.node(event, span, 0)?;
                documents.push(node);
            }
        }
    }
    // A file may begin or end with a separator.
    documents.retain(|node| !matches!(&node.kind, Kind::Plain(word) if word.is_empty()));
    Ok(documents)
}

/// The state of parsing a text.
struct Reader<'t> {
    lines: Vec<&'t str>,
    /// The events of the text.
    parser: Parser<'t, StrInput<'t>>,
    /// The anchored values.
    anchors: HashMap<usize, Node>,
    /// The number of values so far.
    nodes: usize,
}

impl<'t> Reader<'t> {
    /// The next event.
    fn next(&mut self, at: Position) -> Result<(Event<'t>, Span), NoYaml> {
        let end = || NoYaml { at, why: "unexpected end of file".to_owned() };
        Ok(self.parser.next().ok_or_else(end)??)
    }

    /// The value that begins with this event.
    fn node(&mut self, event: Event<'_>, span: Span, depth: usize) -> Result<Node, NoYaml> {
        let at = position(span);
        let too_large = |why: &str| NoYaml { at, why: why.to_owned() };
        if depth > DEPTH {
            return Err(too_large("nesting too deep"));
        }
        let depth = depth.saturating_add(1);
        let (kind, anchor) = match event {
            Event::Alias(name) => {
                let node = self.anchors.get(&name).cloned();
                let node = node.ok_or_else(|| too_large("unknown alias"))?;
                self.count(size(&node), at)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let kind = match tag.as_deref() {
                    None if style == ScalarStyle::Plain => Kind::Plain(text.into_owned()),
                    // The tag `!` alone: a string for every reader.
                    tag if tag.is_none_or(|tag| matches!(&*tag.suffix, "" | "!")) => {
                        let written = self.written(&text, style, at);
                        Kind::String(text.into_owned(), written)
                    }
                    Some(tag) if tag.is_yaml_core_schema() && tag.suffix != "str" => {
                        Kind::Plain(text.into_owned())
                    }
                    _ => Kind::Tagged(text.into_owned()),
                };
                (kind, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                let mut elements = Vec::new();
                loop {
                    let (event, span) = self.next(at)?;
                    if event == Event::SequenceEnd {
                        break;
                    }
                    elements.push(self.node(event, span, depth)?);
                }
                (Kind::List(elements), anchor)
            }
            Event::MappingStart(anchor, _) => {
                let mut members = Vec::new();
                loop {
                    let (event, span) = self.next(at)?;
                    if event == Event::MappingEnd {
                        break;
                    }
                    let key = self.node(event, span, depth)?;
                    let text =
                        key.text().ok_or_else(|| too_large("a key must be a string"))?.to_owned();
                    let (event, span) = self.next(at)?;
                    let value = self.node(event, span, depth)?;
                    members.push(Member { key: text, at: key.at, value });
                }
                (Kind::Object(members), anchor)
            }
            _ => return Err(too_large("missing value")),
        };
        self.count(1, at)?;
        let node = Node { at, kind };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn count(&mut self, nodes: usize, at: Position) -> Result<(), NoYaml> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MOST_NODES {
            return Err(NoYaml { at, why: "aliases expand to too many values".to_owned() });
        }
        Ok(())
    }

    /// How the text of a string that begins here is written.
    fn written(&self, text: &str, style: ScalarStyle, at: Position) -> Written {
        match style {
            ScalarStyle::Literal => {
                // The parser reports its first non-empty line, after the indentation.
                let empty = text.lines().take_while(|line| line.trim().is_empty()).count();
                let from = Position { line: at.line.saturating_sub(empty), ..at };
                Written::AsIs { from, indent: at.column.saturating_sub(1) }
            }
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                let line = self.lines.get(at.line.saturating_sub(1)).copied().unwrap_or_default();
                let quoted: String = line.chars().skip(at.column).collect();
                if quoted.starts_with(text) {
                    let from = Position { column: at.column.saturating_add(1), ..at };
                    Written::AsIs { from, indent: 0 }
                } else {
                    Written::Otherwise
                }
            }
            ScalarStyle::Plain | ScalarStyle::Folded => Written::Otherwise,
        }
    }
}

/// The number of values in a value.
fn size(node: &Node) -> usize {
    let members = node.members().iter().map(|member| size(&member.value));
    members.chain(node.elements().iter().map(size)).fold(1, usize::saturating_add)
}

/// Where something begins.
fn position(span: Span) -> Position {
    Position { line: span.start.line(), column: span.start.col().saturating_add(1) }
}

impl From<ScanError> for NoYaml {
    fn from(error: ScanError) -> Self {
        let mark = error.marker();
        let at = Position { line: mark.line(), column: mark.col().saturating_add(1) };
        Self { at, why: error.info().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tree::Dialect;

    #[test]
    fn every_document_is_read_with_its_aliases() {
        let text = "---\na: &x [1, 'two', \"three\"]\nb: *x\n---\n# nothing\n---\nc: '5'\n";
        let documents = read(text).unwrap();
        let values: Vec<_> = documents.iter().map(|node| node.to_json(Dialect::Envoy)).collect();
        let list = json!([1, "two", "three"]);
        assert_eq!(values, [json!({"a": list, "b": list}), json!({"c": "5"})]);
    }

    #[test]
    fn a_tag_says_what_a_word_is_as_far_as_its_reader_heeds_it() {
        let text = "[!!str 1, !!str '1', !!int '1', ! 1, !own 1]";
        let root = read(text).unwrap().remove(0);
        assert_eq!(root.to_json(Dialect::Envoy), json!([1, 1, 1, "1", 1]));
        assert_eq!(root.to_json(Dialect::Kubernetes), json!(["1", "1", 1, "1", "1"]));
    }

    #[test]
    fn the_text_of_a_string_is_found_in_the_file() {
        let text = "a:\n  b: |\n\n    {\n      1\n    }\n  c: '{}'\n  d: \"{\\n}\"\n";
        let root = read(text).unwrap().remove(0);
        let written = |name: &str| match &root.path(&["a", name]).unwrap().kind {
            Kind::String(_, Written::AsIs { from, indent }) => Some((*from, *indent)),
            _ => None,
        };
        assert_eq!(written("b"), Some((Position { line: 3, column: 5 }, 4)));
        assert_eq!(written("c"), Some((Position { line: 7, column: 7 }, 0)));
        assert_eq!(written("d"), None);
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_place() {
        for (text, line) in [("a: b: c", 1), ("a: 1\nb: [1\nc: 2\n", 3), ("? [a]\n: b\n", 1)] {
            let error = read(text).unwrap_err();
            assert_eq!(error.at.line, line, "{text}: {}", error.why);
        }
        let bomb = (1..12).fold("x0: &x0 [a]\n".to_owned(), |text, n| {
            let list = vec![format!("*x{}", n - 1); 9].join(", ");
            format!("{text}x{n}: &x{n} [{list}]\n")
        });
        assert!(read(&bomb).unwrap_err().why.contains("aliases"));
        let deep = "[".repeat(10_000);
        assert!(read(&deep).is_err());
    }
}
