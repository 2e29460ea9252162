//! Certificates, and TLS around clients and servers that speak without.

use std::{
    fs, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::{
    io::{ReadHalf, WriteHalf, copy_bidirectional, split},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, ConfigBuilder, HandshakeKind, RootCertStore, ServerConfig,
        SupportedProtocolVersion,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
        server::{WantsServerCert, WebPkiClientVerifier},
        version::{TLS12, TLS13},
    },
};

use crate::{
    client::{Connection, Http2, Request, Response, bounded},
    service::FREE_PORT,
};

/// A certificate authority, which nobody knows but who is told.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one. All have the same name, and keys of their own.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, key()).expect("an authority's certificate"))
    }

    /// Its certificate, as PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A new certificate for a server, or a client, of this DNS name.
    pub fn issue(&self, name: &str) -> Identity {
        let key = key();
        let certificate = params(name).signed_by(&key, &self.0).expect("a certificate");
        Identity { certificate: certificate.der().clone(), pem: certificate.pem(), key }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A certificate and its key.
#[derive(Debug)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Identity {
    /// A new certificate that only itself vouches for.
    pub fn self_signed(name: &str) -> Self {
        let key = key();
        let certificate = params(name).self_signed(&key).expect("a certificate");
        Self { certificate: certificate.der().clone(), pem: certificate.pem(), key }
    }

    /// The certificate, as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The key, as PEM.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The certificate itself.
    pub fn der(&self) -> &[u8] {
        &self.certificate
    }

    /// The SHA-256 digest of the certificate.
    fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }

    /// That digest in hexadecimal form, as Envoy has it.
    pub fn digest_hex(&self) -> String {
        let digits = self.digest().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
    }

    /// That digest as `x5t#S256` has it (RFC 8705 section 3.1).
    pub fn thumbprint(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.digest())
    }

    /// The public key, as a set of keys (RFC 7517).
    pub fn jwks(&self) -> Value {
        // An uncompressed point: 4, and two coordinates of 32 octets.
        let point = self.key.public_key_raw();
        let coordinate = |from: usize| {
            let octets = point.get(from..from + 32).expect("a key on P-256");
            BASE64_URL_SAFE_NO_PAD.encode(octets)
        };
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "x": coordinate(1), "y": coordinate(33),
            "kid": KEY_ID, "use": "sig", "alg": "ES256",
        }]})
    }

    /// A JWT with these claims, signed with the key.
    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": KEY_ID}).to_string();
        let [header, claims] =
            [header, claims.to_string()].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
        let signed = format!("{header}.{claims}");
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, &self.key.serialize_der(), &random);
        let signature = key.expect("a key on P-256").sign(&random, signed.as_bytes());
        let signature = signature.expect("a signature");
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    /// As an entry of Envoy's `tls_certificates`.
    pub fn tls_certificate(&self) -> Value {
        json!({
            "certificate_chain": {"inline_string": self.pem},
            "private_key": {"inline_string": self.key_pem()},
        })
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

/// A folder with the files that `envoy/inbound-mtls.yaml` names: the server's certificate and key,
/// and the authority of the clients. It goes with this value.
pub fn certificate_files(server: &Identity, clients: &Authority) -> TempDir {
    let folder = TempDir::with_prefix("tls-").expect("a temporary directory");
    let files = [
        ("server.pem", server.pem.clone()),
        ("server.key", server.key_pem()),
        ("clients-ca.pem", clients.pem()),
    ];
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a temporary directory to write to");
    }
    folder
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Version {
    const fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &TLS12,
            Self::Tls13 => &TLS13,
        }
    }
}

/// A client that speaks TLS. It takes up its sessions again, where the server lets it.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsClient {
    /// A client that speaks this version with servers of this name, whose certificates come from
    /// this authority. It shows the certificate that it has, whatever the server asks for.
    pub fn new(
        authority: &Authority,
        name: &str,
        version: Version,
        certificate: Option<&Identity>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).expect("an authority's certificate");
        let config = ClientConfig::builder_with_protocol_versions(&[version.supported()])
            .with_root_certificates(roots);
        let config = match certificate {
            None => config.with_no_client_auth(),
            Some(identity) => config
                .with_client_auth_cert(vec![identity.certificate.clone()], identity.private_key())
                .expect("a certificate with its key"),
        };
        let name = ServerName::try_from(name.to_owned()).expect("a DNS name");
        Self { config: Arc::new(config), name }
    }

    /// Connects, for HTTP/1.1.
    pub async fn open(&self, address: SocketAddr) -> io::Result<TlsConnection> {
        let stream = self.connect(address, "http/1.1").await?;
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        let (reader, writer) = split(stream);
        Ok(TlsConnection { connection: Connection::over(reader, writer, address), resumed })
    }

    /// Sends it on an HTTP/1.1 connection of its own and waits for the whole answer.
    pub async fn send(&self, request: &Request, address: SocketAddr) -> io::Result<Response> {
        self.open(address).await?.send(request).await
    }

    /// Sends it on an HTTP/2 connection of its own and waits for the whole answer.
    pub async fn send_http2(&self, request: &Request, address: SocketAddr) -> io::Result<Response> {
        let stream = self.connect(address, "h2").await?;
        Http2::over(stream, address, "https").await?.send(request).await
    }

    async fn connect(
        &self,
        address: SocketAddr,
        protocol: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let stream = bounded(TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let connector = connector.with_alpn(vec![protocol.as_bytes().to_vec()]);
        bounded(async { connector.connect(self.name.clone(), stream).await }).await
    }
}

/// An open HTTP/1.1 connection over TLS; requests go over it one after the other.
#[derive(Debug)]
pub struct TlsConnection {
    connection: Connection<ReadHalf<TlsStream<TcpStream>>, WriteHalf<TlsStream<TcpStream>>>,
    resumed: bool,
}

impl TlsConnection {
    /// Sends a request and reads the answer.
    pub async fn send(&mut self, request: &Request) -> io::Result<Response> {
        self.connection.send(request).await
    }

    /// Whether the server has taken up an earlier session.
    pub const fn resumed(&self) -> bool {
        self.resumed
    }
}

/// TLS in front of a server that speaks without; it ends when dropped.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    shown: Arc<Mutex<Shown>>,
    task: JoinHandle<()>,
}

/// What clients have shown of themselves.
#[derive(Debug, Default)]
struct Shown {
    certificates: Vec<Vec<u8>>,
    server_names: Vec<Option<String>>,
}

impl TlsFront {
    /// Starts on a free loopback port, with this certificate before this server.
    pub async fn start(identity: &Identity, server: SocketAddr) -> Self {
        Self::start_with(identity, ServerConfig::builder().with_no_client_auth(), server).await
    }

    /// The same, for clients only that show a certificate of this authority.
    pub async fn start_mutual(
        identity: &Identity,
        clients: &Authority,
        server: SocketAddr,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(clients.0.der().clone()).expect("an authority's certificate");
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("a verifier");
        let config = ServerConfig::builder().with_client_cert_verifier(verifier);
        Self::start_with(identity, config, server).await
    }

    async fn start_with(
        identity: &Identity,
        config: ConfigBuilder<ServerConfig, WantsServerCert>,
        server: SocketAddr,
    ) -> Self {
        let config = config
            .with_single_cert(vec![identity.certificate.clone()], identity.private_key())
            .expect("a certificate with its key");
        let listener = TcpListener::bind(FREE_PORT).await.expect("a free port");
        let address = listener.local_addr().expect("the address of an open port");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let shown = Arc::<Mutex<_>>::default();
        let task = tokio::spawn(accept(listener, acceptor, server, Arc::clone(&shown)));
        Self { address, shown, task }
    }

    /// The certificate that each client has shown, in DER; those that showed none are left out.
    pub fn certificates(&self) -> Vec<Vec<u8>> {
        lock(&self.shown).certificates.clone()
    }

    /// The name by which each client has asked for the server (SNI).
    pub fn server_names(&self) -> Vec<Option<String>> {
        lock(&self.shown).server_names.clone()
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    server: SocketAddr,
    shown: Arc<Mutex<Shown>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (acceptor, shown) = (acceptor.clone(), Arc::clone(&shown));
        // What goes wrong on a connection is the client's to see.
        connections.spawn(async move {
            let mut stream = acceptor.accept(stream).await.ok()?;
            {
                let (session, mut shown) = (stream.get_ref().1, lock(&shown));
                shown.server_names.push(session.server_name().map(str::to_owned));
                if let Some([certificate, ..]) = session.peer_certificates() {
                    shown.certificates.push(certificate.to_vec());
                }
            }
            let mut server = TcpStream::connect(server).await.ok()?;
            copy_bidirectional(&mut stream, &mut server).await.ok()
        });
        while connections.try_join_next().is_some() {}
    }
}

fn lock(shown: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The id of an identity's key in what it signs.
const KEY_ID: &str = "key";

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).expect("a DNS name");
    // A subject that is not its issuer's: OpenSSL takes it for self-signed otherwise.
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Upstream;

    #[tokio::test]
    async fn a_client_talks_to_a_server_of_its_authority_and_name_only() {
        let upstream = Upstream::start().await;
        let authority = Authority::new();
        let front = TlsFront::start(&authority.issue("a.test"), upstream.address()).await;
        for version in [Version::Tls12, Version::Tls13] {
            let client = |authority, name| TlsClient::new(authority, name, version, None);
            let known = client(&authority, "a.test");
            for resumed in [false, true] {
                let mut connection = known.open(front.address()).await.unwrap();
                let answer = connection.send(&Request::get("/a")).await.unwrap();
                assert_eq!((answer.status, connection.resumed()), (200, resumed), "{version:?}");
            }
            let answer = known.send_http2(&Request::get("/b"), front.address()).await.unwrap();
            assert_eq!(answer.json()["version"], "HTTP/2.0");
            for stranger in [client(&authority, "b.test"), client(&Authority::new(), "a.test")] {
                stranger.open(front.address()).await.unwrap_err();
            }
        }
        assert_eq!(upstream.requests().len(), 6);
    }
}
