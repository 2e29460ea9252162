//! Whom proxies ask: an authorization server's introspection and token endpoints, the service of
//! `ext_authz`, as quick as can be, and that service as people write it, in Node.js. Each proxy has
//! paths of its own, so that its calls can be counted.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io, thread};

use httparse::{EMPTY_HEADER, Request, Status};
use oauth2_filter_testbed::process::Process;
use oauth2_filter_testbed::{wait, workspace};
use tempfile::TempDir;

use crate::Outcome;
use crate::load::wake_at_once;
use crate::tokens::Tokens;

/// A running server: a thread for each connection, until the program ends.
#[derive(Debug)]
pub struct AuthorizationServer {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    tokens: Arc<Tokens>,
    /// How long each introspection takes.
    delay: Duration,
    calls: Mutex<BTreeMap<String, u64>>,
}

impl AuthorizationServer {
    /// Starts one that takes this long for each introspection.
    pub fn start(tokens: Arc<Tokens>, delay: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State { tokens, delay, calls: Mutex::default() });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // What goes wrong on a connection is the client's to see.
                thread::spawn(move || state.serve(stream).ok());
            }
        });
        Ok(Self { address, state })
    }

    /// How often a proxy has asked.
    pub fn calls(&self, proxy: &str) -> u64 {
        let calls = self.state.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(proxy).copied().unwrap_or(0)
    }
}

impl State {
    fn serve(&self, mut stream: TcpStream) -> Outcome<()> {
        stream.set_nodelay(true)?;
        wake_at_once();
        let mut buffer = Vec::new();
        loop {
            let length = match self.answer(&buffer)? {
                Some((length, status, body)) => {
                    let head = "content-type: application/json\r\ncontent-length:";
                    let length_of_body = body.len();
                    let answer =
                        format!("HTTP/1.1 {status} .\r\n{head} {length_of_body}\r\n\r\n{body}");
                    stream.write_all(answer.as_bytes())?;
                    length
                }
                None => 0,
            };
            buffer.drain(..length);
            if length == 0 {
                let mut more = [0; 16 * 1024];
                match stream.read(&mut more)? {
                    0 => return Ok(()),
                    read => buffer.extend_from_slice(&more[..read]),
                }
            }
        }
    }

    /// The length of the first request, once it is there as a whole, and the answer to it.
    fn answer(&self, bytes: &[u8]) -> Outcome<Option<(usize, u16, String)>> {
        let mut headers = [EMPTY_HEADER; 32];
        let mut request = Request::new(&mut headers);
        let Status::Complete(end) = request.parse(bytes)? else { return Ok(None) };
        let path = request.path.unwrap_or_default();
        let field = |wanted: &str| {
            let header =
                request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(wanted));
            header.and_then(|header| str::from_utf8(header.value).ok()).unwrap_or_default()
        };
        let length: usize = field("content-length").parse().unwrap_or(0);
        let Some(body) = bytes.get(end..end + length) else { return Ok(None) };
        // `/introspect/NAME`, with the name of the proxy; `ext_authz` appends the path of the request.
        let mut segments = path.splitn(4, '/').skip(1);
        let (endpoint, proxy) =
            (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
        self.count(proxy);
        if endpoint != "token" && !self.delay.is_zero() {
            thread::sleep(self.delay);
        }
        let (status, answer) = match endpoint {
            "introspect" => {
                let mut parameters = str::from_utf8(body)?.split('&');
                let token = parameters.find_map(|parameter| parameter.strip_prefix("token="));
                (200, self.tokens.introspection(token.unwrap_or_default()))
            }
            "authorize" => {
                let token = field("authorization").strip_prefix("Bearer ").unwrap_or_default();
                (if self.tokens.contain(token) { 200 } else { 401 }, String::new())
            }
            "token" => {
                let token = &self.tokens.all[0];
                let rest = r#""token_type":"Bearer","expires_in":86400"#;
                (200, format!(r#"{{"access_token":"{token}",{rest}}}"#))
            }
            _ => (404, String::new()),
        };
        Ok(Some((end + length, status, answer)))
    }

    fn count(&self, proxy: &str) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = calls.get_mut(proxy) {
            *count += 1;
        } else {
            calls.insert(proxy.to_owned(), 1);
        }
    }
}

/// The service of `ext_authz` as people run it: a program in Node.js (`tests/bench/sidecar`) beside
/// the proxy, on the same core.
#[derive(Debug)]
pub struct Sidecar {
    /// Where it listens.
    pub address: SocketAddr,
    process: Process,
    _directory: TempDir,
}

impl Sidecar {
    /// Whether there is Node.js to run it.
    pub fn can_run() -> bool {
        let version = Command::new("node").arg("--version").stdout(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    }

    /// Starts one that asks `server` on behalf of a proxy of this name, on the cores of this thread.
    pub async fn start(server: SocketAddr, proxy: &str) -> Outcome<Self> {
        let directory = TempDir::new()?;
        let file = directory.path().join("port");
        let mut node = Command::new("node");
        node.arg(workspace().join("tests/bench/sidecar/authorize.mjs"))
            .arg(format!("http://{server}/introspect/{proxy}"))
            .arg(&file);
        let process = Process::start(node)?;
        let is_up = async || file.exists().then_some(());
        wait::poll("the sidecar of ext_authz", wait::LIMIT, is_up).await?;
        let address = (Ipv4Addr::LOCALHOST, fs::read_to_string(file)?.parse::<u16>()?).into();
        Ok(Self { address, process, _directory: directory })
    }

    /// Its process id.
    pub const fn pid(&self) -> u32 {
        self.process.id()
    }
}
