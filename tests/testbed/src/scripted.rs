//! A server that answers as a test scripts it: late, cut off, in garbage, or not at all.

mod answer;
mod gate;
mod play;

use std::{
    collections::HashMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use hyper::Version;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

use self::answer::Next;
pub use self::{answer::Answer, gate::Gate};
use crate::{
    Received,
    http1::{BodyLength, Reader},
    received::Log,
    service::FREE_PORT,
    wait,
};

/// A running scripted server: HTTP/1.1 with keep-alive, any number of connections.
#[derive(Debug)]
pub struct ScriptedServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    port: Mutex<Port>,
}

impl ScriptedServer {
    /// Starts on a free loopback port. A path without a script is answered with 404.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(FREE_PORT).await.expect("a free port");
        let address = listener.local_addr().expect("the address of an open port");
        let shared = Arc::new(Shared { scripts: Mutex::new(HashMap::new()), log: Log::new() });
        let port = Mutex::new(Port::Open(Acceptor::start(listener, Arc::clone(&shared))));
        Self { address, shared, port }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests for `path` (whatever their query) by this script from now on: an answer,
    /// or several for one request each, the last of which repeats.
    pub fn on(&self, path: &str, script: impl Into<Script>) {
        lock(&self.shared.scripts).insert(path.to_owned(), script.into());
    }

    /// Answers each request for `path` with what `answer` makes of it.
    pub fn on_each(&self, path: &str, answer: impl FnMut(&Received) -> Answer + Send + 'static) {
        self.on(path, Script(Box::new(answer)));
    }

    /// The requests for `path` so far.
    pub fn requests(&self, path: &str) -> Vec<Received> {
        self.shared.log.matching(|request| request.path() == path)
    }

    /// The number of requests for `path` so far.
    pub fn count(&self, path: &str) -> usize {
        self.shared.log.count(path)
    }

    /// Waits until this many requests for `path` have come.
    pub async fn arrived(&self, path: &str, requests: usize) {
        self.shared.log.arrived(path, requests).await;
    }

    /// Forgets the requests so far, and counts anew.
    pub fn clear(&self) {
        self.shared.log.clear();
    }

    /// Closes every connection and refuses new ones; the port stays ours.
    pub async fn refuse(&self) {
        let open = std::mem::replace(&mut *lock(&self.port), Port::Changing);
        if let Port::Open(acceptor) = open {
            acceptor.stop().await;
        }
        // For a moment the port is nobody's, and a connection of another process may get it.
        let free = async || match reserve(self.address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
            reserved => Some(reserved),
        };
        let reserved = wait::poll("our own port, to refuse connections", wait::LIMIT, free).await;
        let reserved = reserved.unwrap_or_else(|error| panic!("{error}"));
        let reserved = reserved.expect("our own port, to refuse connections");
        *lock(&self.port) = Port::Refusing(reserved);
    }

    /// Listens again after [`refuse`](Self::refuse).
    pub fn accept(&self) {
        let mut port = lock(&self.port);
        *port = match std::mem::replace(&mut *port, Port::Changing) {
            Port::Refusing(socket) => {
                let listener = socket.listen(BACKLOG).expect("our own port, to listen again");
                Port::Open(Acceptor::start(listener, Arc::clone(&self.shared)))
            }
            other => other,
        };
    }
}

/// What answers the requests for one path; made of an [`Answer`] or a list of them.
pub struct Script(Box<dyn FnMut(&Received) -> Answer + Send>);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl From<Answer> for Script {
    fn from(answer: Answer) -> Self {
        Self::from([answer])
    }
}

impl From<Vec<Answer>> for Script {
    fn from(answers: Vec<Answer>) -> Self {
        let mut rest = answers.into_iter();
        let mut last = Answer::hang();
        Self(Box::new(move |_| {
            last = rest.next().unwrap_or_else(|| last.clone());
            last.clone()
        }))
    }
}

impl<const N: usize> From<[Answer; N]> for Script {
    fn from(answers: [Answer; N]) -> Self {
        Self::from(Vec::from(answers))
    }
}

#[derive(Debug)]
struct Shared {
    scripts: Mutex<HashMap<String, Script>>,
    log: Log,
}

#[derive(Debug)]
enum Port {
    Open(Acceptor),
    /// Bound but not listening: connections are refused, and nobody else gets the port.
    Refusing(TcpSocket),
    Changing,
}

#[derive(Debug)]
struct Acceptor {
    /// Dropping it stops the task.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Acceptor {
    fn start(listener: TcpListener, shared: Arc<Shared>) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(accept(listener, shared, stopped)) }
    }

    async fn stop(self) {
        drop(self.stop);
        self.task.await.expect("the accepting task does not panic");
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    let mut next = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        let Ok((stream, _)) = accepted else { continue };
        // A connection that breaks is nobody's loss but the client's.
        let serve = serve(stream, next, Arc::clone(&shared));
        connections.spawn(async { drop(serve.await) });
        next += 1;
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, connection: u64, shared: Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = Reader::new(reader);
    while let Some(head) = reader.request_head().await? {
        let length = BodyLength::of(&head.headers, BodyLength::Known(0));
        let (body, trailers) = reader.body(length).await?;
        let request = Received {
            version: Version::HTTP_11,
            method: head.method,
            target: head.target,
            authority: head.headers.get("host"),
            headers: head.headers,
            body_bytes: body.len() as u64,
            body,
            trailers,
            connection,
        };
        let answer = lock(&shared.scripts)
            .get_mut(request.path())
            .map_or_else(|| Answer::status(404), |script| (script.0)(&request));
        let exchange = play::of(&request);
        shared.log.add(request);
        match play::play(&answer, exchange, &mut reader, &mut writer).await? {
            Next::KeepAlive => {}
            Next::Close => return Ok(()),
            Next::Hang => {
                reader.closed().await;
                return Ok(());
            }
            Next::Reset => {
                let stream = reader.into_half().reunite(writer).expect("the same connection");
                return stream.set_zero_linger();
            }
        }
    }
    Ok(())
}

fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const BACKLOG: u32 = 4096;

#[cfg(test)]
mod tests;
