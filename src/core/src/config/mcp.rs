//! `mcp` of a rule: the messages of the Model Context Protocol that it matches.

#[cfg(feature = "review")]
use super::key_table::{DefaultValue::Words, KeyRow, KeyTable};
use super::lists::{Parse, list};
use super::reader::Field;
use crate::inbound::mcp::{CALL, McpPattern, any};

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

/// Reads `mcp`.
pub(super) fn mcp(field: &Field<'_>) -> Option<McpPattern> {
    let mut object = field.object("an object with methods, tools")?;
    #[cfg(feature = "review")]
    object.described(&[&MCP_TABLE]);
    let methods = list(&mut object, "methods", "methods such as \"tools/call\"", pattern as Parse);
    let tools = list(&mut object, "tools", "tools such as \"admin_*\"", pattern as Parse);
    let has = [object.has("methods"), object.has("tools")];
    object.check_keys();
    match (&methods, &tools, has) {
        (_, _, [false, false]) => field.mistake("expected methods, tools or both"),
        (Some(methods), Some(_), _) if !any(methods, CALL) => {
            object.at("tools").mistake("requires \"tools/call\" in `methods`, or no `methods`")
        }
        _ => Some(McpPattern { methods, tools }),
    }
}

/// A text, or the beginning of texts. A method that begins with underscores is one that Envoy has
/// invented, for messages that are refused.
fn pattern(text: &str) -> Result<Box<str>, &'static str> {
    let start = text.strip_suffix('*').unwrap_or(text);
    if start.is_empty() || start.contains('*') || start.starts_with("__") {
        return Err("expected a name, or its beginning and `*`; `__jsonrpc_response` is always \
                    refused");
    }
    Ok(text.into())
}
