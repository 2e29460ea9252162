//! The demo as people run it, though a port that it would like is taken.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use oauth2_filter_testbed::workspace;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Two that start at once may like the same ports.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn the_demo_comes_out_right() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // If another program has the port, it is taken just as well.
    let _taken = TcpListener::bind(("127.0.0.1", 9001));
    let demo = demo().output().expect("the demo runs");
    let page = String::from_utf8_lossy(&demo.stdout);
    let errors = String::from_utf8_lossy(&demo.stderr);
    assert!(demo.status.success(), "{page}\n{errors}");
    assert!(page.contains("Port 9001 is in use; "), "{page}");
    assert!(page.contains("All 18 steps passed."), "{page}");
    // What it leads to is there.
    let (_, next) = page.split_once("Next steps:").expect("the next steps");
    let names = next.split_whitespace().map(|word| word.trim_end_matches(','));
    let files: Vec<_> = names.filter(|name| name.contains(['/', '.'])).collect();
    assert_eq!(files.len(), 5, "{next}");
    for file in files {
        assert!(workspace().join(file).exists(), "{file}");
    }
}

#[test]
fn who_ends_it_in_the_middle_finds_no_envoy_left() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut demo = demo().stdout(Stdio::piped()).spawn().expect("the demo runs");
        let page = BufReader::new(demo.stdout.take().expect("its page"));
        // By then both Envoys run, and the first has answered.
        let mut lines = page.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("401 Unauthorized")));
        let pid = Pid::from_child(&demo);
        let children = children(pid.as_raw_nonzero().get());
        assert!(!children.is_empty(), "{signal:?}");
        kill_process(pid, signal).expect("it runs");
        lines.for_each(drop);
        let status = demo.wait().expect("its end");
        assert_eq!(status.code(), Some(130), "{signal:?}");
        for child in children {
            assert!(test_kill_process(child).is_err(), "{child:?} still runs after {signal:?}");
        }
    }
}

fn demo() -> Command {
    // A shell cannot trap a signal that it was started to ignore, as a job in the background is.
    let mut demo = Command::new("env");
    demo.args(["--default-signal", "sh"]).arg(workspace().join("tests/testbed/demo.sh"));
    demo.env("SERVERS", env!("CARGO_BIN_EXE_servers"));
    demo
}

/// The children of a process.
fn children(pid: i32) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let pids = children.expect("its children");
    pids.split(' ').filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}
