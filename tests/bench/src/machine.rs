//! The machine that the figures are of.

use std::fs;
use std::process::Command;

use oauth2_filter_testbed::envoy;

use crate::Outcome;

/// What a reader has to know of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Machine {
    /// The day.
    pub date: String,
    /// The processor's name.
    pub processor: String,
    /// How many cores were used.
    pub cores: usize,
    /// Memory in GiB.
    pub memory: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The version of Envoy.
    pub envoy: String,
}

impl Machine {
    /// This one.
    pub fn here(cores: usize) -> Outcome<Self> {
        let version = Command::new(envoy::binary()).arg("--version").output()?;
        let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?;
        let memory = fs::read_to_string("/proc/meminfo")?;
        Ok(Self {
            date: String::from_utf8_lossy(&date.stdout).trim().to_owned(),
            processor: processor(&fs::read_to_string("/proc/cpuinfo")?).to_owned(),
            cores,
            memory: gibibytes(&memory).unwrap_or_default(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            envoy: envoy_version(&String::from_utf8_lossy(&version.stdout)).to_owned(),
        })
    }
}

fn processor(cpuinfo: &str) -> &str {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, name)| name.trim())
}

fn gibibytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some((kibibytes / 1024.0 / 1024.0).round() as u64)
}

/// Of `/usr/bin/envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`.
fn envoy_version(text: &str) -> &str {
    let parts = text.split_once(" version: ").map(|(_, parts)| parts);
    parts.and_then(|parts| parts.split('/').nth(1)).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_tells_is_read() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: AMD EPYC 9\n"), "AMD EPYC 9");
        assert_eq!(processor(""), "unknown");
        assert_eq!(gibibytes("MemTotal:       24684032 kB\nMemFree: 1 kB"), Some(24));
        let text = "\n/usr/bin/envoy  version: 1f2/1.40.0/Clean/RELEASE/BoringSSL\n";
        assert_eq!(envoy_version(text), "1.40.0");
        assert_eq!(envoy_version("no such program"), "unknown");
    }
}
