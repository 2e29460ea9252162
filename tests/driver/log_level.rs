//! The level of the log, which the host changes without notice.

use std::time::Duration;

use oauth2_filter_driver::HostCall;
use serde_json::json;

use crate::exchanges::get;
use crate::set_up::{SetUp, logged};

/// How long a level may go unnoticed.
const PERIOD: Duration = Duration::from_secs(5);

#[test]
fn the_log_level_is_read_again_while_requests_come_but_not_for_each() {
    let mut set_up = SetUp::new(json!({}));
    let read = |set_up: &mut SetUp| {
        let before = set_up.proxy.levels_read();
        for _ in 0..100 {
            assert_eq!(set_up.outcome_of(&get("/")), "oauth2_no_token");
        }
        set_up.proxy.levels_read() - before
    };
    read(&mut set_up);
    for (milliseconds, expected) in [(1, 0), (4_998, 0), (1, 1), (100_000, 1)] {
        let passed = Duration::from_millis(milliseconds);
        set_up.proxy.advance(passed);
        assert_eq!(read(&mut set_up), expected, "{passed:?}");
    }
    // A clock that is set back does not keep the level.
    set_up.proxy.set_clock(1);
    assert_eq!(read(&mut set_up), 1);
}

#[test]
fn the_log_level_is_read_again_by_the_timer() {
    let set_up = SetUp::new(json!({}));
    let before = set_up.proxy.levels_read();
    for _ in 0..3 {
        set_up.proxy.advance(PERIOD);
        set_up.vm.tick(set_up.root);
    }
    assert_eq!(set_up.proxy.levels_read() - before, 3);
}

#[test]
fn a_log_level_that_cannot_be_read_again_changes_nothing() {
    let mut set_up = SetUp::new(json!({}));
    set_up.proxy.refuse(HostCall::LogLevel);
    set_up.proxy.advance(PERIOD);
    assert_eq!(set_up.outcome_of(&get("/")), "oauth2_no_token");
    assert!(!logged().iter().any(|line| line.contains("log level")), "only when it is configured");
}
