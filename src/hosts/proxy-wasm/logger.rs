//! The log of the host. A line that the host rejects is lost, without further effect.

use std::panic;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::abi;

/// `LogLevel` of the ABI.
const CRITICAL: u32 = 5;

/// Writes to the log of the host.
struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            Level::Trace => 0,
            Level::Debug => 1,
            Level::Info => 2,
            Level::Warn => 3,
            Level::Error => 4,
        };
        abi::log(level, &record.args().to_string());
    }

    fn flush(&self) {}
}

/// Enables logging from level `info`, including panics.
pub(super) fn install() {
    // It can only fail if a logger is already installed.
    let _ = log::set_logger(&Logger);
    log::set_max_level(LevelFilter::Info);
    panic::set_hook(Box::new(|panic| abi::log(CRITICAL, &panic.to_string())));
}
