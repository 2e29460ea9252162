//! Room for crowds: every connection of a test has two ends or four in one process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process, and those that it starts, open some ten thousand files if that is allowed.
pub fn allow_many() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(MANY, |maximum| maximum.min(MANY));
    if current.is_some_and(|current| current < wanted) {
        // Most tests do without.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

const MANY: u64 = 20_000;
