//! The results as a page.

use std::fmt::Write;

use crate::fixed_rate::{self, Latencies};
use crate::goals::{Goal, ratio};
use crate::kept::Kept;
use crate::machine::Machine;
use crate::misses::{self, Misses};
use crate::proxy::Memory;
use crate::rounds::{Sample, Samples};
use crate::stalls::Stalls;
use crate::statistics::{Spread, median, percentile};
use crate::variants::{Answers, Variant};

/// All that was measured.
#[derive(Debug)]
pub struct Results {
    /// Where.
    pub machine: Machine,
    /// How many rounds there were, and of how many seconds.
    pub rounds: (u32, u32),
    /// The proxies.
    pub proxies: Vec<Measured>,
    /// The rounds.
    pub samples: Samples,
    /// The latencies at a fixed rate.
    pub latencies: Latencies,
    /// What kept answers take.
    pub kept: Vec<Kept>,
    /// What a miss adds.
    pub misses: Vec<Misses>,
    /// How often the machine took the cores away.
    pub stalls: Stalls,
    /// What must hold.
    pub goals: Vec<Goal>,
}

/// What was read off a proxy at the end of all rounds.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Which.
    pub variant: Variant,
    /// How often it has asked.
    pub calls: u64,
    /// Its memory.
    pub memory: Memory,
}

impl Results {
    /// The page.
    pub fn page(&self) -> String {
        let Machine { date, processor, cores, memory, kernel, envoy } = &self.machine;
        let (rounds, seconds) = self.rounds;
        let mut page = format!(
            "# What `make bench` has measured\n\n\
             {date}, {processor}, {cores} cores, {memory} GiB, Linux {kernel}, Envoy {envoy}; \
             {rounds} rounds of {seconds} s each.\n\n",
        );
        self.quiet(&mut page);
        let is_detail = |variant: &Variant| DETAILS.contains(&variant.name);
        let by =
            |answers| move |variant: &Variant| variant.answers == answers && !is_detail(variant);
        self.table(&mut page, "The proxy answers by itself:", by(Answers::Proxy));
        self.table(&mut page, "A service behind the proxy answers:", by(Answers::Service));
        self.kept(&mut page);
        self.table(&mut page, "## More variants", is_detail);
        self.misses(&mut page);
        self.calls_and_memory(&mut page);
        self.limits(&mut page);
        if !self.goals.is_empty() {
            page.push_str(
                "## Goals\n\n| goal | wanted | measured | met |\n| --- | --- | --- | --- |\n",
            );
            self.goals.iter().for_each(|goal| _ = writeln!(page, "{goal}"));
            page.push('\n');
        }
        page
    }

    /// Whether other programs had their part of the core.
    fn quiet(&self, page: &mut String) {
        let waited = median(self.samples.values().flatten().map(|sample| sample.waited)) * 100.0;
        if waited > QUIET {
            let _ = write!(
                page,
                "**Not on a quiet machine**: the proxies waited for their core {waited:.0} % of \
                 the time, because other programs used it. Latencies and requests/s are not \
                 reliable; compare CPU.\n\n",
            );
        }
    }

    fn table(&self, page: &mut String, title: &str, is_in: impl Fn(&Variant) -> bool) {
        let proxies = self.proxies.iter().filter(|proxy| is_in(&proxy.variant));
        let mut rows = proxies.filter_map(|proxy| self.row(proxy)).peekable();
        if rows.peek().is_none() {
            return;
        }
        let rate = thousands(f64::from(fixed_rate::RATE));
        let _ = write!(
            page,
            "{title}\n\n\
             | | | requests/s (quartiles) | of plain | CPU, µs | p50, µs at {rate}/s | p99, µs |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        rows.for_each(|row| page.push_str(&row));
        page.push('\n');
    }

    fn row(&self, measured: &Measured) -> Option<String> {
        let Measured { variant, .. } = measured;
        let samples = self.samples.get(variant.name)?;
        let Spread { low, median: middle, high } = Spread::of(samples.iter().map(|s| s.rate))?;
        let of_plain =
            ratio(&self.samples, variant.name, variant.baseline(), |sample| sample.rate)?;
        let mut latencies = self.latencies.get(variant.name)?.clone();
        Some(format!(
            "| `{}` | {} | {} ({}–{}) | {of_plain:.2} | {:.1} | {:.0} | {:.0} |\n",
            variant.name,
            variant.what,
            thousands(middle),
            thousands(low),
            thousands(high),
            median(samples.iter().map(|sample| sample.cpu)),
            percentile(&mut latencies, 0.5),
            percentile(&mut latencies, 0.99),
        ))
    }

    /// What each proxy has asked, and its memory at the end.
    fn calls_and_memory(&self, page: &mut String) {
        if self.proxies.is_empty() {
            return;
        }
        page.push_str(
            "## Calls and memory\n\n\
             | | calls | allocated, MB | resident, MB |\n| --- | --- | --- | --- |\n",
        );
        for Measured { variant, calls, memory } in &self.proxies {
            let _ = writeln!(
                page,
                "| `{}` | {} | {:.1} | {:.0} |",
                variant.name,
                thousands(*calls as f64),
                megabytes(memory.allocated),
                megabytes(memory.resident),
            );
        }
        page.push('\n');
    }

    /// Whose requests/s are not those of the proxy alone.
    fn limits(&self, page: &mut String) {
        let mut lines = Vec::new();
        for Measured { variant, .. } in &self.proxies {
            let Some(samples) = self.samples.get(variant.name) else { continue };
            let percent = |part: fn(&Sample) -> f64| median(samples.iter().map(part)) * 100.0;
            let share = percent(|sample| sample.share);
            if share < SATURATED {
                let (wrk, others) = (percent(|sample| sample.wrk), percent(|sample| sample.others));
                lines.push(format!("`{}` ({share:.0} %; {wrk:.0} %; {others:.0} %)", variant.name));
            }
        }
        if !lines.is_empty() {
            let _ = write!(
                page,
                "## Limits\n\nThese proxies ran for less than {SATURATED:.0} % of the time, so that something \
                 else limited their requests/s: compare their CPU only. In brackets: how long the \
                 proxy ran, how long wrk ran, and how busy the other cores were. {}.\n\n",
                lines.join(", ")
            );
        }
    }

    fn kept(&self, page: &mut String) {
        if self.kept.is_empty() {
            return;
        }
        page.push_str(
            "| 10,000 cached responses, two workers | allocated, MB | resident, MB |\n\
             | --- | --- | --- |\n",
        );
        for Kept { what, before, after } in &self.kept {
            let _ = writeln!(
                page,
                "| {what} | {:.1} → {:.1} | {:.1} → {:.1} |",
                megabytes(before.allocated),
                megabytes(after.allocated),
                megabytes(before.resident),
                megabytes(after.resident),
            );
        }
        page.push('\n');
    }

    fn misses(&self, page: &mut String) {
        if self.misses.is_empty() {
            return;
        }
        let _ = write!(
            page,
            "## New tokens\n\n| {} new tokens/s | the server takes | p50, µs | p99, µs | added at p99, µs | … to a \
             proxy without a filter |\n| --- | --- | --- | --- | --- | --- |\n",
            thousands(f64::from(misses::RATE)),
        );
        for Misses { what, delay, median, p99, added, added_to_hop } in &self.misses {
            let figure =
                |figure: &f64| if figure.is_nan() { String::new() } else { format!("{figure:.0}") };
            let (added, to_hop) = (figure(added), figure(added_to_hop));
            let _ = writeln!(
                page,
                "| {what} | {delay:?} | {median:.0} | {p99:.0} | {added} | {to_hop} |"
            );
        }
        let Stalls { a_second, longest, part } = self.stalls;
        let _ = write!(
            page,
            "\nBefore that, the idle machine stalled {a_second:.1} times a second for a millisecond or \
             more, up to {longest:.0} ms: {:.1} % of the time. A p99 near the length of such a \
             stall is the machine's.\n\n",
            part * 100.0,
        );
    }
}

/// The variants that are not in the first table, and so not in `docs/performance.md`.
const DETAILS: [&str; 11] = [
    "wasm-empty",
    "wasm-header",
    "wasm-trimmed",
    "lua-short-500",
    "lua-short-10000",
    "lua-full-500",
    "lua-told",
    "ours-claims",
    "ours-rule",
    "ours-50-rules",
    "ours-full-500",
];

/// Percent: what the threads of a proxy wait for one another.
const QUIET: f64 = 3.0;

/// Percent: below this, the core of a proxy is not its limit.
const SATURATED: f64 = 95.0;

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A whole number with commas.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::variants::chosen;

    fn results() -> Results {
        let sample =
            |rate, share| Sample { rate, cpu: 40.0, share, waited: 0.2, wrk: 0.7, others: 1.0 };
        let proxies = chosen(&["ours".to_owned()]).into_iter().map(|variant| Measured {
            variant,
            calls: 1,
            memory: Memory { allocated: 12_300_000, resident: 61_000_000 },
        });
        Results {
            machine: Machine {
                date: "2026-01-02".to_owned(),
                processor: "CPU".to_owned(),
                cores: 2,
                memory: 24,
                kernel: "6.1".to_owned(),
                envoy: "1.40.0".to_owned(),
            },
            rounds: (2, 3),
            proxies: proxies.collect(),
            samples: Samples::from([
                ("plain", vec![sample(20_000.0, 1.0), sample(30_000.0, 1.0)]),
                ("ours", vec![sample(16_000.0, 0.5), sample(21_000.0, 0.5)]),
            ]),
            latencies: Latencies::from([("plain", vec![90.0]), ("ours", vec![100.0, 120.0])]),
            kept: Vec::new(),
            misses: Vec::new(),
            stalls: Stalls::default(),
            goals: Vec::new(),
        }
    }

    #[test]
    fn a_row_has_all_figures_of_a_proxy() {
        let page = results().page();
        let row = "| `ours` | **ours**, introspection alone | 18,500 (17,250–19,750) | 0.75 | 40.0 \
                   | 100 | 120 |\n";
        assert!(page.contains(row), "{page}");
        assert!(page.contains("| `ours` | 1 | 12.3 | 61 |\n"), "{page}");
        assert!(
            page.contains("2026-01-02, CPU, 2 cores, 24 GiB, Linux 6.1, Envoy 1.40.0"),
            "{page}"
        );
    }

    #[test]
    fn a_machine_that_is_not_quiet_is_told_of() {
        let mut results = results();
        assert!(results.page().contains("waited for their core 20 % of the time"));
        results.samples.values_mut().flatten().for_each(|sample| sample.waited = 0.01);
        assert!(!results.page().contains("quiet"));
    }

    #[test]
    fn who_was_held_up_by_the_load_is_named() {
        let page = results().page();
        assert!(page.contains("were. `ours` (50 %; 70 %; 100 %).\n"), "{page}");
    }

    #[test]
    fn what_a_miss_adds_stands_beside_what_the_machine_does() {
        let mut results = results();
        results.stalls = Stalls { a_second: 2.5, longest: 8.4, part: 0.0087 };
        results.misses.push(Misses {
            what: "ours",
            delay: Duration::from_millis(2),
            median: 2_531.4,
            p99: 4_920.0,
            added: 2_395.0,
            added_to_hop: f64::NAN,
        });
        let page = results.page();
        assert!(page.contains("| ours | 2ms | 2531 | 4920 | 2395 |  |\n"), "{page}");
        assert!(page.contains("2.5 times a second"), "{page}");
        assert!(page.contains("up to 8 ms: 0.9 % of the time"), "{page}");
    }

    #[test]
    fn what_was_not_run_has_no_table() {
        let page = results().page();
        for absent in ["A service behind", "cached responses", "new tokens/s", "## Goals"] {
            assert!(!page.contains(absent), "{absent}: {page}");
        }
    }

    #[test]
    fn large_numbers_have_commas() {
        let numbers = [0.0, 999.4, 1_000.0, 26_512.0, 1_234_567.0].map(thousands);
        assert_eq!(numbers, ["0", "999", "1,000", "26,512", "1,234,567"]);
    }
}
