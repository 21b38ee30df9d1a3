//! How a cluster is talked to: which endpoint gets a request, over what, within which ceilings.
//!
//! What a DestinationRule's levels say of a host, subset and port is composed at compile; one [`Policy`] is the
//! whole of it.

mod balancer;
mod ceilings;
mod tls;

pub use balancer::{Balancer, ConsistentHash, HashCookie, HashKey, HashTable, Warmup};
pub use ceilings::{ConnectionPool, KeepAlive, OutlierDetection, RetryBudget, TcpKeepalive};
pub use tls::{ClientIdentity, ClientTls, Credentials};

/// How a cluster is talked to. The default is Istio's: LEAST_REQUEST, plaintext HTTP/1.1, no ceiling.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// Which endpoint gets a request.
    pub balancer: Balancer,
    /// Ceilings and times of connections and requests.
    pub connection_pool: ConnectionPool,
    /// When an endpoint that answers badly is left out for a while; `None` for never.
    pub outlier: Option<OutlierDetection>,
    /// TLS towards the endpoints; `None` for plaintext.
    pub tls: Option<ClientTls>,
    /// What is spoken with the endpoints.
    pub protocol: Protocol,
    /// How many retries may run at once, in place of `connection_pool.max_retries`.
    pub retry_budget: Option<RetryBudget>,
}

/// What is spoken with a cluster's endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: `h2UpgradePolicy: UPGRADE`. By ALPN under TLS, else with prior knowledge.
    Http2,
    /// What the client speaks: `useClientProtocol`.
    Client,
}
