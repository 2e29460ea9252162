//! What the files of `envoy/` are tried with: two authorization servers and a service.

mod inbound_yaml;

use std::{fmt, io, net::SocketAddr};

pub use self::inbound_yaml::InboundYaml;

use crate::{
    authorization_server::{AuthorizationServer, Options},
    upstream::Upstream,
};

/// The servers around the Envoy of an example. They stop when dropped.
#[derive(Debug)]
pub struct Servers {
    /// The authorization server of all files.
    pub server: AuthorizationServer,
    /// Another one, a partner's.
    pub partner: AuthorizationServer,
    /// The service that is guarded, or called.
    pub service: Upstream,
}

impl Servers {
    /// The ports of the three, as the files name them.
    pub const PORTS: [u16; 3] = [9000, 9002, 9001];

    /// Starts them on these addresses.
    pub async fn start([server, partner, service]: [SocketAddr; 3]) -> io::Result<Self> {
        let options = Options { listen: server, ..Options::of_examples() };
        let server = AuthorizationServer::start(options).await?;
        let options = Options { listen: partner, ..Options::of_partner() };
        let partner = AuthorizationServer::start(options).await?;
        Ok(Self { server, partner, service: Upstream::listen(service, false).await? })
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, partner, service } = self;
        writeln!(f, "authorization server:      {}", server.issuer())?;
        writeln!(f, "partner's server:          {}", partner.issuer())?;
        writeln!(f, "service, echoes requests:  http://{}", service.address())
    }
}
