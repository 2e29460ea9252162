//! Protected resource metadata, in which clients find the authorization server (RFC 9728).

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::http::authority::Authority;
use crate::http::head::Head;
use crate::http::path::RequestPath;
use crate::http::url::HttpUrl;
use crate::oauth::denial::{Reply, Resource};

/// Where documents are served, before the path of the resource.
pub(crate) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The metadata document of a resource, and where it is served.
#[derive(Debug)]
pub(crate) struct ResourceMetadata {
    /// The resource, which is described by the URL of the document.
    pub(crate) resource: Arc<Resource>,
    /// The host of the resource, in the form in which hosts are compared.
    pub(crate) host: Box<str>,
    /// The path of the resource, in the form in which paths are compared; empty for the root.
    pub(crate) path: Box<str>,
    /// The query of that URL, which is that of the resource.
    pub(crate) query: Option<String>,
    document: String,
}

impl ResourceMetadata {
    /// The metadata of `resource`. `members` are valid; those without elements are omitted (section
    /// 3.2). `None` if the path of the resource is ambiguous.
    pub(crate) fn new(
        resource: &HttpUrl,
        common: &Resource,
        members: Vec<(String, Value)>,
    ) -> Option<Self> {
        let mut document = Map::new();
        document.extend(members.into_iter().filter(|(_, value)| {
            !value.is_null() && value.as_array().is_none_or(|elements| !elements.is_empty())
        }));
        let path = RequestPath::parse(resource.path.as_bytes()).ok()?;
        let (path, raw) = match path.as_str() {
            "/" => ("", ""),
            path => (path, &*resource.path),
        };
        let mut url = resource.clone();
        url.path = format!("{WELL_KNOWN}{raw}");
        let text = resource.text();
        // As an audience, a slash after an empty path is ignored.
        let bare = text.strip_suffix('/').filter(|_| path.is_empty());
        let audience = bare.into_iter().chain([&*text]).map(Into::into).collect();
        let metadata_url = Some(url.text());
        Some(Self {
            host: Authority::parse(resource.host.as_bytes()).ok()?.host.into(),
            path: path.into(),
            resource: Arc::new(Resource { metadata_url, audience, ..common.clone() }),
            query: url.query,
            document: Value::Object(document).to_string(),
        })
    }

    /// The path of the resource without a slash at the end: what is below it, the resource covers.
    pub(crate) fn base(&self) -> &str {
        self.path.strip_suffix('/').unwrap_or(&self.path)
    }
}

/// The response to a request for the document, or where clients may look for one and there is none.
pub(crate) fn reply(method: &str, metadata: Option<&ResourceMetadata>) -> Reply {
    let (status, body) = match metadata {
        _ if method == "OPTIONS" => (200, ""),
        Some(metadata) => (200, &*metadata.document),
        None => (404, r#"{"error":"not_found"}"#),
    };
    // The document is public, so browsers may read it from any origin. `authorization` must be
    // listed, because the wildcard does not cover it (Fetch standard, CORS non-wildcard
    // request-header name).
    let headers = vec![
        ("cache-control", "no-store".into()),
        ("content-type", "application/json".into()),
        ("access-control-allow-origin", "*".into()),
        ("access-control-allow-methods", "GET, HEAD, OPTIONS".into()),
        ("access-control-allow-headers", "*, authorization".into()),
        ("access-control-max-age", "3600".into()),
    ];
    let details = "oauth2_resource_metadata";
    Reply { status, grpc_status: 0, details, headers, body: body.to_owned() }
}

/// The query of a request.
pub(crate) fn query(head: &dyn Head) -> Option<String> {
    let path = head.value(":path")?;
    let mark = path.iter().position(|b| *b == b'?')?;
    let (_, query) = path.split_at_checked(mark.checked_add(1)?)?;
    Some(String::from_utf8_lossy(query).into_owned())
}
