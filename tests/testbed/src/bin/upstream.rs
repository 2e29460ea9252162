//! The testbed's upstream as a program: it answers with what reached it.

use std::{error::Error, future, net::SocketAddr};

use lexopt::{Arg, Parser, ValueExt};
use oauth2_filter_testbed::upstream::Upstream;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut listen = SocketAddr::from(([127, 0, 0, 1], 9001));
    let mut arguments = Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("listen") => listen = arguments.value()?.parse()?,
            Arg::Long("help") => {
                println!("{USAGE}");
                return Ok(());
            }
            unexpected => return Err(unexpected.unexpected().into()),
        }
    }
    let upstream = Upstream::listen(listen, false).await?;
    println!("upstream: http://{}", upstream.address());
    future::pending().await
}

const USAGE: &str = "\
upstream [--listen ADDRESS]

  --listen ADDRESS  where it listens (127.0.0.1:9001; port 0 = a free one)";
