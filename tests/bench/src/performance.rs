//! `docs/performance.md` shows the results.

use crate::Outcome;

/// Where they begin in the page, and where they end.
const BEGIN: &str = "<!-- what `make bench` writes -->\n";
const END: &str = "<!-- the end of that -->\n";

/// What begins a section. The page leaves these to `RESULTS.md`.
const SECTION: &str = "\n## ";

/// The page with these results in place of others: those between their title and their first
/// section.
pub fn splice(page: &str, results: &str) -> Outcome<String> {
    let missing = || "docs/performance.md has no place for the results";
    let (before, rest) = page.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    let (_, results) = results.split_once('\n').ok_or("the results have no title")?;
    let shown = results.split_once(SECTION).map_or(results, |(shown, _)| shown);
    Ok(format!("{before}{BEGIN}{shown}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_results_take_the_place_of_the_old() {
        let page = format!("# a\n{BEGIN}\nold\n\n{END}## b\n");
        let results = "# Results\n\nnew\n\n## Goals\n\nall met\n\n";
        let spliced = splice(&page, results).expect("a page with a place");
        assert_eq!(spliced, format!("# a\n{BEGIN}\nnew\n\n{END}## b\n"));
        assert_eq!(splice(&spliced, results).expect("the same"), spliced);
        let without_goals = splice(&spliced, "# Results\n\nnew\n").expect("a page with a place");
        assert_eq!(without_goals, spliced);
    }

    #[test]
    fn a_page_without_a_place_is_an_error() {
        splice("# a\n", "# Results\n").unwrap_err();
        splice(&format!("{END}{BEGIN}"), "# Results\n").unwrap_err();
    }
}
