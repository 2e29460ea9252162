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

    /// The table: titles as on the dashboard, the largest count of each first.
    pub fn show(&self, page: &mut Page) {
        let mut rows = Vec::new();
        let counts = |name: &str, labels: &[&str]| {
            let counts = self.by(name, labels).into_iter().filter(|(_, count)| *count > 0.0);
            let mut counts: Vec<_> = counts.collect();
            counts.sort_by(|(_, one), (_, other)| other.total_cmp(one));
            counts.into_iter().map(|(what, count)| (count.to_string(), what)).collect::<Vec<_>>()
        };
        rows.push(("Inbound requests", counts("requests", &["decision", "reason"])));
        let hits = ["hit", "negative", "shared"].map(|way| self.sum("lookups", &[("result", way)]));
        let hits: f64 = hits.iter().sum();
        let lookups = hits + self.sum("lookups", &[("result", "miss")]);
        if lookups > 0.0 {
            let share = format!("{:.1} %", 100.0 * hits / lookups);
            rows.push(("Cache hit ratio", vec![(share, format!("{hits} of {lookups} lookups"))]));
        }
        rows.push(("Introspections", counts("calls", &["outcome"])));
        rows.push((
            "Outbound requests",
            counts("outbound_requests", &["client", "decision", "reason"]),
        ));
        rows.push(("Token calls", counts("token_calls", &["client", "outcome"])));
        rows.push(("Tokens", counts("tokens", &["client", "event"])));
        let seconds = |name: &str| {
            let ages = self.by(name, &["client"]).into_iter();
            ages.map(|(client, seconds)| (format!("{seconds} s"), client)).collect()
        };
        rows.push(("Token age", seconds("token_age_seconds")));
        rows.push(("Token expires in", seconds("token_expires_in_seconds")));
        let latency = |share: f64| {
            let endpoints = self.by("call_milliseconds_count", &["endpoint"]).into_iter();
            let made = endpoints.filter(|(_, count)| *count > 0.0);
            made.map(|(endpoint, _)| (format!("≤ {} ms", self.within(&endpoint, share)), endpoint))
                .collect()
        };
        rows.push(("Call latency, p50", latency(0.5)));
        rows.push(("Call latency, p99", latency(0.99)));
        for (title, values) in rows {
            for (n, (value, what)) in values.iter().enumerate() {
                let title = if n == 0 { title } else { "" };
                page.line(&format!("   {title:<18} {value:>9}  {what}"));
            }
        }
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

    /// Within how many milliseconds this share of the calls to an endpoint ended: the bound of one of
    /// Envoy's buckets.
    fn within(&self, endpoint: &str, share: f64) -> f64 {
        let all = self.sum("call_milliseconds_count", &[("endpoint", endpoint)]);
        let bounds = self.by("call_milliseconds_bucket", &["endpoint", "le"]);
        let enough = bounds.iter().filter(|(_, count)| **count >= share * all);
        let bounds = enough.filter_map(|(what, _)| {
            let (of, bound) = what.split_once(' ')?;
            (of == endpoint).then(|| bound.parse().ok()).flatten()
        });
        bounds.fold(f64::INFINITY, f64::min)
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
            "   Inbound requests          42  allowed token
                              2  denied inactive
   Cache hit ratio       80.0 %  8 of 10 lookups
   Introspections             2  active
   Tokens                     3  a renewed
   Token age                4 s  a
   Token expires in         6 s  a
   Call latency, p50     ≤ 1 ms  introspection
   Call latency, p99     ≤ 5 ms  introspection
"
        );
    }
}
