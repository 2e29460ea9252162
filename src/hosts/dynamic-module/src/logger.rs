//! The log of Envoy, whose logger `dynamic_modules` says which levels it wants.

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::envoy;

/// Writes to the log of Envoy.
struct Logger;

/// A level, by its number in the ABI.
fn number(level: Level) -> i32 {
    match level {
        Level::Trace => 0,
        Level::Debug => 1,
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        envoy::log_enabled(number(metadata.level()))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            envoy::log(number(record.level()), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Enables logging.
pub(crate) fn install() {
    // It can only fail if a logger is already installed.
    let _ = log::set_logger(&Logger);
    log::set_max_level(LevelFilter::Trace);
}
