//! `docs/command.md`, run as it stands.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, iter};

use crate::root;

/// The page.
const PAGE: &str = include_str!("../../docs/command.md");

/// The line that stands for any that are left out.
const OTHERS: &str = "…\n";

/// A folder for the page's files, empty but for `envoy/`.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("command/page");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder to write to");
    symlink(root().join("envoy"), folder.join("envoy")).expect("a link");
    folder
}

/// What is in fences: the words behind each, and its text.
fn blocks() -> impl Iterator<Item = (Vec<&'static str>, &'static str)> {
    PAGE.split("```").skip(1).step_by(2).map(|block| {
        let (head, text) = block.split_once('\n').expect("a text");
        (head.split_whitespace().collect(), text)
    })
}

/// The commands of a block, and what each prints.
fn commands(text: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((command, _))) if goes_on => command.extend(["\n", line]),
            (None, Some((_, shown))) => shown.extend([line, "\n"]),
            (None, None) => panic!("no command before {line}"),
        }
        goes_on = line.ends_with('\\');
    }
    commands
}

/// Whether a text is what is shown of it.
fn is_shown(text: &str, shown: &str) -> bool {
    let mut parts = shown.split(OTHERS);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[test]
fn what_the_page_shows_is_what_the_commands_print() {
    let folder = folder();
    let command = Path::new(env!("CARGO_BIN_EXE_oauth2-filter")).parent().expect("its folder");
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(iter::once(command.to_owned()).chain(env::split_paths(&path)));
    let path = path.expect("folders");
    let (mut run, mut wrong, mut status) = (0, Vec::new(), 0);
    for (words, text) in blocks() {
        match words[..] {
            ["yaml", name] => fs::write(folder.join(name), text).expect("a folder to write to"),
            ["console"] => {
                for (command, shown) in commands(text) {
                    // `$?` is the status of the command before.
                    let script = format!("(exit {status}); {command}");
                    let output = Command::new("sh")
                        .args(["-c", &script])
                        .current_dir(&folder)
                        .env("PATH", &path)
                        .env_remove("INTROSPECTION_SECRET")
                        .output()
                        .expect("a shell");
                    status = output.status.code().expect("no signal ends it");
                    let printed = [output.stdout, output.stderr].concat();
                    let printed = String::from_utf8(printed).expect("text");
                    run += 1;
                    if !is_shown(&printed, &shown) {
                        wrong.push(format!("$ {command}\n{printed}"));
                    }
                }
            }
            ["yaml" | "jsonc"] => {}
            _ => panic!("nobody knows what to do with {words:?}"),
        }
    }
    assert!(wrong.is_empty(), "not as docs/command.md shows it:\n{}", wrong.join("\n"));
    assert!(run > 10, "{run} commands");
}

#[test]
fn every_option_and_every_word_of_the_help_stands_on_the_page() {
    let help = crate::run(["--help"]).out;
    let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
    let options = help.split(|c| !is_part(c)).filter(|word| word.starts_with("--"));
    let commands = help.lines().filter_map(|line| line.strip_prefix("  oauth2-filter "));
    let commands = commands.filter_map(|line| line.split(' ').next());
    for word in options.chain(commands) {
        assert!(PAGE.contains(word), "{word}");
    }
}

#[test]
fn a_part_is_what_is_shown_of_a_text() {
    let text = "a\nb\nc\nd\n";
    for (shown, is) in [
        ("a\nb\nc\nd\n", true),
        ("a\n…\nd\n", true),
        ("…\nb\n…\nd\n", true),
        ("a\n…\n", true),
        ("a\n", false),
        ("b\n…\n", false),
        ("a\n…\nc\n", false),
        ("a\n…\nx\n…\nd\n", false),
    ] {
        assert_eq!(is_shown(text, shown), is, "{shown}");
    }
}
