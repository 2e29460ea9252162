//! What of the whole is run.

use lexopt::{Arg, Parser, ValueExt};

use crate::Outcome;
use crate::variants::ALL;

/// The command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// How many rounds there are.
    pub rounds: u32,
    /// How long each proxy is loaded in each.
    pub seconds: u32,
    /// The variants and parts that are run; empty for all.
    pub only: Vec<String>,
    /// Whether `RESULTS.md` is written though less than the whole was run.
    pub write: bool,
}

/// Parts of the whole that are no variants.
pub const MEMORY: &str = "memory";
/// See [`MEMORY`].
pub const MISSES: &str = "misses";

const WHOLE: Options = Options { rounds: 9, seconds: 2, only: Vec::new(), write: false };

impl Options {
    /// Those of the command line.
    pub fn parse(mut parser: Parser) -> Outcome<Self> {
        let mut options = WHOLE;
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("rounds") => options.rounds = parser.value()?.parse()?,
                Arg::Long("seconds") => options.seconds = parser.value()?.parse()?,
                Arg::Long("only") => {
                    let names = parser.value()?.string()?;
                    options.only = names.split(',').map(str::to_owned).collect();
                }
                Arg::Long("write") => options.write = true,
                other => return Err(other.unexpected().into()),
            }
        }
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Outcome<()> {
        if self.rounds == 0 || self.seconds == 0 {
            return Err("at least one round of one second is needed".into());
        }
        let names = ALL.iter().map(|variant| variant.name).chain([MEMORY, MISSES]);
        let names: Vec<&str> = names.collect();
        match self.only.iter().find(|name| !names.contains(&name.as_str())) {
            Some(name) => Err(format!("no {name}; there are {}", names.join(", ")).into()),
            None => Ok(()),
        }
    }

    /// Whether a part is run.
    pub fn has(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == part)
    }

    /// Whether the results are those of the whole, or are to be taken for that.
    pub fn are_written(&self) -> bool {
        let Self { rounds, seconds, only, write } = self;
        let whole = *rounds >= WHOLE.rounds && *seconds >= WHOLE.seconds && only.is_empty();
        whole || *write
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Outcome<Options> {
        Options::parse(Parser::from_args(arguments))
    }

    #[test]
    fn only_the_whole_is_written_unless_that_is_asked_for() {
        assert!(parse(&[]).expect("options").are_written());
        assert!(parse(&["--rounds", "20"]).expect("options").are_written());
        for shortened in
            [&["--rounds", "8"][..], &["--seconds", "1"], &["--only", "plain"], &["--only=memory"]]
        {
            assert!(!parse(shortened).expect("options").are_written(), "{shortened:?}");
            let asked = [shortened, &["--write"]].concat();
            assert!(parse(&asked).expect("options").are_written(), "{shortened:?}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_a_mistake_that_tells_the_names() {
        let error = parse(&["--only", "ours,hours"]).expect_err("no hours").to_string();
        assert!(error.starts_with("no hours; there are plain, "), "{error}");
        assert!(parse(&["--rounds", "0"]).is_err());
        assert!(parse(&["--round", "1"]).is_err());
    }

    #[test]
    fn parts_are_run_that_are_named() {
        let options = parse(&["--only", "ours,memory"]).expect("options");
        assert!(options.has(MEMORY) && options.has("ours") && !options.has(MISSES));
        assert!(parse(&[]).expect("options").has(MISSES));
    }
}
