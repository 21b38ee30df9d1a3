//! Times and sizes by direction: towards the clients, the upstreams, and whoever knows names.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::ranges;
use super::units::{Bytes, Span};

/// Times towards the clients.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Downstream {
    /// A new connection that has not begun a request after this is closed.
    #[serde(deserialize_with = "ranges::some_time")]
    pub(crate) first_request_timeout: Span,
    /// A connection without a request, or on which no byte is passed on, for this long is closed (Istio: 1h).
    #[serde(deserialize_with = "ranges::time")]
    pub(crate) idle_timeout: Span,
    /// A handshake of TLS that is not done after this is cut (Istio: 15s).
    #[serde(deserialize_with = "ranges::some_time")]
    pub(crate) handshake_timeout: Span,
    /// A request's head that is not whole this long after its first byte is cut.
    #[serde(deserialize_with = "ranges::some_time")]
    pub(crate) head_timeout: Span,
    /// A request's body that pauses for this long is cut.
    #[serde(deserialize_with = "ranges::some_time")]
    pub(crate) body_timeout: Span,
    /// A client that has taken less than `send_minimum` within this, while there is something for it, is cut.
    #[serde(deserialize_with = "ranges::some_time")]
    pub(crate) send_timeout: Span,
    /// What a client has to take within `send_timeout`.
    pub(crate) send_minimum: Bytes,
}

impl Default for Downstream {
    fn default() -> Self {
        Downstream {
            first_request_timeout: Span(Duration::from_secs(60)),
            idle_timeout: Span(Duration::from_secs(3600)),
            handshake_timeout: Span(Duration::from_secs(15)),
            head_timeout: Span(Duration::from_secs(10)),
            body_timeout: Span(Duration::from_secs(60)),
            send_timeout: Span(Duration::from_secs(60)),
            send_minimum: Bytes(16 << 10),
        }
    }
}

/// Times and sizes towards the upstreams.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Upstream {
    /// A connection that is not open after this is given up (Istio `connectTimeout`: 10s).
    #[serde(deserialize_with = "ranges::some_time")]
    pub(crate) connect_timeout: Span,
    /// A pooled connection without a request for this long is closed (Istio `idleTimeout`: 1h).
    #[serde(deserialize_with = "ranges::time")]
    pub(crate) idle_timeout: Span,
    /// Idle connections kept, over all endpoints; above the peak of concurrent requests, or they reconnect.
    #[serde(deserialize_with = "ranges::number::<_, 0, 1_000_000>")]
    pub(crate) pool_size: usize,
}

impl Default for Upstream {
    fn default() -> Self {
        Upstream {
            connect_timeout: Span(Duration::from_secs(10)),
            idle_timeout: Span(Duration::from_secs(3600)),
            pool_size: 2048,
        }
    }
}

/// How names are looked up.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Dns {
    /// Who is asked, by address and port; none asks those of `/etc/resolv.conf`.
    #[serde(deserialize_with = "ranges::addresses")]
    pub(crate) servers: Vec<SocketAddr>,
    /// A name is asked for again when its records end, but no sooner than this.
    #[serde(deserialize_with = "ranges::some_time")]
    pub(crate) min_refresh: Span,
    /// And no later than this.
    #[serde(deserialize_with = "ranges::some_time")]
    pub(crate) max_refresh: Span,
}

impl Default for Dns {
    fn default() -> Self {
        Dns {
            servers: Vec::new(),
            min_refresh: Span(Duration::from_secs(5)),
            max_refresh: Span(Duration::from_secs(300)),
        }
    }
}
