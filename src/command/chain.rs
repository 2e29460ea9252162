//! The filters of an HTTP connection manager before this one.

use crate::tree::Node;
use crate::uses::Use;

/// A filter, and its settings.
pub(crate) struct Neighbor<'n> {
    pub(crate) filter: &'n Node,
    pub(crate) settings: &'n Node,
}

/// The filters whose settings have this type, and that are before a use of this filter. `of_route`
/// is whether that is a document for a route, which says nothing about its place.
pub(crate) fn before<'n>(
    found: &Use,
    manager: &'n Node,
    of_route: bool,
    wanted: &str,
) -> Vec<Neighbor<'n>> {
    let filters = manager.get("http_filters").map(Node::each).unwrap_or_default();
    let is_before = |filter: &&Node| {
        let mut later = filters.iter().filter(|other| other.at > filter.at);
        of_route || later.any(|other| other.at <= found.at)
    };
    let neighbor = |filter| Some(Neighbor { filter, settings: settings(filter, wanted)? });
    filters.iter().filter(is_before).filter_map(neighbor).collect()
}

/// The settings of a filter, if they have this type.
fn settings<'n>(filter: &'n Node, wanted: &str) -> Option<&'n Node> {
    let config = filter.get("typed_config")?;
    let is_it = |name| config.get(name).and_then(Node::text).is_some_and(|it| it.ends_with(wanted));
    if is_it("@type") {
        return Some(config);
    }
    config.get("value").filter(|_| is_it("type_url"))
}
