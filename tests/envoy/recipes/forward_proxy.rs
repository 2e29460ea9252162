//! `envoy/forward-proxy.yaml`, and what its page has in its place for a proxy that wants credentials.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{Envoy, Options, example};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::tls::{Authority, TlsFront};
use oauth2_filter_testbed::upstream::Upstream;
use oauth2_filter_testbed::workspace;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::port;
use crate::set_up::one_worker;

/// The server's name.
const SERVER: &str = "as.example.com";

/// An HTTP proxy that only knows CONNECT, and leads every tunnel to the same place.
struct Proxy {
    address: SocketAddr,
    /// The heads of the requests, in order.
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Leads to this address; without one, it refuses.
    async fn start(leads_to: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let heads = Arc::default();
        let task = tokio::spawn(accept(listener, leads_to, Arc::clone(&heads)));
        Self { address, heads, task }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    leads_to: Option<SocketAddr>,
    heads: Arc<Mutex<Vec<String>>>,
) {
    let mut tunnels = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let heads = Arc::clone(&heads);
        tunnels.spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                (stream.read_line(&mut head).await.ok()? > 0).then_some(())?;
            }
            heads.lock().unwrap_or_else(PoisonError::into_inner).push(head);
            let Some(leads_to) = leads_to else {
                let refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
                return stream.write_all(refusal).await.ok();
            };
            let mut server = TcpStream::connect(leads_to).await.ok()?;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
            copy_bidirectional(&mut stream, &mut server).await.ok().map(drop)
        });
        while tunnels.try_join_next().is_some() {}
    }
}

/// What is around an Envoy with the file.
struct Scene {
    server: ScriptedServer,
    service: Upstream,
    authority: Authority,
    /// With the authority's certificate.
    files: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let (server, service) = (ScriptedServer::start().await, Upstream::start().await);
        let issued = json!({"access_token": "t", "token_type": "Bearer", "expires_in": 300});
        server.on("/token", Answer::json(200, &issued));
        let (authority, files) =
            (Authority::new(), TempDir::with_prefix("proxy-").expect("a directory"));
        fs::write(files.path().join("ca.pem"), authority.pem()).expect("a file");
        Self { server, service, authority, files }
    }

    /// The server, as somebody with a certificate of this authority.
    async fn front(&self, authority: &Authority) -> TlsFront {
        TlsFront::start(&authority.issue(SERVER), self.server.address()).await
    }

    /// The file, with this proxy.
    fn text(&self, proxy: SocketAddr) -> String {
        example(
            "forward-proxy.yaml",
            &[
                ("port_value: 10000 ", "port_value: 0 "),
                ("port_value: 9001 ", &port(self.service.address())),
                ("port_value: 3128 ", &port(proxy)),
                (
                    "/etc/ssl/certs/ca-certificates.crt",
                    &self.files.path().join("ca.pem").display().to_string(),
                ),
            ],
        )
    }

    /// Starts Envoy, and sends it a request.
    async fn answer(&self, text: String) -> (Envoy, Response) {
        let environment =
            [("BILLING_SECRET", "orders-secret"), ("PROXY_AUTHORIZATION", "Basic cDpx")];
        let environment =
            environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let options = Options { environment, ..one_worker() };
        let envoy = Envoy::start_with(text, &options).await.expect("Envoy with a proxy");
        let request = Request::get("/").authority("billing.example.com");
        let answer = request.send(envoy.address("outbound")).await.expect("an answer");
        (envoy, answer)
    }

    /// The file with the cluster and the listener of the page in the place of its cluster.
    fn text_of_page(&self, proxy: SocketAddr) -> String {
        let page = fs::read_to_string(workspace().join("docs/recipes/forward-proxy.md"));
        let page = page.expect("the page");
        let (_, block) = page.split_once("```yaml\n").expect("the block");
        let (block, _) = block.split_once("```").expect("its end");
        let block = block.replace("port_value: 3128 ", &port(proxy));
        let (extensions, resources) = block.split_once("static_resources:\n").expect("resources");
        let (listeners, clusters) = resources.split_once("  clusters:\n").expect("clusters");
        let listeners = listeners.strip_prefix("  listeners:\n").expect("listeners");

        let text = self.text(proxy);
        let (before, cluster) =
            text.split_once("    # Named by `cluster` of the client.\n").expect("it");
        let (_, tls) = cluster.split_once("          transport_socket:\n").expect("TLS in it");
        let (tls, _) = tls.split_once("      load_assignment:\n").expect("the end of TLS");
        let tls: String = tls.split_inclusive('\n').map(|line| &line[4..]).collect();
        let before = before.replace("  listeners:\n", &format!("  listeners:\n{listeners}"));
        format!("{extensions}{before}{clusters}      transport_socket:\n{tls}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_requests_go_through_a_proxy_that_sees_none_of_them() {
    let scene = Scene::new().await;
    let front = scene.front(&scene.authority).await;
    let proxy = Proxy::start(Some(front.address())).await;
    let credentials = "proxy-authorization: Basic cDpx\r\n";
    for (text, with_credentials) in
        [(scene.text(proxy.address), false), (scene.text_of_page(proxy.address), true)]
    {
        let (envoy, answer) = scene.answer(text).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let request = scene.service.requests().pop().expect("a request");
        assert_eq!(request.header("authorization").as_deref(), Some("Bearer t"));
        let head = proxy.heads().pop().expect("a tunnel");
        assert!(head.starts_with("CONNECT as.example.com:443 HTTP/1.1\r\n"), "{head}");
        assert_eq!(head.contains(credentials), with_credentials, "{head}");
        assert_eq!(front.server_names().pop().flatten().as_deref(), Some(SERVER));
        envoy.stop();
    }
    assert_eq!((proxy.heads().len(), scene.server.count("/token")), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_or_pretends_to_be_the_server_learns_nothing() {
    let scene = Scene::new().await;
    let impostor = scene.front(&Authority::new()).await;
    for leads_to in [None, Some(impostor.address())] {
        let proxy = Proxy::start(leads_to).await;
        for text in [scene.text(proxy.address), scene.text_of_page(proxy.address)] {
            let (envoy, answer) = scene.answer(text).await;
            assert_eq!(answer.status, 503, "{}", answer.text());
            envoy.logged("oauth2_server_unavailable").await;
            let unverified = envoy.stat("cluster.as.ssl.fail_verify_error").await.unwrap_or(0);
            assert_eq!(unverified > 0, leads_to.is_some(), "{unverified}");
        }
        assert!(!proxy.heads().is_empty());
    }
    assert_eq!((scene.server.count("/token"), scene.service.requests().len()), (0, 0));
}
