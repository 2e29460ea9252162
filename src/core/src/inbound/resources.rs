//! The protected resources behind the proxy. The one that a request is for gives the challenge, and
//! the audience of rules that name none.

use std::sync::Arc;

use crate::http::head::Head;
use crate::http::path::{BadPath, RequestPath};
use crate::inbound::resource_metadata::{self, ResourceMetadata, WELL_KNOWN};
use crate::oauth::denial::{Reply, Resource};
use crate::rules::target::{Target, Undecided};

/// The protected resources of a configuration.
#[derive(Debug)]
pub(crate) struct Resources {
    /// Those with a metadata document; no two of them cover the same requests.
    pub(crate) described: Vec<ResourceMetadata>,
    pub(crate) coverage: Coverage,
}

/// Which resource a request is for.
#[derive(Debug)]
pub(crate) enum Coverage {
    /// This one.
    All(Arc<Resource>),
    /// Of those that are described, the one of its host with the longest path above its own; in
    /// place of one that is not known, this one.
    ByTarget(Arc<Resource>),
}

impl Resources {
    /// Whether they depend on the paths of requests.
    pub(crate) fn look_at_paths(&self) -> bool {
        !self.described.is_empty()
    }

    /// Whether they depend on the hosts of requests, too.
    pub(crate) fn look_at_several(&self) -> bool {
        matches!(self.coverage, Coverage::ByTarget(_))
    }

    /// The resource that covers a request.
    ///
    /// # Errors
    /// The host or the path is ambiguous, or the path keeps escaped slashes, and another resource
    /// covers it if they are slashes.
    pub(crate) fn covering(
        &self,
        target: &Target<'_>,
    ) -> Result<Option<&Arc<Resource>>, Undecided> {
        if let Coverage::All(resource) = &self.coverage {
            return Ok(Some(resource));
        }
        target.in_both_readings(|target| self.nearest(target))
    }

    /// The resource of the request's host with the longest path above the request's.
    fn nearest(&self, target: &Target<'_>) -> Result<Option<&Arc<Resource>>, Undecided> {
        let (host, path) = (target.host()?, target.path()?);
        let path = path.map_or("*", RequestPath::as_str);
        let mut nearest: Option<(&ResourceMetadata, &str)> = None;
        for metadata in &self.described {
            // Segments have no slashes, so this compares whole segments.
            let rest = path.strip_prefix(metadata.base());
            if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/'))
                && *metadata.host == *host
                && nearest.is_none_or(|(_, of_nearest)| rest.len() < of_nearest.len())
            {
                nearest = Some((metadata, rest));
            }
        }
        match nearest {
            // Some services drop parameters, and then take the path for one of another resource.
            Some((_, rest)) if rest.bytes().any(|byte| byte == b';') => Err(BadPath.into()),
            nearest => Ok(nearest.map(|(metadata, _)| &metadata.resource)),
        }
    }

    /// The resource of a request for which it is not known which one covers it.
    pub(crate) fn of_unknown(&self) -> &Arc<Resource> {
        match &self.coverage {
            Coverage::All(resource) | Coverage::ByTarget(resource) => resource,
        }
    }

    /// The response, if the request is for a document.
    ///
    /// # Errors
    /// The host, on which the document depends, or the path is ambiguous.
    pub(crate) fn answer(
        &self,
        target: &Target<'_>,
        head: &dyn Head,
    ) -> Result<Option<Reply>, Undecided> {
        if self.described.is_empty() {
            return Ok(None);
        }
        let path = target.path()?.map(RequestPath::as_str);
        let Some(place) = path.and_then(|path| path.strip_prefix(WELL_KNOWN)) else {
            return Ok(None);
        };
        let method = target.method();
        if !matches!(method, "GET" | "HEAD" | "OPTIONS") {
            return Ok(None);
        }
        let are_several = self.look_at_several();
        let host = match target.host() {
            Ok(host) => host,
            Err(bad) if are_several => return Err(bad.into()),
            // It is no host of a resource.
            Err(_) => "",
        };
        let query = resource_metadata::query(head);
        let (mut found, mut of_host, mut are_more) = (None, None, false);
        let mut is_beside = false;
        for metadata in &self.described {
            let is_of_host = *metadata.host == *host;
            if is_of_host {
                are_more = of_host.replace(metadata).is_some();
            }
            // The document of a resource to which all requests belong is served on all hosts.
            if is_of_host || !are_several {
                if *metadata.path == *place && metadata.query == query {
                    found = Some(metadata);
                }
                is_beside |= place.strip_suffix('/') == Some(&*metadata.path);
            }
        }
        if found.is_none() && query.is_none() {
            is_beside |= matches!(place, "" | "/") && (are_several || of_host.is_some());
            // Clients try the root where they do not know the path of the resource.
            found = of_host.filter(|_| place.is_empty() && !are_more);
        }
        let is_served = found.is_some() || (is_beside && query.is_none());
        Ok(is_served.then(|| resource_metadata::reply(method, found)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::head::Fields;
    use crate::http::url::HttpUrl;

    fn metadata(resource: &str) -> ResourceMetadata {
        let url = HttpUrl::parse(resource).unwrap();
        ResourceMetadata::new(
            &url,
            &Resource::default(),
            vec![("resource".to_owned(), json!(resource))],
        )
        .unwrap()
    }

    /// The only resource.
    fn all(metadata: ResourceMetadata) -> Resources {
        let coverage = Coverage::All(Arc::clone(&metadata.resource));
        Resources { described: vec![metadata], coverage }
    }

    #[test]
    fn rs_9728_01_reading_gets_the_document_asking_gets_nothing_and_changing_no_answer() {
        let resources = all(metadata("https://api.test/mcp?v=1"));
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
            let answer = resources.answer(&Target::new(&head), &head).unwrap();
            assert_eq!(answer.as_ref().map(|reply| &*reply.body), body, "{method} {target}");
            assert!(answer.is_none_or(|reply| reply.status == 200), "{method} {target}");
        }
    }

    #[test]
    fn a_request_without_a_host_or_a_path_is_for_none_of_several_resources() {
        let one = all(metadata("https://api.test/"));
        let coverage = Coverage::ByTarget(Arc::default());
        let several = Resources { described: vec![metadata("https://api.test/")], coverage };
        let host = (":authority", "api.test");
        let path = (":path", "/");
        for (head, covered) in [
            (vec![host, path], true),
            (vec![path], false),
            (vec![(":authority", ""), path], false),
            (vec![host, (":path", "*")], false),
            (vec![host], false),
        ] {
            let fields: Fields = head.iter().copied().collect();
            let found = several.covering(&Target::new(&fields)).unwrap();
            assert_eq!(found.is_some(), covered, "{head:?}");
            assert!(one.covering(&Target::new(&fields)).unwrap().is_some(), "{head:?}");
        }
    }
}
