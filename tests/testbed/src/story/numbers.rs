//! The dashboard's main numbers as a table, from what Envoy shows to Prometheus.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use super::Page;
use crate::{client::Request, wait};

/// The filter's statistics in some Envoys, added up.
#[derive(Debug, Default)]
pub struct Numbers(Vec<Series>);

/// A series: its name, its labels, and its value.
#[derive(Debug)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Numbers {
    /// Reads them from the admin interfaces of Envoys whose statistics have labels. Waits a moment
    /// for the lifetime of a token, which is told once a second.
    pub async fn of(admins: &[SocketAddr]) -> Self {
        let read = async || {
            let mut text = String::new();
            for admin in admins {
                let answer = Request::get("/stats/prometheus").send(*admin).await;
                text.push_str(&answer.map(|answer| answer.text()).unwrap_or_default());
            }
            Self::read(&text)
        };
        let told = wait::poll("the lifetime of a token", PATIENCE, async || {
            let numbers = read().await;
            (numbers.sum("token_expires_in_seconds", &[]) > 0.0).then_some(numbers)
        });
        match told.await {
            Ok(numbers) => numbers,
            Err(_) => read().await,
        }
    }

    /// Reads them from Prometheus' text format.
    fn read(text: &str) -> Self {
        let series = |line: &str| {
            let (series, value) = line.strip_prefix("oauth2_filter_")?.rsplit_once(' ')?;
            let (name, labels) = series.strip_suffix('}')?.split_once('{')?;
            let pair = |label: &str| {
                let (label, value) = label.split_once('=')?;
                Some((label.to_owned(), value.trim_matches('"').to_owned()))
            };
            let labels = labels.split(',').filter_map(pair).collect();
            Some(Series { name: name.to_owned(), labels, value: value.parse().ok()? })
        };
        Self(text.lines().filter_map(series).collect())
    }

    /// The table.
    pub fn show(&self, page: &mut Page) {
        let counted = |name: &str, labels: &[&str]| -> String {
            let counts = self.by(name, labels).into_iter().filter(|(_, count)| *count > 0.0);
            let counts: Vec<_> = counts.map(|(what, count)| format!("{count} {what}")).collect();
            if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
        };
        let mut row = |what: &str, value: &str| page.line(&format!("   {what:<22} {value}"));
        let by_decision = self.by("requests", &["decision", "reason"]);
        for (n, (what, count)) in by_decision.iter().filter(|(_, count)| **count > 0.0).enumerate()
        {
            row(if n == 0 { "requests in" } else { "" }, &format!("{count:>6} {what}"));
        }
        let known =
            ["hit", "negative", "shared"].map(|way| self.sum("lookups", &[("result", way)]));
        let known: f64 = known.iter().sum();
        let looked_for = known + self.sum("lookups", &[("result", "miss")]);
        let share = 100.0 * known / looked_for.max(1.0);
        row("tokens known", &format!("{known} of {looked_for} looked for: {share:.1} %"));
        row("introspections", &counted("calls", &["outcome"]));
        row("", &self.latency("introspection"));
        row("requests out", &counted("outbound_requests", &["client", "decision", "reason"]));
        row("tokens", &counted("tokens", &["client", "event"]));
        for (client, seconds) in self.by("token_expires_in_seconds", &["client"]) {
            let age = self.sum("token_age_seconds", &[("client", &client)]);
            let text = format!("{client}: {age} s old, lives for {seconds} s more");
            row("", if seconds > 0.0 { &text } else { "none is held" });
        }
        row("calls for a token", &counted("token_calls", &["client", "outcome"]));
        row("", &self.latency("token"));
    }

    /// The sum of the series of this name that have these labels.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |series: &Series| {
            let of = |(label, value): &(&str, &str)| {
                series.labels.get(*label).is_some_and(|found| found == value)
            };
            series.name == name && labels.iter().all(of)
        };
        self.0.iter().filter(|series| has(series)).map(|series| series.value).sum()
    }

    /// The sums of the series of this name by the values of these labels.
    fn by(&self, name: &str, labels: &[&str]) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for series in self.0.iter().filter(|series| series.name == name) {
            let values: Vec<&str> =
                labels.iter().filter_map(|label| Some(&**series.labels.get(*label)?)).collect();
            *sums.entry(values.join(" ")).or_default() += series.value;
        }
        sums
    }

    /// How long calls to an endpoint took, as the bounds of Envoy's buckets tell it.
    fn latency(&self, endpoint: &str) -> String {
        let all = self.sum("call_milliseconds_count", &[("endpoint", endpoint)]);
        let within = |share: f64| {
            let bounds = self.0.iter().filter(|series| {
                series.name == "call_milliseconds_bucket"
                    && series.labels.get("endpoint").is_some_and(|found| found == endpoint)
            });
            let bounds = bounds.filter_map(|series| series.labels.get("le")?.parse().ok());
            let enough = |bound: &f64| {
                let bound = bound.to_string();
                let labels = [("endpoint", endpoint), ("le", bound.as_str())];
                self.sum("call_milliseconds_bucket", &labels) >= share * all
            };
            bounds.filter(|bound: &f64| bound.is_finite()).filter(enough).fold(f64::NAN, f64::min)
        };
        if all > 0.0 {
            format!("p50 within {} ms, p99 within {} ms", within(0.5), within(0.99))
        } else {
            "none was timed".to_owned()
        }
    }
}

/// How long a token's lifetime is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::page::tests::page;

    #[test]
    fn the_table_adds_up_what_envoys_show() {
        let text = "\
# TYPE oauth2_filter_requests counter
oauth2_filter_requests{decision=\"allowed\",reason=\"token\"} 40
oauth2_filter_requests{decision=\"denied\",reason=\"inactive\"} 2
oauth2_filter_requests{decision=\"denied\",reason=\"no_token\"} 0
oauth2_filter_lookups{result=\"hit\"} 7
oauth2_filter_lookups{result=\"stale\"} 5
oauth2_filter_lookups{result=\"shared\"} 1
oauth2_filter_lookups{result=\"miss\"} 2
oauth2_filter_calls{endpoint=\"introspection\",outcome=\"active\"} 2
oauth2_filter_call_milliseconds_bucket{endpoint=\"introspection\",le=\"0.5\"} 0
oauth2_filter_call_milliseconds_bucket{endpoint=\"introspection\",le=\"1\"} 1
oauth2_filter_call_milliseconds_bucket{endpoint=\"introspection\",le=\"5\"} 2
oauth2_filter_call_milliseconds_bucket{endpoint=\"introspection\",le=\"+Inf\"} 2
oauth2_filter_call_milliseconds_count{endpoint=\"introspection\"} 2
envoy_requests{} 1
oauth2_filter_requests{decision=\"allowed\",reason=\"token\"} 2
oauth2_filter_tokens{client=\"a\",event=\"renewed\"} 3
oauth2_filter_token_age_seconds{client=\"a\"} 4
oauth2_filter_token_expires_in_seconds{client=\"a\"} 6
";
        let (mut page, paper) = page(false);
        Numbers::read(text).show(&mut page);
        assert_eq!(
            paper.text(),
            "   requests in                42 allowed token
                               2 denied inactive
   tokens known           8 of 10 looked for: 80.0 %
   introspections         2 active
                          p50 within 1 ms, p99 within 5 ms
   requests out           none
   tokens                 3 a renewed
                          a: 4 s old, lives for 6 s more
   calls for a token      none
                          none was timed
"
        );
    }
}
