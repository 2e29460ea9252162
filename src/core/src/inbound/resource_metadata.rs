//! Protected resource metadata, in which clients find the authorization server (RFC 9728).

use serde_json::{Map, Value};

use crate::http::head::Head;
use crate::http::path::RequestPath;
use crate::http::url::HttpUrl;
use crate::oauth::denial::Reply;

/// The metadata document, and where it is served.
#[derive(Debug)]
pub(crate) struct ResourceMetadata {
    /// The URL of the document, which is in every challenge.
    pub(crate) url: String,
    /// The path of `url`, in the form in which paths are compared.
    path: RequestPath<'static>,
    /// The query of `url`, which is that of the resource.
    query: Option<String>,
    document: String,
}

impl ResourceMetadata {
    /// The metadata of `resource`. `members` are valid; those without elements are omitted (section
    /// 3.2). `None` if the path of the resource is ambiguous.
    pub(crate) fn new(resource: &HttpUrl, members: Vec<(String, Value)>) -> Option<Self> {
        let mut document = Map::new();
        document.extend(members.into_iter().filter(|(_, value)| {
            !value.is_null() && value.as_array().is_none_or(|elements| !elements.is_empty())
        }));
        let path = match &*resource.path {
            "/" => "",
            path => path,
        };
        let path = format!("/.well-known/oauth-protected-resource{path}");
        let mut url = resource.clone();
        url.path = path;
        Some(Self {
            path: RequestPath::parse(url.path.clone().into_bytes()).ok()?,
            url: url.text(),
            query: url.query,
            document: Value::Object(document).to_string(),
        })
    }

    /// The response, if the request is for the document.
    pub(crate) fn answer(&self, path: Option<&RequestPath<'_>>, head: &dyn Head) -> Option<Reply> {
        if path != Some(&self.path) || self.query != query(head) {
            return None;
        }
        let body = match &*head.value(":method")? {
            b"GET" | b"HEAD" => self.document.clone(),
            b"OPTIONS" => String::new(),
            _ => return None,
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
        Some(Reply { status: 200, grpc_status: 0, details, headers, body })
    }
}

fn query(head: &dyn Head) -> Option<String> {
    let path = head.value(":path")?;
    let mark = path.iter().position(|b| *b == b'?')?;
    let (_, query) = path.split_at_checked(mark.checked_add(1)?)?;
    Some(String::from_utf8_lossy(query).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::head::Fields;

    #[test]
    fn rs_9728_01_reading_gets_the_document_asking_gets_nothing_and_changing_no_answer() {
        let resource = HttpUrl::parse("https://api.test/mcp?v=1").unwrap();
        let members = vec![("resource".to_owned(), json!(resource.text()))];
        let metadata = ResourceMetadata::new(&resource, members).unwrap();
        let document = r#"{"resource":"https://api.test/mcp?v=1"}"#;
        let path = "/.well-known/oauth-protected-resource/mcp";
        let asked = format!("{path}?v=1");
        for (method, target, body) in [
            ("GET", asked.as_str(), Some(document)),
            ("HEAD", &asked, Some(document)),
            ("OPTIONS", &asked, Some("")),
            ("POST", &asked, None),
            ("get", &asked, None),
            ("GET", path, None),
            ("GET", &format!("{path}?v=2"), None),
            ("GET", "/mcp?v=1", None),
        ] {
            let head = Fields::from_iter([(":method", method), (":path", target)]);
            let path = RequestPath::parse(target.as_bytes()).ok();
            let answer = metadata.answer(path.as_ref(), &head);
            assert_eq!(answer.as_ref().map(|reply| &*reply.body), body, "{method} {target}");
            assert!(answer.is_none_or(|reply| reply.status == 200), "{method} {target}");
        }
    }
}
