//! What is spoken on the two sides of a proxy, and the scenarios in which it is not HTTP/1.1 in the clear.

use crate::scenario::{SMALL_KEEPALIVE, Scenario};

/// What the client speaks, and what the upstreams do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.1, in the clear on both sides.
    Http1,
    /// HTTP/1.1 inside TLS 1.3; in the clear to the upstreams, as in all others.
    Tls,
    /// HTTP/2 by prior knowledge; HTTP/1.1 to the upstreams.
    H2c,
    /// HTTP/2 inside TLS 1.3; HTTP/1.1 to the upstreams.
    H2,
    /// Unary calls, HTTP/2 by prior knowledge on both sides.
    Grpc,
    /// Messages on connections that began as HTTP/1.1, on both sides.
    WebSocket,
}

impl Wire {
    /// Whether the client's connections are encrypted.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Wire::Tls | Wire::H2)
    }

    /// Whether the client speaks HTTP/2.
    #[must_use]
    pub fn is_h2(self) -> bool {
        matches!(self, Wire::H2c | Wire::H2 | Wire::Grpc)
    }

    /// What an upstream speaks, as the origin is told.
    #[must_use]
    pub fn upstream(self) -> &'static str {
        match self {
            Wire::Grpc => "grpc",
            Wire::WebSocket => "websocket",
            Wire::Http1 | Wire::Tls | Wire::H2c | Wire::H2 => "http",
        }
    }
}

/// Encryption of what is small.
pub(crate) const TLS_KEEPALIVE: Scenario = Scenario {
    name: "tls-keepalive",
    title: "small GET, HTTP/1.1 keep-alive inside TLS 1.3, in the clear to the upstreams, 90/10 over v1 and v2",
    wire: Wire::Tls,
    aims: &[("nginx", 1.2)],
    ..SMALL_KEEPALIVE
};

/// Accepting, and a signature.
pub(crate) const TLS_HANDSHAKE: Scenario = Scenario {
    name: "tls-handshake",
    title: "small GET, a new connection with a full handshake of TLS 1.3 (ECDSA P-256, X25519) for each, 90/10 over v1 and v2",
    wire: Wire::Tls,
    fresh: true,
    aims: &[("nginx", 0.6)],
    ..SMALL_KEEPALIVE
};

/// Streams side by side.
pub(crate) const H2C: Scenario = Scenario {
    name: "h2c",
    title: "small GET, HTTP/2 in the clear with eight streams at a time, HTTP/1.1 to the upstreams, 90/10 over v1 and v2",
    wire: Wire::H2c,
    streams: 8,
    aims: &[("envoy", 0.35)],
    ..SMALL_KEEPALIVE
};

/// The same, encrypted: what browsers do.
pub(crate) const H2: Scenario = Scenario {
    name: "h2",
    title: "small GET, HTTP/2 inside TLS 1.3 with eight streams at a time, HTTP/1.1 to the upstreams, 90/10 over v1 and v2",
    wire: Wire::H2,
    aims: &[],
    ..H2C
};

/// Calls, with a message on both ways and a status behind the answer.
pub(crate) const GRPC: Scenario = Scenario {
    name: "grpc",
    title: "unary call with messages of 100 bytes, HTTP/2 in the clear on both sides, eight at a time, 90/10 over v1 and v2",
    path: "/reviews.Reviews/Get",
    wire: Wire::Grpc,
    streams: 8,
    aims: &[],
    ..SMALL_KEEPALIVE
};

/// What is passed on between requests.
pub(crate) const WEBSOCKET: Scenario = Scenario {
    name: "websocket",
    title: "messages of 100 bytes on open WebSockets and their echo, CPU for each; connections split 90/10 over v1 and v2",
    wire: Wire::WebSocket,
    aims: &[],
    ..SMALL_KEEPALIVE
};
