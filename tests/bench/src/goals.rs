//! What must hold, as ratios in one run.

use std::fmt;
use std::path::Path;

use crate::kept::Kept;
use crate::misses::Misses;
use crate::rounds::{Sample, Samples};
use crate::statistics::median;

/// Something that must hold.
#[derive(Clone, Debug)]
pub struct Goal {
    /// What it is about.
    pub what: String,
    /// What is wanted.
    pub wanted: Wanted,
    /// What has come out.
    pub measured: f64,
}

/// A bound, in some unit.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// No less.
    AtLeast(f64, &'static str),
    /// No more.
    AtMost(f64, &'static str),
}

impl Goal {
    /// Whether it holds.
    pub fn holds(&self) -> bool {
        match self.wanted {
            Wanted::AtLeast(bound, _) => self.measured >= bound,
            Wanted::AtMost(bound, _) => self.measured <= bound,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, bound, unit) = match self.wanted {
            Wanted::AtLeast(bound, unit) => ("≥", bound, unit),
            Wanted::AtMost(bound, unit) => ("≤", bound, unit),
        };
        let holds = if self.holds() { "yes" } else { "**no**" };
        let Self { what, measured, .. } = self;
        write!(f, "| {what} | {sign} {bound:.2}{unit} | {measured:.2}{unit} | {holds} |")
    }
}

/// What is compared of two proxies.
#[derive(Clone, Copy, Debug)]
enum Figure {
    Rate,
    Cpu,
}

/// A proxy, another, what is compared of them, and what their ratio must be.
type Ratio = (&'static str, &'static str, Figure, Wanted);

const RATIOS: [Ratio; 22] = {
    use Figure::{Cpu, Rate};
    const LEVEL: Wanted = Wanted::AtLeast(1.0, "");
    const NEAR: Wanted = Wanted::AtMost(1.1, "");
    [
        ("ours", "lua-short", Rate, LEVEL),
        ("ours-500", "lua-short-500", Rate, LEVEL),
        ("ours-full", "lua-full", Rate, LEVEL),
        ("ours-full-500", "lua-full-500", Rate, LEVEL),
        ("ours-full", "lua-told", Rate, LEVEL),
        ("service-ours", "service-lua-short", Rate, LEVEL),
        ("service-ours-full", "service-lua-full", Rate, LEVEL),
        ("ours", "wasm-header", Cpu, NEAR),
        ("ours", "wasm-trimmed", Cpu, NEAR),
        ("ours", "wasm-bare", Cpu, NEAR),
        ("ours-500", "wasm-header", Cpu, NEAR),
        ("ours-500", "wasm-trimmed", Cpu, NEAR),
        ("ours-500", "wasm-bare", Cpu, NEAR),
        ("ours", "ext-authz", Rate, Wanted::AtLeast(3.0, "")),
        ("ours-full", "ext-authz", Rate, Wanted::AtLeast(3.0, "")),
        ("ours", "ext-authz-sidecar", Rate, Wanted::AtLeast(3.0, "")),
        ("ours-full", "ext-authz-sidecar", Rate, Wanted::AtLeast(3.0, "")),
        ("ours", "jwt-authn", Rate, Wanted::AtLeast(1.5, "")),
        ("ours-full", "jwt-authn", Rate, Wanted::AtLeast(1.5, "")),
        ("ours-outbound", "credential-injector", Rate, Wanted::AtLeast(0.95, "")),
        ("ours-50-rules", "ours-rule", Cpu, NEAR),
        ("ours-10000", "ours", Cpu, Wanted::AtMost(1.15, "")),
    ]
};

/// The ratios of proxies that were loaded.
pub fn of_rounds(samples: &Samples) -> Vec<Goal> {
    let goal = |(one, other, figure, wanted): Ratio| {
        let (what, value): (_, fn(&Sample) -> f64) = match figure {
            Figure::Rate => ("requests/s", |sample| sample.rate),
            Figure::Cpu => ("CPU per request", |sample| sample.cpu),
        };
        Some(Goal {
            what: format!("{what}, `{one}` to `{other}`"),
            wanted,
            measured: ratio(samples, one, other, value)?,
        })
    };
    RATIOS.into_iter().filter_map(goal).collect()
}

/// The median of a figure's ratios, each of one round.
pub fn ratio(samples: &Samples, one: &str, other: &str, value: fn(&Sample) -> f64) -> Option<f64> {
    let rounds = samples.get(one)?.iter().zip(samples.get(other)?);
    Some(median(rounds.map(|(one, other)| value(one) / value(other))))
}

/// What the kept answers of ours may take.
pub fn of_memory(kept: &[Kept]) -> Vec<Goal> {
    let ours = kept.iter().filter(|kept| kept.what.contains("ours"));
    ours.map(|kept| Goal {
        what: format!("memory of 10,000 cached responses, two workers, {}", kept.what),
        wanted: Wanted::AtMost(15.0, " MB"),
        measured: kept.growth() as f64 / 1e6,
    })
    .collect()
}

/// What ours may add to a call.
pub fn of_misses(misses: &[Misses]) -> Vec<Goal> {
    let ours = misses.iter().filter(|misses| misses.what.contains("ours"));
    let goals = |Misses { delay, added, added_to_hop, .. }: &Misses| {
        let to = [
            (format!("a server's {delay:?}"), *added),
            (format!("a server's {delay:?} behind a proxy without a filter"), *added_to_hop),
        ];
        to.map(|(to, added)| Goal {
            what: format!("added to {to} by a miss, p99"),
            wanted: Wanted::AtMost(1.0, " ms"),
            measured: added / 1e3,
        })
    };
    ours.flat_map(goals).collect()
}

/// How large the module may be.
pub fn of_module(path: &Path) -> std::io::Result<Goal> {
    Ok(Goal {
        what: "the module".to_owned(),
        wanted: Wanted::AtMost(400.0, " kB"),
        measured: path.metadata()?.len() as f64 / 1e3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variants::ALL;

    fn samples(rates: &[f64]) -> Vec<Sample> {
        let sample = |rate: &f64| Sample {
            rate: *rate,
            cpu: 1e6 / rate,
            share: 1.0,
            waited: 0.0,
            wrk: 0.4,
            others: 0.5,
        };
        rates.iter().map(sample).collect()
    }

    #[test]
    fn a_ratio_is_the_median_of_those_in_one_round() {
        let all = Samples::from([
            ("ours", samples(&[100.0, 50.0, 90.0])),
            ("lua-short", samples(&[100.0, 100.0, 60.0])),
        ]);
        let goals = of_rounds(&all);
        assert_eq!(goals.len(), 1, "the others were not loaded: {goals:?}");
        // 1.0, 0.5 and 1.5; the medians themselves would be 90 to 100.
        assert_eq!(
            goals[0].to_string(),
            "| requests/s, `ours` to `lua-short` | ≥ 1.00 | 1.00 | yes |"
        );
    }

    #[test]
    fn what_does_not_hold_is_said() {
        let all = Samples::from([("ours", samples(&[100.0])), ("wasm-bare", samples(&[120.0]))]);
        let goals = of_rounds(&all);
        assert_eq!(
            goals[0].to_string(),
            "| CPU per request, `ours` to `wasm-bare` | ≤ 1.10 | 1.20 | **no** |"
        );
        let unknown =
            Goal { what: String::new(), wanted: Wanted::AtMost(1.0, ""), measured: f64::NAN };
        assert!(!unknown.holds());
    }

    #[test]
    fn every_ratio_is_one_of_proxies_that_there_are() {
        for (one, other, ..) in RATIOS {
            for name in [one, other] {
                assert!(ALL.iter().any(|variant| variant.name == name), "{name}");
            }
        }
    }
}
