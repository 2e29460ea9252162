//! The servers that the pages of `docs/` are tried with, until Ctrl-C.

use std::{error::Error, net::SocketAddr};

use oauth2_filter_testbed::{examples::Servers, process::interrupted};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = Servers::start(Servers::PORTS.map(loopback)).await?;
    print!("{servers}");
    println!("They run until Ctrl-C.");
    interrupted().await;
    Ok(())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
