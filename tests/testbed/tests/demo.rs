//! The demo as people run it, though a port that it would like is taken.

use std::{net::TcpListener, process::Command};

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
}
