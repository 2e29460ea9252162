//! The protected resources behind the proxy. The one that a request is for gives the challenge, and
//! the audience of rules that name none.

use std::sync::Arc;

use crate::http::authority::HostPattern;
use crate::http::head::Head;
use crate::http::path::{PathPattern, Segment};
use crate::inbound::resource_metadata::{self, ResourceMetadata, WELL_KNOWN};
use crate::oauth::denial::{Reply, Resource};
use crate::rules::index::RuleIndex;
use crate::rules::matcher::Matcher;
use crate::rules::target::{Target, Undecided};

/// The metadata documents of a configuration.
#[derive(Debug, Default)]
pub(crate) enum Documents {
    /// None is served.
    #[default]
    Absent,
    /// That of one resource, to which all requests belong.
    One(ResourceMetadata),
    /// Those of several resources, no two of which cover the same requests.
    Several(Vec<ResourceMetadata>),
}

/// The protected resources of a configuration.
#[derive(Debug)]
pub(crate) struct Resources {
    documents: Documents,
    coverage: Coverage,
}

/// Which resource a request is for.
#[derive(Debug)]
enum Coverage {
    /// This one.
    All(Arc<Resource>),
    /// The one of its host with the longest path above its own.
    Some {
        resources: RuleIndex<Arc<Resource>>,
        /// In place of a resource that is not known.
        unknown: Arc<Resource>,
    },
}

/// A resource with this metadata, if any.
fn resource(realm: &str, metadata: Option<&ResourceMetadata>) -> Arc<Resource> {
    Arc::new(Resource {
        realm: realm.to_owned(),
        metadata_url: metadata.map(|metadata| metadata.url.clone()),
        audience: metadata.map(|metadata| metadata.audience.clone()).unwrap_or_default(),
    })
}

impl Resources {
    pub(crate) fn new(realm: &str, documents: Documents) -> Self {
        let coverage = match &documents {
            Documents::Absent => Coverage::All(resource(realm, None)),
            Documents::One(metadata) => Coverage::All(resource(realm, Some(metadata))),
            Documents::Several(list) => {
                let mut list: Vec<&ResourceMetadata> = list.iter().collect();
                // The first that matches is then the one with the longest path.
                list.sort_by_key(|metadata| std::cmp::Reverse(metadata.segments().count()));
                let rules = list
                    .into_iter()
                    .map(|metadata| (metadata.covers(), resource(realm, Some(metadata))));
                let unknown = resource(realm, None);
                Coverage::Some { resources: RuleIndex::new(rules), unknown }
            }
        };
        Self { documents, coverage }
    }

    /// Whether they depend on the paths of requests.
    pub(crate) fn look_at_paths(&self) -> bool {
        !matches!(self.documents, Documents::Absent)
    }

    /// Whether they depend on the hosts of requests, too.
    pub(crate) fn look_at_several(&self) -> bool {
        matches!(self.coverage, Coverage::Some { .. })
    }

    /// The resource that covers a request.
    ///
    /// # Errors
    /// The host or the path is ambiguous.
    pub(crate) fn covering(
        &self,
        target: &Target<'_>,
    ) -> Result<Option<&Arc<Resource>>, Undecided> {
        match &self.coverage {
            Coverage::All(resource) => Ok(Some(resource)),
            Coverage::Some { resources, .. } => resources.find(target),
        }
    }

    /// The resource of a request for which it is not known which one covers it.
    pub(crate) fn of_unknown(&self) -> &Arc<Resource> {
        match &self.coverage {
            Coverage::All(resource) | Coverage::Some { unknown: resource, .. } => resource,
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
        let (documents, is_list) = match &self.documents {
            Documents::Absent => return Ok(None),
            Documents::One(metadata) => (std::slice::from_ref(metadata), false),
            Documents::Several(list) => (list.as_slice(), true),
        };
        let path = target.path()?.map(|path| path.as_str());
        let Some(place) = path.and_then(|path| path.strip_prefix(WELL_KNOWN)) else {
            return Ok(None);
        };
        let is_inside = place.is_empty() || place.starts_with('/');
        if !is_inside || !matches!(target.method(), "GET" | "HEAD" | "OPTIONS") {
            return Ok(None);
        }
        let host = match target.host() {
            Ok(host) => host,
            Err(bad) if is_list => return Err(bad.into()),
            // It is no host of a resource.
            Err(_) => "",
        };
        let query = resource_metadata::query(head);
        let mut of_host = documents.iter().filter(|metadata| *metadata.host == *host);
        // The document of a resource to which all requests belong is served on all hosts.
        let mut here = documents.iter().filter(|metadata| !is_list || *metadata.host == *host);
        let mut found =
            here.clone().find(|metadata| *metadata.path == *place && metadata.query == query);
        if query.is_some() && found.is_none() {
            return Ok(None);
        }
        let is_root = place.trim_end_matches('/').is_empty();
        let is_known = is_root && (is_list || of_host.clone().next().is_some());
        if place.is_empty() && found.is_none() {
            // Clients try it where they do not know the path of the resource.
            found = of_host.next().filter(|_| of_host.next().is_none());
        }
        let above = place.strip_suffix('/');
        Ok(match found {
            Some(metadata) => Some(metadata.reply(target.method())),
            None if is_known || here.any(|metadata| above == Some(&*metadata.path)) => {
                Some(resource_metadata::not_found(target.method()))
            }
            None => None,
        })
    }
}

impl ResourceMetadata {
    /// The requests that the resource covers.
    fn covers(&self) -> Matcher {
        let segments = self.segments().map(|segment| Segment::Literal(segment.into())).collect();
        Matcher {
            hosts: Some(vec![HostPattern::Exact(self.host.clone())]),
            paths: Some(vec![PathPattern { segments, rest: true }]),
            ..Matcher::default()
        }
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
        ResourceMetadata::new(&url, vec![("resource".to_owned(), json!(resource))]).unwrap()
    }

    #[test]
    fn rs_9728_01_reading_gets_the_document_asking_gets_nothing_and_changing_no_answer() {
        let resources = Resources::new("", Documents::One(metadata("https://api.test/mcp?v=1")));
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
        let several = Documents::Several(vec![metadata("https://api.test/")]);
        let several = Resources::new("", several);
        let one = Resources::new("", Documents::One(metadata("https://api.test/")));
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
