//! The filter in a simulated host: exact times, races and failures.

mod ages;
#[path = "../exchanges/call.rs"]
mod call;
mod clients;
#[path = "../exchanges/mod.rs"]
mod exchanges;
mod exchanging;
mod host;
mod jwt;
mod keeping;
mod key_metrics;
#[path = "../exchanges/mcp.rs"]
mod mcp;
mod meeting;
mod outbound;
mod phantom_tokens;
#[path = "../exchanges/protobuf.rs"]
mod protobuf;
mod readers;
mod recovery;
mod sharing;
#[path = "../../src/hosts/dynamic-module/src/verify.rs"]
#[allow(clippy::unnecessary_wraps, reason = "other hosts fail")]
mod signatures;
mod spellings;
mod standards;
mod table;
mod waiting;
