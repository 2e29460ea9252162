//! The results as a page, and what must hold, as ratios in one run.

use std::fmt::Write;
use std::process::Command;

use oauth2_filter_testbed::{envoy, workspace};

use crate::load::Latencies;
use crate::measure::{Growth, MISSES, Measured, Misses, RATE, Sample};
use crate::variants::{Answers, Variant};
use crate::{Options, Outcome};

/// All that was measured.
#[derive(Debug)]
pub struct Results {
    /// Where, and how long.
    run: String,
    /// The proxies.
    pub proxies: Vec<Measured>,
    /// What cached responses take.
    pub memory: Vec<Growth>,
    /// What a miss takes.
    pub misses: Vec<Misses>,
    /// The size of the module, in bytes.
    module: u64,
}

/// What is compared of two proxies.
type Figure = (&'static str, fn(&Sample) -> f64);
const RATE_RATIO: Figure = ("requests/s", |sample| sample.rate);
const CPU_RATIO: Figure = ("CPU per request", |sample| sample.cpu);

/// A bound, its sign and its unit.
type Bound = (char, f64, &'static str);
const LEVEL: Bound = ('≥', 1.0, "");
const NEAR: Bound = ('≤', 1.1, "");
const SAME: Bound = ('≤', 1.03, "");

/// A proxy, another, what is compared of them, and what their ratio must be.
const RATIOS: [(&str, &str, Figure, Bound); 32] = [
    ("ours", "lua-short", RATE_RATIO, LEVEL),
    ("ours-500", "lua-short-500", RATE_RATIO, LEVEL),
    ("ours-full", "lua-full", RATE_RATIO, LEVEL),
    ("ours-full-500", "lua-full-500", RATE_RATIO, LEVEL),
    ("ours-full", "lua-told", RATE_RATIO, LEVEL),
    ("service-ours", "service-lua-short", RATE_RATIO, LEVEL),
    ("service-ours-full", "service-lua-full", RATE_RATIO, LEVEL),
    ("ours", "wasm-header", CPU_RATIO, NEAR),
    ("ours", "wasm-trimmed", CPU_RATIO, NEAR),
    ("ours", "wasm-bare", CPU_RATIO, NEAR),
    ("ours-500", "wasm-header", CPU_RATIO, NEAR),
    ("ours-500", "wasm-trimmed", CPU_RATIO, NEAR),
    ("ours-500", "wasm-bare", CPU_RATIO, NEAR),
    ("ours", "ext-authz", RATE_RATIO, ('≥', 3.0, "")),
    ("ours-full", "ext-authz", RATE_RATIO, ('≥', 3.0, "")),
    ("ours", "ext-authz-sidecar", RATE_RATIO, ('≥', 3.0, "")),
    ("ours-full", "ext-authz-sidecar", RATE_RATIO, ('≥', 3.0, "")),
    ("ours", "jwt-authn", RATE_RATIO, ('≥', 1.5, "")),
    ("ours-full", "jwt-authn", RATE_RATIO, ('≥', 1.5, "")),
    ("ours-outbound", "credential-injector", RATE_RATIO, ('≥', 0.95, "")),
    ("native", "lua-short", RATE_RATIO, LEVEL),
    ("native-full", "lua-full", RATE_RATIO, LEVEL),
    ("native", "jwt-authn-cache", CPU_RATIO, NEAR),
    ("native-outbound", "credential-injector", RATE_RATIO, ('≥', 0.95, "")),
    ("ours-50-rules", "ours-rule", CPU_RATIO, NEAR),
    ("ours-10000", "ours", CPU_RATIO, ('≤', 1.15, "")),
    ("ours-jwt", "ours", CPU_RATIO, SAME),
    ("native-jwt", "native", CPU_RATIO, SAME),
    ("ours-jwt-rs256", "jwt-authn-rs256", CPU_RATIO, ('≤', 1.6, "")),
    ("ours-jwt-es256", "jwt-authn-es256", CPU_RATIO, ('≤', 1.3, "")),
    ("native-jwt-rs256", "jwt-authn-rs256", CPU_RATIO, ('≤', 1.6, "")),
    ("native-jwt-es256", "jwt-authn-es256", CPU_RATIO, ('≤', 1.3, "")),
];

/// The same of the CPU that filters use: what is above a proxy without a filter.
const ABOVE_PLAIN: [(&str, &str, Bound); 3] = [
    ("native", "ours", ('≤', 0.4, "")),
    ("native", "jwt-authn-cache", ('≤', 1.1, "")),
    ("native", "lua-short", ('≤', 1.0, "")),
];

/// The variants that are not in the first tables, and so not in `docs/performance.md`.
const DETAILS: &str = "wasm-empty wasm-header wasm-trimmed lua-short-500 lua-short-10000 \
    lua-full-500 lua-told ours-claims ours-rule ours-50-rules ours-full-500";

impl Results {
    /// Of nothing yet, on this machine.
    pub fn new(options: &Options) -> Outcome<Self> {
        let output = |command: &mut Command| {
            let output = command.output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let machine = output(Command::new("sh").args(["-c", MACHINE]))?;
        let envoy = output(Command::new(envoy::binary()).arg("--version"))?;
        let envoy = envoy.split('/').rev().nth(3).unwrap_or("unknown");
        let Options { rounds, seconds, .. } = options;
        let run = format!("{machine}, Envoy {envoy}; {rounds} rounds of {seconds} s each.");
        let module = workspace().join("target/oauth2_filter.wasm").metadata()?.len();
        Ok(Self { run, proxies: Vec::new(), memory: Vec::new(), misses: Vec::new(), module })
    }

    /// The page.
    pub fn page(&self) -> String {
        let mut page = format!("# Benchmark results\n\n{}\n\n", self.run);
        let samples = self.proxies.iter().flat_map(|proxy| &proxy.samples);
        let waited = quartiles(samples.map(|sample| sample.waited))[1] * 100.0;
        if waited > QUIET {
            let _ = write!(
                page,
                "**The machine was not idle**: other programs delayed the proxies {waited:.0} % of \
                 the time. Latencies and requests/s are unreliable; compare the CPU.\n\n",
            );
        }
        let is_detail = |variant: &Variant| DETAILS.split(' ').any(|name| name == variant.name);
        let of =
            |answers| move |variant: &Variant| variant.answers == answers && !is_detail(variant);
        self.loads(&mut page, "The proxy itself responds:", of(Answers::Proxy));
        self.loads(&mut page, "An upstream service responds:", of(Answers::Service));
        let title = "| 10,000 cached responses, two workers | allocated, MB | resident, MB |";
        let rows = self.memory.iter().map(|(what, memory)| {
            let [before, after] = memory;
            let [allocated, resident] =
                [0, 1].map(|figure| format!("{:.1} → {:.1}", before[figure], after[figure]));
            format!("{what} | {allocated} | {resident}")
        });
        table(&mut page, "", title, rows);
        self.loads(&mut page, "## Other variants", is_detail);
        self.table_of_misses(&mut page);
        let rows = self.proxies.iter().map(|Measured { variant, calls, memory, .. }| {
            let [allocated, resident] = memory;
            let calls = thousands(*calls as f64);
            format!("`{}` | {calls} | {allocated:.1} | {resident:.0}", variant.name)
        });
        let title = "| | calls | allocated, MB | resident, MB |";
        table(&mut page, "## Calls and memory\n\n", title, rows);
        self.limits(&mut page);
        table(
            &mut page,
            "## Goals\n\n",
            "| goal | target | measured | met |",
            self.goals().into_iter(),
        );
        page
    }

    fn loads(&self, page: &mut String, title: &str, is_in: impl Fn(&Variant) -> bool) {
        let proxies = self.proxies.iter().filter(|proxy| is_in(&proxy.variant));
        let rows = proxies.map(|Measured { variant, samples, latencies, .. }| {
            let [low, middle, high] = quartiles(samples.iter().map(|s| s.rate)).map(thousands);
            let of_plain = self.ratio(variant.name, variant.baseline(), RATE_RATIO.1);
            let of_plain = of_plain.unwrap_or(f64::NAN);
            let [_, cpu, _] = quartiles(samples.iter().map(|sample| sample.cpu));
            let [p50, p99] = [0.5, 0.99].map(|part| microseconds(latencies, part));
            let (name, what) = (variant.name, variant.what);
            format!(
                "`{name}` | {what} | {middle} ({low}–{high}) | {of_plain:.2} | {cpu:.1} | \
                 {p50:.0} | {p99:.0}"
            )
        });
        let rate = thousands(f64::from(RATE));
        let head = format!(
            "| | | requests/s (quartiles) | ratio to `plain` | CPU, µs | p50, µs at {rate}/s | \
             p99, µs |"
        );
        table(page, &format!("{title}\n\n"), &head, rows);
    }

    /// The 99th percentiles that are added to those of the server itself, and of a hop.
    fn added(&self, misses: &Misses) -> [f64; 2] {
        let alike = self.misses.iter().filter(|other| other.delay == misses.delay);
        let p99s: Vec<_> =
            alike.map(|other| (other.what, microseconds(&other.latencies, 0.99))).collect();
        let own = p99s.iter().position(|(what, _)| *what == misses.what).unwrap_or_default();
        [0, 1].map(|base| if own > base { p99s[own].1 - p99s[base].1 } else { f64::NAN })
    }

    fn table_of_misses(&self, page: &mut String) {
        let rows = self.misses.iter().map(|misses| {
            let Misses { what, delay, latencies } = misses;
            let [p50, p99] = [0.5, 0.99].map(|part| microseconds(latencies, part));
            let [added, to_hop] = self
                .added(misses)
                .map(|figure| if figure.is_nan() { String::new() } else { format!("{figure:.0}") });
            format!("{what} | {delay:?} | {p50:.0} | {p99:.0} | {added} | {to_hop}")
        });
        let head = format!(
            "| {} new tokens/s | server delay | p50, µs | p99, µs | added to p99, µs | … to a \
             proxy without a filter |",
            thousands(f64::from(MISSES))
        );
        table(page, "## New tokens\n\n", &head, rows);
    }

    /// Whose requests/s are not those of the proxy alone.
    fn limits(&self, page: &mut String) {
        let shares = self.proxies.iter().map(|Measured { variant, samples, .. }| {
            (variant.name, quartiles(samples.iter().map(|sample| sample.share))[1] * 100.0)
        });
        let limited = shares.filter(|(_, share)| *share < SATURATED);
        let limited: Vec<_> =
            limited.map(|(name, share)| format!("`{name}` ({share:.0} %)")).collect();
        if !limited.is_empty() {
            let _ = write!(
                page,
                "## Limits\n\nThese proxies used less than {SATURATED:.0} % of their core, so \
                 something else limited their requests/s. Compare only their CPU: {}.\n\n",
                limited.join(", ")
            );
        }
    }

    /// What must hold of what was measured.
    fn goals(&self) -> Vec<String> {
        let goal = |what: String, (sign, bound, unit): Bound, measured: f64| {
            let is_met = if sign == '≥' { measured >= bound } else { measured <= bound };
            let is_met = if is_met { "yes" } else { "**no**" };
            format!("{what} | {sign} {bound:.2}{unit} | {measured:.2}{unit} | {is_met}")
        };
        let ratios = RATIOS.iter().filter_map(|(one, other, (what, value), bound)| {
            let measured = self.ratio(one, other, *value)?;
            Some(goal(format!("{what}, ratio of `{one}` to `{other}`"), *bound, measured))
        });
        let above = ABOVE_PLAIN.iter().filter_map(|(one, other, bound)| {
            let [one_above, other_above] = [self.above_plain(one)?, self.above_plain(other)?];
            let ratios = one_above.iter().zip(other_above).map(|(one, other)| one / other);
            let what = format!("CPU above `plain`, ratio of `{one}` to `{other}`");
            Some(goal(what, *bound, quartiles(ratios)[1]))
        });
        let memory = self.memory.iter().filter(|(what, _)| what.contains("ours"));
        let memory = memory.map(|(what, memory)| {
            let [before, after] = memory;
            let grown = (after[0] - before[0]).max(after[1] - before[1]);
            let what = format!("memory of 10,000 cached responses, two workers, {what}");
            goal(what, ('≤', 15.0, " MB"), grown)
        });
        let misses = self.misses.iter().filter(|misses| misses.what.contains("ours"));
        let misses = misses.flat_map(|misses| {
            let delay = format!("{:?}, {}", misses.delay, misses.what);
            let to = [delay.clone(), format!("{delay}, compared with a proxy without a filter")];
            let added = to.into_iter().zip(self.added(misses));
            added.map(|(to, added)| {
                let what = format!("added to p99 by a cache miss, server delay {to}");
                goal(what, ('≤', 1.0, " ms"), added / 1e3)
            })
        });
        let module =
            goal("size of the module".to_owned(), ('≤', 460.0, " kB"), self.module as f64 / 1e3);
        ratios.chain(above).chain(memory).chain(misses).chain([module]).collect()
    }

    /// The CPU that a filter uses, in each round: what is above a proxy without one.
    fn above_plain(&self, name: &str) -> Option<Vec<f64>> {
        let rounds = self.samples(name)?.iter().zip(self.samples("plain")?);
        Some(rounds.map(|(filtered, plain)| filtered.cpu - plain.cpu).collect())
    }

    /// What was measured of a proxy, in each round.
    fn samples(&self, name: &str) -> Option<&[Sample]> {
        let proxy = self.proxies.iter().find(|proxy| proxy.variant.name == name)?;
        Some(&proxy.samples)
    }

    /// The median of a figure's ratios, each of one round.
    fn ratio(&self, one: &str, other: &str, value: fn(&Sample) -> f64) -> Option<f64> {
        let rounds = self.samples(one)?.iter().zip(self.samples(other)?);
        Some(quartiles(rounds.map(|(one, other)| value(one) / value(other)))[1])
    }
}

/// A table, unless it is empty.
fn table(page: &mut String, title: &str, head: &str, rows: impl Iterator<Item = String>) {
    let rows: Vec<_> = rows.map(|row| format!("| {row} |\n")).collect();
    if !rows.is_empty() {
        let line = " --- |".repeat(head.matches('|').count() - 1);
        let _ = write!(page, "{title}{head}\n|{line}\n{}\n", rows.concat());
    }
}

/// Prints the day, the processor, its cores, the memory and the kernel.
const MACHINE: &str = r#"printf '%s, %s, %s cores, %.0f GiB, Linux %s' "$(date -u +%F)" \
    "$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)" "$(nproc --all)" \
    "$(awk '/^MemTotal/ {print $2 / 1048576}' /proc/meminfo)" "$(uname -r)""#;

/// `docs/performance.md` with these results in place of others: those between their title and their
/// first section. All else is left to `RESULTS.md`.
pub fn splice(page: &str, results: &str) -> Outcome<String> {
    let missing = || "docs/performance.md has no markers for the results";
    let (before, rest) = page.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    let (_, results) = results.split_once('\n').ok_or("the results have no title")?;
    let shown = results.split_once("\n## ").map_or(results, |(shown, _)| shown);
    Ok(format!("{before}{BEGIN}{shown}\n{END}{after}"))
}

/// Where the results begin in the page, and where they end.
const BEGIN: &str = "<!-- results of `make bench`: begin -->\n";
const END: &str = "<!-- results of `make bench`: end -->\n";

/// Percent: what the threads of a proxy wait for one another.
const QUIET: f64 = 3.0;

/// Percent: below this, the core of a proxy is not its limit.
const SATURATED: f64 = 95.0;

/// The lower quartile, the median and the upper quartile, interpolated; not numbers of nothing.
fn quartiles(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|part| {
        let place = part * (values.len() as f64 - 1.0);
        let at = |place: f64| values.get(place as usize).copied().unwrap_or(f64::NAN);
        at(place.floor()) + (at(place.ceil()) - at(place.floor())) * place.fract()
    })
}

fn microseconds(latencies: &Latencies, part: f64) -> f64 {
    latencies.value_at_quantile(part) as f64 / 1e3
}

/// A whole number with commas.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::histogram;
    use crate::variants::{ALL, named};

    fn latencies(microseconds: &[u64]) -> Latencies {
        let mut latencies = histogram();
        for latency in microseconds {
            latencies.record(latency * 1_000).expect("a latency");
        }
        latencies
    }

    fn measured(name: &str, rates: [f64; 2]) -> Measured {
        let sample = |rate| Sample { rate, cpu: 1e6 / rate, share: 0.5, waited: 0.2 };
        Measured {
            variant: named(name).expect("a variant"),
            samples: rates.map(sample).into(),
            latencies: latencies(&[100, 120]),
            calls: 1,
            memory: [12.3, 61.0],
        }
    }

    #[test]
    fn the_page_has_what_was_run_and_nothing_else() {
        let misses = |what, latency| Misses {
            what,
            delay: Duration::from_millis(2),
            latencies: latencies(&[latency]),
        };
        let results = Results {
            run: "a run.".to_owned(),
            proxies: vec![
                measured("plain", [20e3, 30e3]),
                measured("ours", [16e3, 21e3]),
                measured("native", [18e3, 25e3]),
            ],
            memory: Vec::new(),
            misses: vec![misses("server", 100), misses("hop", 120), misses("**ours**", 150)],
            module: 380_400,
        };
        let page = results.page();
        for line in [
            "| | | requests/s (quartiles) | ratio to `plain` | CPU, µs | p50, µs at 3,000/s | \
             p99, µs |\n| --- | --- | --- | --- | --- | --- | --- |\n",
            "**The machine was not idle**: other programs delayed the proxies 20 % of the time.",
            "| `ours` | **ours**, introspection only | 18,500 (17,250–19,750) | 0.75 | 55.1 | \
             100 | 120 |\n",
            "| hop | 2ms | 120 | 120 | 20 |  |\n| **ours** | 2ms | 150 | 150 | 50 | 30 |\n",
            "| `ours` | 1 | 12.3 | 61 |\n",
            "Compare only their CPU: `plain` (50 %), `ours` (50 %), `native` (50 %).\n",
            "| added to p99 by a cache miss, server delay 2ms, **ours** | ≤ 1.00 ms | 0.05 ms | yes |\n",
            "| CPU above `plain`, ratio of `native` to `ours` | ≤ 0.40 | 0.46 | **no** |\n",
            "| size of the module | ≤ 460.00 kB | 380.40 kB | yes |\n",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
        for absent in ["An upstream service", "cached responses", "`lua-short`"] {
            assert!(!page.contains(absent), "{absent}: {page}");
        }
        let shown = splice(&format!("# a\n{BEGIN}\nold\n\n{END}# b\n"), &page).expect("a place");
        assert!(
            shown.contains("18,500") && shown.contains("\n\n<!-- results of `make bench`: end"),
            "{shown}"
        );
        assert!(!shown.contains("old") && !shown.contains("## ") && shown.ends_with("# b\n"));
    }

    #[test]
    fn every_ratio_is_one_of_proxies_that_there_are() {
        let is_there = |name: &str| ALL.iter().any(|variant| variant.name == name);
        assert!(RATIOS.iter().all(|(one, other, ..)| is_there(one) && is_there(other)));
        assert!(DETAILS.split(' ').all(is_there));
    }
}
