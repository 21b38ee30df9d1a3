//! What all requests of one connection have in common: where it came in, and what TLS knows of its client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use http::HeaderValue;
use trysail_routing::snapshot::ListenerKey;

use super::flow::Flow;

tokio::task_local! {
    /// The connection of the request that is served by this task. Pingora gives its callbacks no place for it.
    static CURRENT: Arc<Connection>;
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The listener that it came in through.
    pub(crate) listener: ListenerKey,
    /// The client's address, as `x-forwarded-for` has it; `None` where it is not known.
    pub(crate) client: Option<HeaderValue>,
    /// Who connected, whatever a header of the PROXY protocol says.
    pub(crate) direct: Option<SocketAddr>,
    /// How many proxies are believed in what they say of its requests.
    pub(crate) hops: u8,
    /// `None` in the clear.
    pub(crate) tls: Option<Tls>,
    /// How its answers are taken, where they may be many at a time: in HTTP/2.
    pub(crate) flow: Option<Arc<Flow>>,
    /// How long the head of the request was that is being served; 0 in HTTP/2, which has several.
    pub(crate) head: AtomicUsize,
}

/// Where a connection is from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// The client: who connected, or whom the PROXY protocol's header names.
    pub(crate) client: Option<SocketAddr>,
    /// Who connected.
    pub(crate) direct: Option<SocketAddr>,
    /// How many proxies are believed.
    pub(crate) hops: u8,
}

/// What the handshake told.
#[derive(Debug)]
pub(crate) struct Tls {
    /// The name that the client asked for.
    pub(crate) server_name: Option<Box<str>>,
    /// The version, as `TLSv1.3`.
    pub(crate) version: &'static str,
    /// The cipher suite.
    pub(crate) cipher: &'static str,
    /// What the client's certificate says; `None` where it showed none.
    pub(crate) client: Option<Client>,
}

/// What a client's certificate says.
#[derive(Debug)]
pub(crate) struct Client {
    /// All of it, as `x-forwarded-client-cert` has it.
    pub(crate) forwarded: HeaderValue,
    /// Its subject (RFC 2253).
    pub(crate) subject: Box<str>,
    /// The URIs among its names, with commas.
    pub(crate) uris: Box<str>,
    /// Itself, PEM, URL-encoded.
    pub(crate) pem: Box<str>,
    /// Its SHA-256, in hexadecimal.
    pub(crate) fingerprint: Box<str>,
}

impl Connection {
    /// One that came in through a listener.
    pub(crate) fn new(listener: ListenerKey, arrival: Arrival, tls: Option<Tls>) -> Self {
        let Arrival { client, direct, hops } = arrival;
        let text = |client: SocketAddr| HeaderValue::from_str(&client.ip().to_canonical().to_string()).ok();
        Connection {
            listener,
            client: client.and_then(text),
            direct,
            hops,
            tls,
            flow: None,
            head: AtomicUsize::new(0),
        }
    }

    /// The connection whose request is being served.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Serves a request of this connection.
    pub(crate) async fn serve<F: Future>(self: Arc<Self>, request: F) -> F::Output {
        CURRENT.scope(self, request).await
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The name that the client asked for.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.tls.as_ref()?.server_name.as_deref()
    }
}
