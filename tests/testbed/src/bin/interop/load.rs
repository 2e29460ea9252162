//! Requests that flow at a moderate pace, and what became of them.

use std::{
    collections::BTreeMap,
    mem,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use oauth2_filter_testbed::{
    client::{Connection, Request},
    wait,
};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::world::{ORDER, Outcome};

/// A few connections, each with one request after the other.
pub(crate) struct Load {
    answers: Arc<Mutex<Answers>>,
    connections: JoinSet<Result<(), String>>,
    stop: watch::Sender<bool>,
}

impl Load {
    /// Starts it, and waits for the first answer.
    pub(crate) async fn start(address: SocketAddr, token: Option<String>) -> Outcome<Self> {
        let request =
            token.iter().fold(Request::get(ORDER), |request, token| request.bearer(token));
        let answers = Arc::<Mutex<Answers>>::default();
        let (stop, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let connection = Connection::open(address).await?;
            let (request, answers) = (request.clone(), Arc::clone(&answers));
            connections.spawn(send(connection, request, answers, stopped.clone()));
        }
        let load = Self { answers, connections, stop };
        wait::poll("an answer", wait::LIMIT, async || {
            (!locked(&load.answers).0.is_empty()).then_some(())
        })
        .await?;
        Ok(load)
    }

    /// How long after this time the first request passed, if one has.
    pub(crate) fn passed(&self, time: Instant) -> Option<Duration> {
        locked(&self.answers).passed(time)
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> Outcome<Answers> {
        self.stop.send_replace(true);
        for connection in self.connections.join_all().await {
            connection?;
        }
        Ok(mem::take(&mut locked(&self.answers)))
    }
}

/// Sends requests one after the other, with pauses that leave the machine to others.
async fn send(
    mut connection: Connection,
    request: Request,
    answers: Arc<Mutex<Answers>>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), String> {
    while timeout(PAUSE, stopped.changed()).await.is_err() {
        let answer = connection.send(&request).await.map_err(|error| error.to_string())?;
        locked(&answers).0.push((Instant::now(), answer.status));
    }
    Ok(())
}

fn locked(answers: &Mutex<Answers>) -> MutexGuard<'_, Answers> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When each answer came, and its status.
#[derive(Default)]
pub(crate) struct Answers(Vec<(Instant, u16)>);

impl Answers {
    /// How many there were of each status.
    pub(crate) fn statuses(&self) -> BTreeMap<u16, usize> {
        self.0.iter().fold(BTreeMap::new(), |mut statuses, (_, status)| {
            *statuses.entry(*status).or_default() += 1;
            statuses
        })
    }

    /// How long after this time the first request passed.
    pub(crate) fn passed(&self, time: Instant) -> Option<Duration> {
        let passed = self.0.iter().filter(|(at, status)| *status == 200 && *at >= time);
        passed.map(|(at, _)| *at - time).min()
    }

    /// When the first answer with this status came.
    pub(crate) fn first(&self, status: u16) -> Option<Instant> {
        self.0.iter().filter(|(_, it)| *it == status).map(|(at, _)| *at).min()
    }

    /// How long after this time the last answer with this status came; nothing if all came before.
    pub(crate) fn last(&self, status: u16, time: Instant) -> Duration {
        let of_status = self.0.iter().filter(|(_, it)| *it == status);
        of_status.map(|(at, _)| at.saturating_duration_since(time)).max().unwrap_or_default()
    }
}

const CONNECTIONS: usize = 4;
const PAUSE: Duration = Duration::from_millis(10);
