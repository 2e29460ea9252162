//! `servers`: those that the pages of `docs/` are tried with, until Ctrl-C. `servers PORT SERVICE
//! SECONDS`: an authorization server on this port, whose tokens live for so many seconds, and a
//! service.

use std::{env, error::Error, net::SocketAddr, time::Duration};

use oauth2_filter_testbed::{
    authorization_server::{AuthorizationServer, Options},
    examples::Servers,
    process::interrupted,
    upstream::Upstream,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let numbers: Vec<u16> =
        env::args().skip(1).map(|number| number.parse()).collect::<Result<_, _>>()?;
    if let [port, service, seconds] = numbers[..] {
        let access_token_ttl = Duration::from_secs(seconds.into());
        let options =
            Options { listen: loopback(port), access_token_ttl, ..Options::of_examples() };
        let _server = AuthorizationServer::start(options).await?;
        let _service = Upstream::listen(loopback(service), false).await?;
        interrupted().await;
        return Ok(());
    }
    let servers = Servers::start(Servers::PORTS.map(loopback)).await?;
    print!("{servers}");
    println!("They run until Ctrl-C.");
    interrupted().await;
    Ok(())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
