//! An endpoint of an authorization server, and calls to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::form_urlencoded::Serializer;

use crate::cache::single_flight::CallId;
use crate::http::url::HttpUrl;
use crate::oauth::call::{Call, Purpose};
use crate::oauth::client_auth::ClientAuth;
use crate::timestamp::Timestamp;

/// The common part of all calls to an endpoint.
pub(crate) struct Endpoint {
    /// The Envoy cluster to call.
    pub(crate) cluster: Arc<str>,
    /// How the filter authenticates.
    auth: Arc<ClientAuth>,
    /// The headers of every call, without `Authorization`.
    head: Vec<(Arc<str>, Arc<str>)>,
    /// The configured additional form parameters.
    parameters: Vec<(String, String)>,
    /// For the whole call, including retries.
    pub(crate) timeout: Duration,
    /// How often to retry after a connection failure.
    retries: u32,
}

/// The configuration of an [`Endpoint`].
#[derive(Clone)]
pub(crate) struct EndpointOptions {
    pub(crate) url: HttpUrl,
    /// The Envoy cluster; `None` for Istio's name of it.
    pub(crate) cluster: Option<String>,
    /// How the filter authenticates.
    pub(crate) auth: Arc<ClientAuth>,
    /// The configured additional headers, with names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The configured additional form parameters.
    pub(crate) parameters: Vec<(String, String)>,
    /// For the whole call, including retries.
    pub(crate) timeout: Duration,
    /// How often to retry after a connection failure.
    pub(crate) retries: u32,
}

/// The cluster of an endpoint: the configured one, or Istio's name for it.
pub(crate) fn cluster(named: Option<String>, url: &HttpUrl) -> String {
    named.unwrap_or_else(|| format!("outbound|{}||{}", url.port(), url.host))
}

/// Adds the headers of every call: the configured ones, in place of defaults.
pub(crate) fn push_headers(
    head: &mut Vec<(Arc<str>, Arc<str>)>,
    configured: Vec<(String, String)>,
) {
    let defaults = [
        ("accept", "application/json"),
        ("user-agent", concat!("oauth2-filter/", env!("CARGO_PKG_VERSION"))),
    ];
    for (name, value) in defaults {
        if configured.iter().all(|(own, _)| own != name) {
            head.push((name.into(), value.into()));
        }
    }
    head.extend(configured.into_iter().map(|(name, value)| (name.into(), value.into())));
}

/// Adds the headers that ask Envoy for retries.
pub(crate) fn push_retries(head: &mut Vec<(Arc<str>, Arc<str>)>, retries: u32, repeat: Repeat) {
    if retries == 0 {
        return;
    }
    let on = match repeat {
        Repeat::Harmless => "connect-failure,reset,gateway-error",
        // Retried only if the server cannot have read it.
        Repeat::Harmful => "connect-failure,refused-stream",
    };
    // Envoy removes these before it sends the request.
    head.push(("x-envoy-retry-on".into(), on.into()));
    head.push(("x-envoy-max-retries".into(), retries.to_string().into()));
}

impl Endpoint {
    /// Prepares the common part of all calls.
    pub(crate) fn new(options: EndpointOptions) -> Self {
        let EndpointOptions { url, cluster, auth, headers, parameters, timeout, retries } = options;
        let mut head: Vec<(Arc<str>, Arc<str>)> = vec![
            (":method".into(), "POST".into()),
            (":scheme".into(), url.scheme().into()),
            (":authority".into(), url.authority().into()),
            (":path".into(), url.target().into()),
            ("content-type".into(), "application/x-www-form-urlencoded".into()),
        ];
        push_headers(&mut head, headers);
        Self {
            cluster: self::cluster(cluster, &url).into(),
            auth,
            head,
            parameters,
            timeout,
            retries,
        }
    }

    /// Everything that a response may depend on besides the request itself. This includes the
    /// cluster: the same URL in another cluster may be another server.
    pub(crate) fn identity(&self) -> [Vec<&str>; 4] {
        let (mut head, mut form): (Vec<&str>, Vec<&str>) = Default::default();
        for (name, value) in &self.head {
            head.extend([&**name, &**value]);
        }
        for (name, value) in &self.parameters {
            form.extend([name.as_str(), value.as_str()]);
        }
        [vec![&*self.cluster], head, form, self.auth.identity()]
    }

    /// The parts of every call that may be secret: credentials, and what the operator has configured
    /// in the query, in headers and in parameters.
    pub(crate) fn each_secret(&self, check: &mut dyn FnMut(&str)) {
        self.auth.each_secret(check);
        for (name, value) in &self.head {
            match &**name {
                ":path" => check(value.split_once('?').map_or("", |(_, query)| query)),
                ":method" | ":scheme" | ":authority" | "content-type" => {}
                _ => check(value),
            }
        }
        self.parameters.iter().for_each(|(_, value)| check(value));
    }

    /// A call with these form parameters, followed by the additional ones and those of client
    /// authentication.
    ///
    /// # Errors
    /// There is no secret to authenticate with.
    pub(crate) fn call(
        &self,
        id: CallId,
        purpose: Purpose,
        parameters: &[(&str, &str)],
        repeat: Repeat,
        now: Timestamp,
    ) -> Option<Call> {
        let proof = self.auth.proof(now)?;
        let body = Serializer::new(String::new())
            .extend_pairs(parameters)
            .extend_pairs(&self.parameters)
            .extend_pairs(proof.parameters)
            .finish();
        let mut headers = self.head.clone();
        headers.extend(proof.authorization.map(|v| ("authorization".into(), v.into())));
        let repeat = if self.auth.is_single_use() { Repeat::Harmful } else { repeat };
        push_retries(&mut headers, self.retries, repeat);
        let cluster = Arc::clone(&self.cluster);
        let timeout = self.timeout;
        Some(Call { id, cluster, headers, body, timeout, purpose })
    }
}

/// Whether a call may be repeated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Repeat {
    Harmless,
    /// The server may treat the second as an attack: refresh tokens and assertions are used once
    /// (RFC 9700, section 4.14).
    Harmful,
}

/// The configured headers and parameters may be secrets too, so they are not displayed.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::identity::Identity;
    use crate::oauth::secret::{Credential, Secret};

    fn fixed(secret: &str) -> Credential {
        Credential::fixed(Secret::new(secret.into()))
    }

    fn options(url: &str) -> EndpointOptions {
        EndpointOptions {
            url: HttpUrl::parse(url).unwrap(),
            cluster: None,
            auth: Arc::new(ClientAuth::basic("id".into(), fixed("s3cr3t"))),
            headers: vec![("x-api-key".into(), "k3y".into())],
            parameters: vec![("p".into(), "v4lue".into())],
            timeout: Duration::from_secs(5),
            retries: 1,
        }
    }

    impl Endpoint {
        fn ask(&self, parameters: &[(&str, &str)]) -> Call {
            let now = Timestamp::from_millis(0);
            self.call(CallId(1), Purpose::Introspection, parameters, Repeat::Harmless, now).unwrap()
        }
    }

    fn values(call: &Call, name: &str) -> Vec<String> {
        let of_name = call.headers.iter().filter(|(n, _)| **n == *name);
        of_name.map(|(_, value)| value.to_string()).collect()
    }

    #[test]
    fn d6_12_everything_that_the_operator_has_configured_may_be_secret() {
        let endpoint = Endpoint::new(options("https://as.test/i?key=qu3ry"));
        let mut secrets = Vec::new();
        endpoint.each_secret(&mut |secret| secrets.push(secret.to_owned()));
        for secret in ["s3cr3t", "k3y", "v4lue", "key=qu3ry"] {
            assert!(secrets.iter().any(|known| known == secret), "{secret} {secrets:?}");
        }
        assert!(!secrets.iter().any(|secret| secret.contains("as.test")), "{secrets:?}");
    }

    #[test]
    fn the_default_cluster_is_the_one_that_istio_makes() {
        for (url, cluster, authority, path) in [
            ("https://as.test/i", "outbound|443||as.test", "as.test", "/i"),
            ("http://as.test", "outbound|80||as.test", "as.test", "/"),
            (
                "https://AS.test:8443/i?a=b%20c",
                "outbound|8443||as.test",
                "as.test:8443",
                "/i?a=b%20c",
            ),
            ("http://[::1]:9000/i", "outbound|9000||[::1]", "[::1]:9000", "/i"),
        ] {
            let call = Endpoint::new(options(url)).ask(&[]);
            assert_eq!(&*call.cluster, cluster);
            assert_eq!(values(&call, ":authority"), [authority]);
            assert_eq!(values(&call, ":path"), [path]);
        }
    }

    #[test]
    fn cl_6749_03_no_parameter_occurs_twice_and_all_are_form_encoded() {
        let call = Endpoint::new(options("http://as.test/")).ask(&[("token", "a&b=c")]);
        assert_eq!(call.body, "token=a%26b%3Dc&p=v4lue");
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn rs_7662_08_d1_06_no_two_ways_to_ask_have_the_same_identity() {
        let changed = |change: fn(&mut EndpointOptions)| {
            let mut options = options("https://as.test/i");
            change(&mut options);
            Identity::new(&Endpoint::new(options).identity()).fingerprint("t")
        };
        let basic = |id: &str, secret: &str| ClientAuth::basic(id.into(), fixed(secret));
        let all = [
            changed(|_| {}),
            changed(|o| o.url = HttpUrl::parse("https://as.test/j").unwrap()),
            changed(|o| o.url = HttpUrl::parse("https://as.test/i?tenant=b").unwrap()),
            changed(|o| o.url = HttpUrl::parse("http://as.test/i").unwrap()),
            changed(|o| o.url = HttpUrl::parse("https://other.test/i").unwrap()),
            changed(|o| o.cluster = Some("other".into())),
            changed(|o| o.headers = vec![("x-api-key".into(), "other".into())]),
            changed(|o| o.headers = vec![("x-api".into(), "keyk3y".into())]),
            changed(|o| o.parameters = vec![("p".into(), "other".into())]),
            changed(|o| o.parameters = vec![("pv".into(), "4lue".into())]),
            // The same words in the same order, once as headers, once as parameters.
            changed(|o| {
                o.headers = pairs(&[("parameter", "p"), ("q", "parameter"), ("r", "s")]);
                o.parameters = Vec::new();
            }),
            changed(|o| {
                o.headers = Vec::new();
                o.parameters = pairs(&[("p", "q"), ("r", "s")]);
            }),
            changed(|o| (o.headers, o.parameters) = (pairs(&[("form", "x")]), Vec::new())),
            changed(|o| (o.headers, o.parameters) = (Vec::new(), pairs(&[("x", "form")]))),
            changed(|o| o.auth = ClientAuth::None { client_id: None }.into()),
            changed(|o| o.auth = ClientAuth::None { client_id: Some("id".into()) }.into()),
            changed(|o| {
                o.auth = ClientAuth::post("id".into(), fixed("s3cr3t")).into();
            }),
        ];
        let with_client = |id, secret| {
            let options =
                EndpointOptions { auth: basic(id, secret).into(), ..options("https://as.test/i") };
            Identity::new(&Endpoint::new(options).identity()).fingerprint("t")
        };
        let clients = [with_client("other", "s3cr3t"), with_client("id", "other")];
        let all = [&all[..], &clients[..]].concat();
        for (n, one) in all.iter().enumerate() {
            for (m, other) in all.iter().enumerate().skip(n + 1) {
                assert_ne!(one, other, "{n} and {m}");
            }
        }
    }

    #[test]
    fn retries_are_asked_of_envoy_and_only_if_there_are_some() {
        let call = Endpoint::new(options("http://as.test/")).ask(&[]);
        assert_eq!(values(&call, "x-envoy-max-retries"), ["1"]);
        assert_eq!(values(&call, "x-envoy-retry-on"), ["connect-failure,reset,gateway-error"]);
        let endpoint = Endpoint::new(options("http://as.test/"));
        let id = CallId(1);
        let now = Timestamp::from_millis(0);
        let once = endpoint.call(id, Purpose::Token, &[], Repeat::Harmful, now).unwrap();
        assert_eq!(values(&once, "x-envoy-retry-on"), ["connect-failure,refused-stream"]);
        let none = EndpointOptions { retries: 0, ..options("http://as.test/") };
        let call = Endpoint::new(none).ask(&[]);
        assert!(values(&call, "x-envoy-max-retries").is_empty());
        assert!(values(&call, "x-envoy-retry-on").is_empty());
    }

    #[test]
    fn the_operators_headers_take_the_place_of_defaults() {
        let mut options = options("http://as.test/");
        options.headers = vec![("accept".into(), "text/json".into())];
        let call = Endpoint::new(options).ask(&[]);
        assert_eq!(values(&call, "accept"), ["text/json"]);
        assert_eq!(values(&call, "user-agent").len(), 1);
    }

    #[test]
    fn d6_01_no_header_or_parameter_shows_in_debug_output() {
        let endpoint = Endpoint::new(options("http://as.test/"));
        let shown = format!("{endpoint:?} {:?}", endpoint.ask(&[("token", "t0ken")]));
        assert!(shown.starts_with("Endpoint { cluster: "), "{shown}");
        for hidden in ["s3cr3t", "k3y", "v4lue", "t0ken", "Basic"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }
}
