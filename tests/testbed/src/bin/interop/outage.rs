//! Requests flow, at a moderate pace, while tokens of a few seconds are renewed, and while the server is
//! stopped and started again.

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

use super::{
    Report, rows,
    world::{ORDER, Outcome, World, same, token_of},
};

/// Plays both steps, with the listeners `renewal` and `outage` of the table.
pub(crate) async fn play(world: &World, report: &mut Report) {
    report.step("Tokens of 6 s are renewed before they expire", renewal(world)).await;
    report
        .step("The server is stopped under load for 40 s, and started again", outage(world))
        .await;
}

/// Each request passes while a client's token is renewed several times.
async fn renewal(world: &World) -> Outcome {
    let before = world.calls().await;
    let load = Load::start(world.client.address("renewal"), None).await?;
    wait::poll("tokens to be renewed", RENEWALS_LIMIT, async || {
        (world.calls().await >= before + RENEWALS).then_some(())
    })
    .await?;
    let statuses = load.stop().await?.statuses();
    let all = statuses.values().sum();
    same("the statuses", statuses, BTreeMap::from([(200, all)]))
}

async fn outage(world: &World) -> Outcome {
    let mut loads = Vec::new();
    for (kind, is_valid) in [("own", true), ("revoked", false), ("unknown", false)] {
        let token = rows::token(world, kind).await?;
        loads.push((kind, is_valid, Load::start(world.guard.address(LISTENER), token).await?));
    }
    let outbound = Load::start(world.client.address(LISTENER), None).await?;

    let stopped = Instant::now();
    world.setup.server.stop();
    elapsed(stopped, OUTAGE).await?;
    world.setup.server.resume()?;
    let back = wait::poll("the server to issue tokens", RETURN_LIMIT, async || {
        let request = world.token_request(&world.setup.parameters()).basic("svc", "svc-secret");
        let answer = request.send(world.setup.address).await.ok()?;
        (answer.status == 200 && token_of(&answer).is_ok()).then(Instant::now)
    });
    let back = back.await?;
    println!("           the server was away for {:.1} s", (back - stopped).as_secs_f64());
    wait::poll("a request of the client to pass again", RECOVERY_LIMIT, async || {
        locked(&outbound.answers).passed(back)
    })
    .await?;
    elapsed(Instant::now(), AFTERWARDS).await?;

    loads.push(("outbound", true, outbound));
    let mut errors = Vec::new();
    for (kind, is_valid, load) in loads {
        let answers = load.stop().await?;
        let (statuses, passed) = (answers.statuses(), answers.passed(back));
        let shown = passed.map_or_else(String::new, |time| {
            format!("; the first 200 {:.1} s after the server's first token", time.as_secs_f64())
        });
        println!("           {kind}: {statuses:?}{shown}");
        // The token was judged, and the outage felt.
        let (required, forbidden): (&[u16], _) =
            if is_valid { (&[200, 503], 401) } else { (&[401], 200) };
        if statuses.contains_key(&forbidden)
            || !required.iter().all(|status| statuses.contains_key(status))
        {
            errors.push(format!("the statuses of {kind}"));
        }
        if is_valid && passed.is_none_or(|time| time > RECOVERY) {
            errors.push(format!("{kind} did not pass within {RECOVERY:?}"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.join("; ").into()) }
}

async fn elapsed(since: Instant, time: Duration) -> Outcome {
    let passed =
        wait::poll("time to pass", 2 * time, async || (since.elapsed() >= time).then_some(()));
    Ok(passed.await?)
}

/// A few connections, each with one request after the other.
struct Load {
    answers: Arc<Mutex<Answers>>,
    connections: JoinSet<Result<(), String>>,
    stop: watch::Sender<bool>,
}

impl Load {
    /// Starts it, and waits for the first answer.
    async fn start(address: SocketAddr, token: Option<String>) -> Outcome<Self> {
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

    async fn stop(self) -> Outcome<Answers> {
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
struct Answers(Vec<(Instant, u16)>);

impl Answers {
    /// How many there were of each status.
    fn statuses(&self) -> BTreeMap<u16, usize> {
        self.0.iter().fold(BTreeMap::new(), |mut statuses, (_, status)| {
            *statuses.entry(*status).or_default() += 1;
            statuses
        })
    }

    /// How long after this time the first request passed.
    fn passed(&self, time: Instant) -> Option<Duration> {
        let passed = self.0.iter().filter(|(at, status)| *status == 200 && *at >= time);
        passed.map(|(at, _)| *at - time).min()
    }
}

/// Of the table, in both directions.
const LISTENER: &str = "outage";
const CONNECTIONS: usize = 2;
const PAUSE: Duration = Duration::from_millis(10);
/// Token requests that are seen under load.
const RENEWALS: u64 = 3;
const RENEWALS_LIMIT: Duration = Duration::from_secs(40);
/// For how long the server is stopped.
const OUTAGE: Duration = Duration::from_secs(40);
const RETURN_LIMIT: Duration = Duration::from_mins(4);
/// How soon after the server's first token requests must pass.
const RECOVERY: Duration = Duration::from_secs(5);
/// How long one is awaited, so that the figure is known.
const RECOVERY_LIMIT: Duration = Duration::from_mins(2);
/// How long the load goes on then: two lifetimes of a token.
const AFTERWARDS: Duration = Duration::from_secs(12);
