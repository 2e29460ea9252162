//! The README shows the results.

use crate::Outcome;

/// Where they begin in the README, and where they end.
const BEGIN: &str = "<!-- what `make bench` writes -->\n";
const END: &str = "<!-- the end of that -->\n";

/// The README with these results in place of others. The first line of the results, their title,
/// stays out.
pub fn splice(readme: &str, results: &str) -> Outcome<String> {
    let missing = || "the README has no place for the results";
    let (before, rest) = readme.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    let (_, shown) = results.split_once('\n').ok_or("the results have no title")?;
    Ok(format!("{before}{BEGIN}{shown}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_results_take_the_place_of_the_old() {
        let readme = format!("# a\n{BEGIN}\nold\n\n{END}## b\n");
        let spliced = splice(&readme, "# Results\n\nnew\n\n").expect("a README with a place");
        assert_eq!(spliced, format!("# a\n{BEGIN}\nnew\n\n{END}## b\n"));
        assert_eq!(splice(&spliced, "# Results\n\nnew\n\n").expect("the same"), spliced);
    }

    #[test]
    fn a_readme_without_a_place_is_an_error() {
        assert!(splice("# a\n", "# Results\n").is_err());
        assert!(splice(&format!("{END}{BEGIN}"), "# Results\n").is_err());
    }
}
