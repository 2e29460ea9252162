//! What a page shows against what comes.

/// Whether a command's output is as shown. Of an HTTP answer (`curl -i`) the status line, and, in
/// order, those lines that are shown; of anything else all lines, where a line `…` stands for any
/// number of them. Within a line `…` stands for any text.
pub fn is_as_shown(shown: &str, came: &str) -> bool {
    let (shown, came) = (lines(shown), lines(came));
    if came.first().is_some_and(|line| line.starts_with("HTTP/")) {
        return shown.first().is_some_and(|first| fits(first, came[0])) && stand_in(&shown, &came);
    }
    all_fit(&shown, &came)
}

/// The place behind lines that stand in a log in this order, others between them, if they do.
pub fn place_behind(shown: &str, log: &str) -> Option<usize> {
    let mut place = 0;
    for line in lines(shown) {
        let rest = &log[place..];
        let mut offset = 0;
        place += rest.split_inclusive('\n').find_map(|came| {
            offset += came.len();
            (came.ends_with('\n') && fits(line, came.trim_end())).then_some(offset)
        })?;
    }
    Some(place)
}

/// The lines of a text, without empty ones at its ends.
fn lines(text: &str) -> Vec<&str> {
    text.trim_matches('\n').lines().map(str::trim_end).collect()
}

/// Whether the shown lines are among those that came, in order.
fn stand_in(shown: &[&str], came: &[&str]) -> bool {
    let mut came = came.iter();
    shown.iter().filter(|line| **line != ANY).all(|line| came.any(|came| fits(line, came)))
}

fn all_fit(shown: &[&str], came: &[&str]) -> bool {
    match (shown, came) {
        ([], []) => true,
        ([ANY, rest @ ..], _) => (0..=came.len()).any(|skipped| all_fit(rest, &came[skipped..])),
        ([line, shown @ ..], [first, came @ ..]) => fits(line, first) && all_fit(shown, came),
        _ => false,
    }
}

/// Whether a line is as shown.
fn fits(shown: &str, came: &str) -> bool {
    let (shown, came) = (shown.trim(), came.trim());
    let Some((begin, rest)) = shown.split_once(ANY) else { return shown == came };
    let Some(mut came) = came.strip_prefix(begin) else { return false };
    let mut pieces: Vec<&str> = rest.split(ANY).collect();
    let end = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some((_, behind)) = came.split_once(piece) else { return false };
        came = behind;
    }
    came.ends_with(end)
}

const ANY: &str = "…";

#[test]
fn an_answer_shows_its_status_and_some_lines_in_order() {
    let came = "HTTP/1.1 401 Unauthorized\na: 1\nb: 2\n\n{}";
    assert!(is_as_shown("HTTP/1.1 401 Unauthorized\nb: 2\n\n", came));
    assert!(is_as_shown("HTTP/1.1 401 Unauthorized\na: …\n…\n{}\n", came));
    for wrong in ["HTTP/1.1 200 OK", "a: 1", "", "HTTP/1.1 401 Unauthorized\nb: 2\na: 1"] {
        assert!(!is_as_shown(wrong, came), "{wrong}");
    }
}

#[test]
fn other_output_is_shown_whole() {
    let came = "one\ntwo 2 and 3\nthree\n";
    for right in [came, "one\ntwo … and …\nthree", "one\n…", "…\nthree", "one\n…\nthree"]
    {
        assert!(is_as_shown(right, came), "{right}");
    }
    for wrong in ["", "one", "one\ntwo\nthree", "…\ntwo 2 and 3", "one\ntwo …or…\nthree"] {
        assert!(!is_as_shown(wrong, came), "{wrong}");
    }
    assert!(is_as_shown("", "\n"));
}

#[test]
fn lines_of_a_log_stand_there_in_order() {
    let log = "a 1\nb 2\nc 3\nhalf";
    assert_eq!(place_behind("a …\nc 3", log), Some(12));
    assert_eq!(place_behind("c 3\na 1", log), None);
    assert_eq!(place_behind("half", log), None);
}
