//! How TLS is ended: which certificates are shown, whose are asked for, and what is spoken.

use super::reference::Reference;
use crate::origin::Origin;

/// A server's place in its snapshot's table of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsId(u32);

impl TlsId {
    /// The id of the one at `index`.
    pub(crate) fn new(index: usize) -> Self {
        TlsId(u32::try_from(index).expect("fewer servers than bytes of configuration"))
    }

    /// The index into a snapshot's table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// TLS of one server of a Gateway. Istio `ServerTLSSettings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificates to choose from by what the client can verify; at least one.
    pub certificates: Vec<Certificate>,
    /// Which clients are let in.
    pub clients: Clients,
    /// The oldest version.
    pub min: TlsVersion,
    /// The newest version.
    pub max: TlsVersion,
    /// The suites of TLS 1.2 in order of preference, each one of [`CIPHER_SUITES`]; empty for the default.
    pub cipher_suites: Vec<&'static str>,
    /// Whether HTTP is inside, so that HTTP/2 is offered.
    pub http: bool,
    /// The object it is written in, as `Gateway default/shop`.
    pub object: Box<str>,
    /// Where it is written.
    pub origin: Origin,
}

/// Where a certificate with its key comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certificate {
    /// By its name: a Secret in a cluster, a directory on a VM. Istio `credentialName`.
    Credential(Reference),
    /// By its files. Istio `serverCertificate` and `privateKey`.
    Files {
        /// The chain, the server's own certificate first; PEM.
        chain: Reference,
        /// Its private key; PEM.
        key: Reference,
    },
}

/// Which clients are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clients {
    /// All; none is asked for a certificate. Istio `SIMPLE`.
    Anyone,
    /// All are asked for a certificate. Istio `MUTUAL` and `OPTIONAL_MUTUAL`.
    Asked(ClientCertificates),
}

/// What is asked of a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Whether a client without one is let in.
    pub optional: bool,
    /// Who may have issued it.
    pub issuers: Issuers,
    /// Istio `caCrl`: a file of revoked certificates.
    pub revoked: Option<Reference>,
    /// Names of which its subject alternative names must have one; empty for no such wish.
    pub subject_alt_names: Vec<Box<str>>,
    /// SHA-256 of its public key, or of the certificate, of which one must fit; both empty for no such wish.
    pub pins: Pins,
    /// Istio `insecureSkipVerify`: one that fails is let in all the same.
    pub let_failures_in: bool,
}

/// Certificates by their digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// Of the public key. Istio `verifyCertificateSpki`: base64.
    pub public_keys: Vec<[u8; 32]>,
    /// Of the whole. Istio `verifyCertificateHash`: hexadecimal, with or without colons.
    pub certificates: Vec<[u8; 32]>,
}

/// Who may have issued a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Issuers {
    /// The CA of a credential, or of the one named so with `-cacert`.
    Credential(Reference),
    /// A file; PEM.
    File(Reference),
}

/// A version that is spoken; older ones are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// The suites of TLS 1.2 that can be spoken, by OpenSSL's names, which Istio uses. All have forward secrecy.
pub const CIPHER_SUITES: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
];
