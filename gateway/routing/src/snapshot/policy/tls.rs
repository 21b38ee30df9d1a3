//! TLS towards a cluster's endpoints.

use crate::origin::Origin;
use crate::snapshot::Reference;

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
    /// The object it is written in, as `DestinationRule default/shop`.
    pub object: Box<str>,
    /// Where it is written.
    pub origin: Origin,
}

/// The name that is sent to a server, and looked for in its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// The request's own host, without its port.
    OfRequest,
    /// This; not looked for where `verified` is not set.
    Given {
        /// The name.
        name: Box<str>,
        /// Whether the certificate must carry it.
        verified: bool,
    },
}

impl ClientTls {
    /// The name, as Istio's rules give it; `None` where they ask for what can't be done: a name that is looked
    /// for and is not the one that is sent, or a choice of several.
    pub fn server_name(&self) -> Option<ServerName> {
        match (&self.sni, &*self.subject_alt_names) {
            (None, []) => Some(ServerName::OfRequest),
            (Some(sni), []) => Some(ServerName::Given { name: sni.clone(), verified: false }),
            (Some(sni), [name]) if sni == name => {
                Some(ServerName::Given { name: name.clone(), verified: true })
            }
            (None, [name]) if !name.contains("://") => {
                Some(ServerName::Given { name: name.clone(), verified: true })
            }
            _ => None,
        }
    }
}

/// Where keys and certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Files of the gateway.
    Files {
        /// PEM, of the authorities that are trusted; `None` for the system's.
        ca: Option<Reference>,
        /// PEM, of certificates that are not trusted any more.
        crl: Option<Reference>,
        /// What is shown; `Some` under `mutual`.
        identity: Option<ClientIdentity>,
    },
    /// A Secret of this name (`credentialName`).
    Secret(Reference),
}

/// A certificate that is shown, by its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// PEM, the certificate and its chain.
    pub certificate: Reference,
    /// PEM, its key.
    pub key: Reference,
}
