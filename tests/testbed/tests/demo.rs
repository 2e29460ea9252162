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
    // The numbers are those of what has happened: of two refused requests one had no token.
    let (_, numbers) = page.split_once("What the dashboard makes of it").expect("the numbers");
    for shown in ["1 denied no_token", "1 denied insufficient_scope", "s more", "billing renewed"] {
        assert!(numbers.contains(shown), "no {shown:?} in {numbers}");
    }
    // What it leads to is there.
    let readme = include_str!("../../../README.md");
    let sections = page.split("README.md#").skip(1).filter_map(|rest| rest.split(' ').next());
    let sections: Vec<String> = sections.map(|section| section.replace('-', " ")).collect();
    assert!(sections.len() > 2, "{page}");
    for section in sections {
        assert!(readme.to_lowercase().contains(&format!("\n## {section}\n")), "{section}");
    }
}
