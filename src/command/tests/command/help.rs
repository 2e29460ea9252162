//! `--help`, beside the page of the documentation. The page itself is run by `tests/guides`.

use crate::run;

const PAGE: &str = include_str!("../../../../docs/command.md");

#[test]
fn every_command_and_option_of_the_help_stands_on_the_page() {
    let help = run(["--help"]).out;
    let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
    let options = help.split(|c| !is_part(c)).filter(|word| word.starts_with("--"));
    let commands = help.lines().filter_map(|line| line.strip_prefix("  oauth2-filter "));
    let commands = commands.filter_map(|line| line.split(' ').next());
    let words: Vec<&str> = options.chain(commands).collect();
    assert!(words.len() > 10, "{words:?}");
    for word in words {
        assert!(PAGE.contains(&format!("{word} ")) || PAGE.contains(&format!("{word}`")), "{word}");
    }
}
