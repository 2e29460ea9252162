//! Checks what rules on messages of the Model Context Protocol need around them: that Envoy's filter
//! `mcp` is before this one and reads what the service reads, and that what no rule matches is denied.

use serde_json::Value;

use crate::chain::{self, Neighbor};
use crate::tree::{Dialect, Node, Position};
use crate::uses::{Contents, Host, Use};

/// The type of the filter's configuration in Envoy.
const MCP: &str = "envoy.extensions.filters.http.mcp.v3.Mcp";

/// Adds errors where what no rule matches is allowed.
pub(crate) fn remark_on_documents(files: &mut [Contents]) {
    for found in files.iter_mut().flat_map(|file| &mut file.uses) {
        let document = found.document().filter(has_rules);
        let unmatched = document.as_ref().and_then(|it| it.pointer("/inbound/unmatched"));
        if unmatched.is_some_and(|unmatched| unmatched != "deny") {
            let place = "inbound.unmatched";
            found.remark(found.find(place, ""), true, format!("{place}: {UNMATCHED}"));
        }
    }
}

/// Adds errors on the filters before this one. `of_route` is whether it is a document for a route.
pub(crate) fn remark_on_filters(found: &mut Use, manager: &Node, of_route: bool) {
    if !found.document().as_ref().is_some_and(has_rules) {
        return;
    }
    let reading = chain::before(found, manager, of_route, MCP);
    if reading.is_empty() {
        found.remark(found.at, true, MISSING);
    }
    for Neighbor { filter, settings } in reading {
        for (at, text) in flaws(filter, settings, found.host) {
            found.remark(at, true, format!("envoy.filters.http.mcp: {text}"));
        }
    }
}

/// Whether a document has rules on messages.
fn has_rules(document: &Value) -> bool {
    let rules = document.pointer("/inbound/rules").and_then(Value::as_array);
    rules.into_iter().flatten().any(|rule| rule.get("mcp").is_some())
}

/// What makes the filter read something else than the service, or not tell it.
fn flaws(filter: &Node, settings: &Node, host: Host) -> Vec<(Position, &'static str)> {
    // In JSON, protobuf accepts the number of an enumerator too.
    let choice = |name: &str, words: &[&str]| match settings.get(name)?.to_json(Dialect::Envoy) {
        Value::String(word) => words.iter().position(|known| *known == word),
        number => number.as_u64()?.try_into().ok(),
    };
    let at = |node: &Node, name: &str| node.member(name).map_or(node.at, |member| member.at);
    let mut flaws = Vec::new();
    let mut check = |is_fine: bool, node: &Node, name: &str, text| {
        if !is_fine {
            flaws.push((at(node, name), text));
        }
    };
    let is_disabled = filter.get("disabled").is_some_and(Node::is_true);
    check(!is_disabled, filter, "disabled", DISABLED);
    let rejects = settings.get("reject_duplicate_keys");
    let rejects =
        rejects.is_some_and(|it| it.is_true() || it.get("value").is_some_and(Node::is_true));
    check(rejects, settings, "reject_duplicate_keys", DUPLICATES);
    let mode = choice("traffic_mode", &["PASS_THROUGH", "REJECT_NO_MCP", "NOOP"]);
    check(mode.unwrap_or(0) < 2, settings, "traffic_mode", NOOP);
    let source = choice("attribute_source", &["BODY", "VERIFY", "HEADERS"]);
    check(source.unwrap_or(0) < 2, settings, "attribute_source", HEADERS);
    let stores = [
        "MODE_UNSPECIFIED",
        "DYNAMIC_METADATA",
        "FILTER_STATE",
        "DYNAMIC_METADATA_AND_FILTER_STATE",
    ];
    let store = choice("request_storage_mode", &stores).unwrap_or(0);
    let (is_stored, text) = match host {
        Host::Module => (store != 2, METADATA),
        Host::DynamicModule | Host::Route => (store == 3, BOTH),
    };
    check(is_stored, settings, "request_storage_mode", text);
    flaws
}

const UNMATCHED: &str = "must be \"deny\" with rules on messages (`mcp`): a message that no rule \
     matches would be allowed; remove it, and add a rule for what it is meant for";

const MISSING: &str = "rules have `mcp`, but Envoy's filter `mcp` is not before this filter: every \
     message is refused with 400 (oauth2_no_mcp_metadata); add it, with `reject_duplicate_keys: true`";

const DISABLED: &str = "disabled: messages are refused with 400 (oauth2_no_mcp_metadata) except on \
     routes that enable it; remove it, and disable it on the routes that have none";

const DUPLICATES: &str = "requires `reject_duplicate_keys: true`: otherwise, rules judge the last of \
     two equal keys, and the service may take the first";

const NOOP: &str = "NOOP reads no messages, which are then refused with 400 \
     (oauth2_no_mcp_metadata); use PASS_THROUGH or REJECT_NO_MCP";

const HEADERS: &str = "HEADERS takes method and tool from headers, which may differ from the body; \
     remove it";

const METADATA: &str = "requires `request_storage_mode: DYNAMIC_METADATA`, the default, or \
     DYNAMIC_METADATA_AND_FILTER_STATE: otherwise, messages are refused with 400 \
     (oauth2_no_mcp_metadata)";

const BOTH: &str = "the dynamic module requires `request_storage_mode: \
     DYNAMIC_METADATA_AND_FILTER_STATE`: otherwise, messages are refused with 400 \
     (oauth2_no_mcp_metadata)";
