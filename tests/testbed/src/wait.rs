//! Waiting for a condition: the only place with a clock to wait on.

use std::{error, fmt, future::Future, time::Duration};

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
pub async fn poll<T, F>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> F,
) -> Result<T, TimedOut>
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        if Instant::now() >= end {
            return Err(TimedOut { what: what.to_owned(), limit });
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for `future`; panics with `what` after [`LIMIT`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = timeout(LIMIT, future).await else {
        panic!("{}", TimedOut { what: what.to_owned(), limit: LIMIT });
    };
    value
}

/// What was waited for did not come.
#[derive(Debug)]
pub struct TimedOut {
    what: String,
    limit: Duration,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited {:?} in vain for: {}", self.limit, self.what)
    }
}

impl error::Error for TimedOut {}
