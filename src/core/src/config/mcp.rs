//! `mcp` of a rule: the messages of the Model Context Protocol that it matches.

#[cfg(feature = "review")]
use super::key_table::{DefaultValue::Words, KeyRow, KeyTable};
use super::policy::list;
use super::reader::Field;
use crate::inbound::mcp::{CALL, TextPattern};

/// The keys of `mcp`.
#[cfg(feature = "review")]
pub(super) const MCP_TABLE: KeyTable = KeyTable {
    heading: "### `inbound.rules.mcp`",
    parts: &[&[
        KeyRow::new(
            &["methods"],
            "list",
            Words("`tools/call`, with `tools`"),
            "methods of the protocol; `\"notifications/*\"` matches all that begin so",
        ),
        KeyRow::new(
            &["tools"],
            "list",
            Words("all"),
            "of calls (`tools/call`), those of these tools; `\"admin_*\"` matches all that begin so",
        ),
    ]],
};

/// The methods and the tools of a rule.
pub(super) struct McpKeys {
    pub(super) methods: Option<Vec<TextPattern>>,
    pub(super) tools: Option<Vec<TextPattern>>,
}

/// Reads `mcp`.
pub(super) fn mcp(field: &Field<'_>) -> Option<McpKeys> {
    let mut object = field.object("an object with methods, tools")?;
    #[cfg(feature = "review")]
    object.described(&[&MCP_TABLE]);
    let methods = list(&mut object, "methods", "methods such as \"tools/call\"", method);
    let tools = list(&mut object, "tools", "tools such as \"admin_*\"", pattern);
    let has = [object.has("methods"), object.has("tools")];
    object.check_keys();
    match (&methods, &tools, has) {
        (_, _, [false, false]) => field.mistake("expected methods, tools or both"),
        (Some(methods), Some(_), _) if !methods.iter().any(|method| method.matches(CALL)) => {
            object.at("tools").mistake("requires \"tools/call\" in `methods`, or no `methods`")
        }
        _ => Some(McpKeys { methods, tools }),
    }
}

/// A method, or the beginning of methods.
fn method(text: &str) -> Result<TextPattern, &'static str> {
    if text.starts_with("__") {
        return Err("not a method: Envoy calls responses so, and calls that look like one; the \
                    filter refuses both");
    }
    pattern(text)
}

/// A text, or the beginning of texts.
fn pattern(text: &str) -> Result<TextPattern, &'static str> {
    let (start, end) = text.strip_suffix('*').map_or((text, ""), |start| (start, "*"));
    match (start, end) {
        ("", "*") => Err("matches everything; omit the key"),
        ("", _) => Err("must not be empty"),
        (start, _) if start.contains('*') => Err("`*` is only supported at the end"),
        (start, "") => Ok(TextPattern::Exact(start.into())),
        (start, _) => Ok(TextPattern::Prefix(start.into())),
    }
}
