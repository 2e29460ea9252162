//! A child process that ends with its handle, and our own end by a signal.

use std::{
    io,
    process::{Child, Command, ExitStatus},
    sync::{
        Arc, OnceLock,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
};

/// A running child. A thread of its own starts it and stays until it ends: Envoy gets SIGTERM
/// when the thread that started it ends.
#[derive(Debug)]
pub struct Process {
    id: u32,
    exit_status: Arc<OnceLock<ExitStatus>>,
    /// Sending, or dropping it, ends the child.
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts it.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let exit_status = Arc::new(OnceLock::new());
        let ended = Arc::clone(&exit_status);
        let (stop, stopped) = mpsc::channel();
        let (started, start) = mpsc::channel();
        let thread = thread::spawn(move || match command.spawn() {
            Ok(child) => {
                let _ = started.send(Ok(child.id()));
                watch(child, &stopped, &ended);
            }
            Err(error) => drop(started.send(Err(error))),
        });
        let id = start.recv().expect("the thread tells how the start went")?;
        Ok(Self { id, exit_status, stop, thread: Some(thread) })
    }

    /// Its process id.
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// How it ended; `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.exit_status.get().copied()
    }

    /// Ends the child and waits until it has.
    pub fn stop(&mut self) {
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

fn watch(mut child: Child, stopped: &Receiver<()>, ended: &OnceLock<ExitStatus>) {
    while stopped.recv_timeout(POLL_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        if let Ok(Some(status)) = child.try_wait() {
            let _ = ended.set(status);
            return;
        }
    }
    let _ = kill_process(Pid::from_child(&child), Signal::TERM);
    let limit = Instant::now() + PATIENCE;
    while Instant::now() < limit {
        if let Ok(Some(_)) = child.try_wait() {
            return;
        }
        thread::sleep(POLL_INTERVAL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Waits until somebody wants this program to end: by Ctrl-C, by SIGTERM, or by closing its terminal.
pub async fn interrupted() {
    let mut interrupt = signal(SignalKind::interrupt()).expect("a handler of SIGINT");
    let mut terminate = signal(SignalKind::terminate()).expect("a handler of SIGTERM");
    // Envoy takes SIGHUP for something else, and would live on.
    let mut hang_up = signal(SignalKind::hangup()).expect("a handler of SIGHUP");
    select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
}

/// The last lines of a program's log, between two lines that say what they are.
pub fn end_of_log(program: &str, log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let end = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
    format!("--- the end of {program}'s log ---\n{}\n---", end.join("\n"))
}

const LOG_LINES_SHOWN: usize = 100;
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long a child may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);
