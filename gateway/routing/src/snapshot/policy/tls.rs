//! TLS towards a cluster's endpoints.

/// How TLS is spoken. Istio's SIMPLE, or MUTUAL where there is an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// Whether a certificate of ours is shown: mode MUTUAL.
    pub mutual: bool,
    /// The name in the ClientHello; `None` for the request's own host without its port, and none where that is
    /// an address.
    pub sni: Option<Box<str>>,
    /// The names of which the server's certificate must carry one; where there are none and no `sni` either, it
    /// must carry the request's host, and where there is only an `sni`, the name is not looked at (Istio).
    pub subject_alt_names: Box<[Box<str>]>,
    /// What is trusted, and what is shown.
    pub credentials: Credentials,
    /// Neither the server's chain nor its name is looked at.
    pub insecure_skip_verify: bool,
}

/// Where keys and certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Files of the gateway.
    Files {
        /// PEM, of the authorities that are trusted; `None` for the system's.
        ca: Option<Box<str>>,
        /// PEM, of certificates that are not trusted any more.
        crl: Option<Box<str>>,
        /// What is shown; `Some` under `mutual`.
        identity: Option<ClientIdentity>,
    },
    /// A Secret of this name (`credentialName`).
    Secret(Box<str>),
}

/// A certificate that is shown, by its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// PEM, the certificate and its chain.
    pub certificate: Box<str>,
    /// PEM, its key.
    pub key: Box<str>,
}
