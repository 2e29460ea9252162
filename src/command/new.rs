//! stub
use crate::Failure;
pub(crate) fn run(_: lexopt::Parser) -> Result<std::process::ExitCode, Failure> {
    Err(Failure::usage("x"))
}
