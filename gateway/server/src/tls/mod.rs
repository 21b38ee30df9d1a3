//! TLS that ends here: certificates from their files, rules for clients, and the handshake itself.
//!
//! A revision's configurations are made before it is in force, from what the files say at that moment; one that
//! says what it said before is kept, with the sessions that it can resume. What is in force is never changed:
//! a renewed certificate makes a new configuration, which the next handshakes use, and touches no connection.

mod certificate;
mod clients;
mod credentials;
mod server;
mod upstream;

use std::io;
use std::sync::Arc;

use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::SslDigest;
use rustls::ServerConfig;
use rustls::server::Accepted;
use sha2::{Digest, Sha256};
use tokio_rustls::server::StartHandshake;
use trysail_routing::snapshot::TlsId;

pub(crate) use credentials::{Secrets, Store};
pub(crate) use upstream::{Trust, Trusts};

use crate::listener::Conn;
use crate::metrics::Expiries;
use crate::proxy;

/// The configurations of one revision, by its ids.
#[derive(Clone, Default)]
pub(crate) struct Configs {
    made: Vec<Option<Arc<ServerConfig>>>,
    /// What they were made from: another content is another revision.
    pub(crate) digest: [u8; 32],
    /// Until when the certificates are valid, those that upstreams are shown among them.
    pub(crate) expiries: Expiries,
}

impl Configs {
    /// How TLS is ended for a server; `None` where its credential never was there.
    pub(crate) fn of(&self, id: TlsId) -> Option<Arc<ServerConfig>> {
        self.made.get(id.index())?.clone()
    }
}

/// What a handshake told.
pub(crate) struct Told {
    /// Whether HTTP/2 was agreed on.
    pub(crate) h2: bool,
    /// For the requests inside.
    pub(crate) connection: proxy::Tls,
}

/// Ends TLS whose hello was read.
pub(crate) async fn accept(
    accepted: Accepted,
    conn: Box<Conn>,
    config: Arc<ServerConfig>,
) -> io::Result<(Box<Conn>, Told)> {
    let stream = Box::pin(StartHandshake::from_parts(accepted, conn).into_stream(config)).await?;
    let (_, session) = stream.get_ref();
    let h2 = session.alpn_protocol() == Some(b"h2");
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    let cipher =
        session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default();
    let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or_default();
    let digest = certificate.map(|certificate| Sha256::digest(certificate).to_vec()).unwrap_or_default();
    let facts = SslDigest::new(cipher, version, None, None, digest);
    let connection = proxy::Tls {
        server_name: session.server_name().map(Into::into),
        version: envoy_version(version),
        cipher,
        client: certificate.and_then(|certificate| certificate::client(certificate)),
    };
    let protocol = if h2 { ALPN::H2 } else { ALPN::H1 };
    Ok((Box::new(Conn::inside(stream, facts, protocol)), Told { h2, connection }))
}

/// Envoy writes `TLSv1.3` where rustls writes `TLSv1_3`.
fn envoy_version(version: &'static str) -> &'static str {
    match version {
        "TLSv1_2" => "TLSv1.2",
        "TLSv1_3" => "TLSv1.3",
        other => other,
    }
}
