//! An endpoint of an authorization server, and the calls made to it.

use std::rc::Rc;
use std::time::Duration;

use url::Url;
use url::form_urlencoded::Serializer;

use crate::call::{Call, CallId};
use crate::client_auth::ClientAuth;

/// What every call to one endpoint has in common.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The Envoy cluster to call.
    pub(crate) cluster: Rc<str>,
    /// How the filter authenticates.
    auth: ClientAuth,
    /// The head of every call, but for `Authorization`.
    head: Vec<(Rc<str>, Rc<str>)>,
    /// The operator's extra form parameters.
    parameters: Vec<(String, String)>,
    /// For the whole exchange, retries included.
    timeout: Duration,
}

/// What an [`Endpoint`] is made of, as configured.
pub(crate) struct EndpointOptions {
    /// Where it is.
    pub(crate) url: Url,
    /// The Envoy cluster; `None` for the name that Istio gives it.
    pub(crate) cluster: Option<String>,
    /// How the filter authenticates.
    pub(crate) auth: ClientAuth,
    /// The operator's extra headers, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The operator's extra form parameters.
    pub(crate) parameters: Vec<(String, String)>,
    /// For the whole exchange, retries included.
    pub(crate) timeout: Duration,
    /// How often a call that failed on the way is sent again.
    pub(crate) retries: u32,
}

impl Endpoint {
    /// Puts together what all calls share.
    pub(crate) fn new(options: EndpointOptions) -> Self {
        let EndpointOptions { url, cluster, auth, headers, parameters, timeout, retries } = options;
        let host = url.host_str().unwrap_or_default();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let cluster = cluster.unwrap_or_else(|| {
            format!("outbound|{}||{host}", url.port_or_known_default().unwrap_or_default())
        });
        let mut head: Vec<(Rc<str>, Rc<str>)> = vec![
            (":method".into(), "POST".into()),
            (":scheme".into(), url.scheme().into()),
            (":authority".into(), authority.into()),
            (":path".into(), path.into()),
            ("content-type".into(), "application/x-www-form-urlencoded".into()),
        ];
        let defaults = [
            ("accept", "application/json"),
            ("user-agent", concat!("oauth2-filter/", env!("CARGO_PKG_VERSION"))),
        ];
        for (name, value) in defaults {
            if headers.iter().all(|(own, _)| own != name) {
                head.push((name.into(), value.into()));
            }
        }
        if retries > 0 {
            // Envoy takes these out again before the request leaves.
            let on = "connect-failure,reset,gateway-error";
            head.push(("x-envoy-retry-on".into(), on.into()));
            head.push(("x-envoy-max-retries".into(), retries.to_string().into()));
        }
        head.extend(headers.into_iter().map(|(name, value)| (name.into(), value.into())));
        Self { cluster: cluster.into(), auth, head, parameters, timeout }
    }

    /// A call with these form parameters; the extra ones and the client's follow.
    pub(crate) fn call(&self, id: CallId, parameters: &[(&str, &str)]) -> Call {
        let body = Serializer::new(String::new())
            .extend_pairs(parameters)
            .extend_pairs(&self.parameters)
            .extend_pairs(self.auth.parameters())
            .finish();
        let authorization = self.auth.authorization().map(|v| ("authorization".into(), v.into()));
        let headers = self.head.iter().cloned().chain(authorization).collect();
        Call { id, cluster: Rc::clone(&self.cluster), headers, body, timeout: self.timeout }
    }
}
