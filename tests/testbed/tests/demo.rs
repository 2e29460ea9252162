//! The demo as people run it, though a port that it would like is taken.

use std::{net::TcpListener, process::Command};

use oauth2_filter_testbed::workspace;

#[test]
fn the_demo_comes_out_right() {
    // If another program has the port, it is taken just as well.
    let _taken = TcpListener::bind(("127.0.0.1", 9001));
    let demo = Command::new(env!("CARGO_BIN_EXE_demo")).output().expect("the demo runs");
    let page = String::from_utf8_lossy(&demo.stdout);
    let errors = String::from_utf8_lossy(&demo.stderr);
    assert!(demo.status.success(), "{page}\n{errors}");
    assert!(page.contains("9001 → "), "{page}");
    assert!(!page.contains('\x1b'), "colours in a pipe: {page}");
    assert!(page.lines().all(|line| line.chars().count() <= 100), "{page}");
    // The numbers are those of what has happened: of three refused requests one had no token.
    let (_, numbers) = page.split_once("What the dashboard shows of it").expect("the numbers");
    for shown in [
        "1  denied no_token",
        "denied inactive",
        "1  denied insufficient_scope",
        "lookups",
        "active",
        "billing injected token",
        "billing renewed",
        " ms  token",
    ] {
        assert!(numbers.contains(shown), "no {shown:?} in {numbers}");
    }
    // What it leads to is there.
    let (_, next) = numbers.split_once("Where to go next:").expect("where to go next");
    let names = next.split_whitespace().map(|word| word.trim_end_matches(','));
    let files: Vec<_> = names.filter(|name| name.contains(['/', '.'])).collect();
    assert_eq!(files.len(), 5, "{next}");
    for file in files {
        assert!(workspace().join(file).exists(), "{file}");
    }
}
