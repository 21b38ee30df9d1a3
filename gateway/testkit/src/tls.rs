//! TLS for tests: an authority that issues certificates, a blocking client, and an origin that ends TLS itself.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// How long a read or write may pause.
const PATIENCE: Duration = Duration::from_secs(10);

/// A certificate authority of its own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, as files have them.
#[derive(Clone, Debug)]
pub struct Pair {
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: String,
}

/// A client's side of TLS.
pub type TlsClient = StreamOwned<ClientConnection, TcpStream>;

impl Authority {
    /// An authority of this name.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key can be made");
        Authority(CertifiedIssuer::self_signed(params, key).expect("an authority can sign itself"))
    }

    /// Its own certificate, PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names, the first of which is its common name.
    pub fn issue(&self, names: &[&str]) -> Pair {
        let owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(owned).expect("names that can stand in a certificate");
        params.distinguished_name.push(DnType::CommonName, *names.first().expect("a name"));
        params.distinguished_name.push(DnType::OrganizationName, "Trysail, Inc.");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.0).expect("an authority can sign");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A client that trusts it, offers these protocols and shows a certificate if it has one.
    pub fn client(&self, protocols: &[&str], own: Option<&Pair>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an authority's certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let (chain, key) = pair.parts();
                builder.with_client_auth_cert(chain, key).expect("a pair that fits")
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

impl Pair {
    fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("PEM");
        (vec![certificate], PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("PEM"))
    }
}

/// Connects and asks for a name; the error is the handshake's.
pub fn connect(addr: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> io::Result<TlsClient> {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let session = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    let mut client = StreamOwned::new(session, stream);
    client.conn.complete_io(&mut client.sock)?;
    // In TLS 1.3 a refusal of our certificate comes after our handshake is done.
    Ok(client)
}

/// Sends a request of HTTP/1.1 that is the connection's last, and reads all that comes.
pub fn get(client: &mut TlsClient, host: &str, path: &str) -> io::Result<String> {
    client
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut text = Vec::new();
    match client.read_to_end(&mut text) {
        // A server may close without saying so first.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// An origin that ends TLS itself and echoes one line with a word before it; runs until the process ends.
pub fn echo(word: &'static str, pair: &Pair) -> SocketAddr {
    serve(pair, None, move |stream| {
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            let line = [word.as_bytes(), b" ", bytes.get(..read).unwrap_or_default()].concat();
            if stream.write_all(&line).and_then(|()| stream.flush()).is_err() {
                break;
            }
        }
    })
}

/// An origin of HTTPS that answers each request with the name that was asked for, and whether the client showed
/// a certificate; it wants one of `clients` where that is given. Runs until the process ends.
pub fn https_origin(pair: &Pair, clients: Option<&Authority>) -> SocketAddr {
    serve(pair, clients, |stream| {
        let mut head = Vec::new();
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            head.extend_from_slice(bytes.get(..read).unwrap_or_default());
            if !head.ends_with(b"\r\n\r\n") {
                continue;
            }
            head.clear();
            let name = stream.conn.server_name().unwrap_or("-").to_owned();
            let shown = stream.conn.peer_certificates().map_or(0, <[_]>::len);
            let body = format!("name {name}, {shown} certificates");
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if stream.write_all(answer.as_bytes()).and_then(|()| stream.flush()).is_err() {
                break;
            }
        }
    })
}

fn serve(
    pair: &Pair,
    clients: Option<&Authority>,
    answer: impl Fn(&mut StreamOwned<ServerConnection, TcpStream>) + Clone + Send + 'static,
) -> SocketAddr {
    let (chain, key) = pair.parts();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.0.der().clone()).expect("an authority's certificate");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let config = Arc::new(builder.with_single_cert(chain, key).expect("a pair that fits"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let addr = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, answer) = (config.clone(), answer.clone());
            thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(PATIENCE));
                if let Ok(session) = ServerConnection::new(config) {
                    answer(&mut StreamOwned::new(session, stream));
                }
            });
        }
    });
    addr
}
