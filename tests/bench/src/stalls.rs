//! How often the machine itself takes the cores away: a virtual one has to share them. No latency
//! that comes seldom is smaller than that.

use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::cores::Cores;

/// Moments at which a thread did not run that never waits for anything.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stalls {
    /// How many a second, on the core that had more.
    pub a_second: f64,
    /// The longest, in milliseconds.
    pub longest: f64,
    /// The part of the time that they took, on the core that had more.
    pub part: f64,
}

/// Keeps the proxies' core and another busy, with nothing else to do.
pub fn measure(cores: &Cores) -> Outcome<Stalls> {
    eprintln!("== how often the machine takes the cores away");
    let mut of_cores = Vec::new();
    thread::scope(|scope| {
        let pins: [fn(&Cores) -> Outcome<()>; 2] = [Cores::to_proxy, Cores::to_others];
        let threads = pins.map(|pin| {
            scope.spawn(move || pin(cores).map(|()| stalls()).map_err(|error| error.to_string()))
        });
        for thread in threads {
            of_cores.push(thread.join().map_err(|_| "a thread panicked")??);
        }
        Outcome::Ok(())
    })?;
    Ok(Stalls::of(&of_cores))
}

/// The stalls of this thread.
fn stalls() -> Vec<Duration> {
    let start = Instant::now();
    let mut stalls = Vec::new();
    let mut last = start;
    while last - start < TIME {
        let now = Instant::now();
        if now - last >= STALL {
            stalls.push(now - last);
        }
        last = now;
    }
    stalls
}

impl Stalls {
    /// Those of all cores together.
    fn of(cores: &[Vec<Duration>]) -> Self {
        let most = |figure: fn(&Vec<Duration>) -> f64| cores.iter().map(figure).fold(0.0, f64::max);
        Self {
            a_second: most(|stalls| stalls.len() as f64 / TIME.as_secs_f64()),
            longest: most(|stalls| {
                stalls.iter().max().copied().unwrap_or_default().as_secs_f64() * 1e3
            }),
            part: most(|stalls| stalls.iter().sum::<Duration>().as_secs_f64() / TIME.as_secs_f64()),
        }
    }
}

/// How long is looked.
const TIME: Duration = Duration::from_secs(10);

/// What is longer than any interrupt takes.
const STALL: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_that_had_more_counts() {
        let ms = Duration::from_millis;
        let stalls = Stalls::of(&[vec![ms(8)], vec![ms(2), ms(3)], Vec::new()]);
        assert_eq!(stalls, Stalls { a_second: 0.2, longest: 8.0, part: 0.0008 });
        assert_eq!(Stalls::of(&[Vec::new()]), Stalls::default());
    }
}
