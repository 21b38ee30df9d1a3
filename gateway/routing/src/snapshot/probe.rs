//! How an endpoint's health is asked for.

use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

/// A question that is put to an endpoint again and again.
///
/// What comes of the answers is `trysail_upstream::health`'s.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// From when the endpoint is known to the first question.
    pub initial_delay: Duration,
    /// How long an answer may take; over 0.
    pub timeout: Duration,
    /// From one question to the next; over 0.
    pub period: Duration,
    /// Good answers in a row that make it healthy; over 0.
    pub success_threshold: u32,
    /// Bad answers in a row that make it unhealthy; over 0.
    pub failure_threshold: u32,
}

/// What is asked of an endpoint, each time over a connection of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// A GET; an answer of 200 to 399 is good.
    Http {
        /// Over TLS, whose certificate is not verified.
        tls: bool,
        /// Where to connect; `None` for the endpoint's own address.
        host: Option<Box<str>>,
        /// The port there.
        port: u16,
        /// What is asked for.
        path: PathAndQuery,
        /// Fields that are sent; `Host` in place of the host's own name.
        headers: Box<[(HeaderName, HeaderValue)]>,
    },
    /// A connection that opens is good.
    Tcp {
        /// Where to connect; `None` for the endpoint's own address.
        host: Option<Box<str>>,
        /// The port there.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check`; SERVING is good.
    Grpc {
        /// The port of the endpoint.
        port: u16,
        /// The service that is asked about; empty for the server as a whole.
        service: Box<str>,
    },
}
