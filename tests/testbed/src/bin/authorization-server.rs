//! The testbed's authorization server as a program, with its embedded registrations.

use std::{error::Error, future, net::SocketAddr, time::Duration};

use lexopt::{Arg, Parser, ValueExt};
use oauth2_filter_testbed::authorization_server::{AuthorizationServer, Options};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut options =
        Options { listen: SocketAddr::from(([127, 0, 0, 1], 9000)), ..Options::default() };
    let mut arguments = Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("listen") => options.listen = arguments.value()?.parse()?,
            Arg::Long("access-token-ttl") => {
                options.access_token_ttl = Duration::from_secs(arguments.value()?.parse()?);
            }
            Arg::Long("help") => {
                println!("{USAGE}");
                return Ok(());
            }
            unexpected => return Err(unexpected.unexpected().into()),
        }
    }
    let server = AuthorizationServer::start(options).await?;
    println!("authorization server: {}", server.issuer());
    future::pending().await
}

const USAGE: &str = "\
authorization-server [--listen ADDRESS] [--access-token-ttl SECONDS]

  --listen ADDRESS            where it listens (127.0.0.1:9000; port 0 = a free one)
  --access-token-ttl SECONDS  how long an access token lives (3600)";
