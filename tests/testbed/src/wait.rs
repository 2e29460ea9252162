//! Waiting for a condition: the only place with a clock to wait on.

use std::{future::Future, io, time::Duration};

use tokio::time::{Instant, sleep, timeout};

/// How long a test waits for what must come.
pub const LIMIT: Duration = Duration::from_secs(15);

/// Asks again and again until `condition` holds; panics with `what` after [`LIMIT`].
pub async fn until<F>(what: &str, mut condition: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let ask = || {
        let holds = condition();
        async { holds.await.then_some(()) }
    };
    poll(what, LIMIT, ask).await.unwrap_or_else(|error| panic!("{error}"));
}

/// Asks again and again until `ask` has an answer, `limit` at most.
pub async fn poll<T, F>(what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> io::Result<T>
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        if Instant::now() >= end {
            return Err(timed_out(what, limit));
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for `future`; panics with `what` after [`LIMIT`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{}", timed_out(what, LIMIT)))
}

fn timed_out(what: &str, limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("waited {limit:?} in vain for: {what}"))
}
