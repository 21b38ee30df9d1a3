//! One question, over a connection of its own: connect, or ask over HTTP/1.1 or gRPC, and judge the answer.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue};
use pingora_core::connectors::http::Connector;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::ErrorType;
use pingora_http::RequestHeader;
use tokio::net::TcpStream;
use trysail_routing::snapshot::ProbeKind;
use trysail_upstream::health::Question;

use super::grpc;
use crate::render;
use crate::resolver::Resolver;

/// Why an answer is no good.
#[derive(Debug)]
pub(crate) enum Fault {
    /// None came in this time.
    TimedOut(Duration),
    /// There was no connection.
    Connect(String),
    /// It was of this status.
    Status(u16),
    /// gRPC's status was this, and not OK.
    Grpc(String),
    /// The service is known, and does not serve.
    NotServing,
    /// It broke off, or is none of the protocol.
    Broken(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::TimedOut(time) => write!(f, "no answer in {}", render::time(*time)),
            Fault::Connect(reason) => write!(f, "no connection: {reason}"),
            Fault::Status(status) => write!(f, "status {status}"),
            Fault::Grpc(status) => write!(f, "grpc-status {status}"),
            Fault::NotServing => f.write_str("a service that is not SERVING"),
            Fault::Broken(reason) => write!(f, "an answer that broke off: {reason}"),
        }
    }
}

/// Asks once. Who calls this limits the time.
pub(super) async fn once(
    question: &Question,
    connector: &Connector<()>,
    resolver: &Resolver,
) -> Result<(), Fault> {
    let own = question.address.ip();
    match &question.probe.kind {
        ProbeKind::Tcp { host, port } => {
            let to = resolve(host.as_deref(), own, *port, resolver).await?;
            TcpStream::connect(to).await.map(drop).map_err(|error| no_connection(&error))
        }
        ProbeKind::Grpc { port, service } => grpc::ask(SocketAddr::new(own, *port), service).await,
        ProbeKind::Http { tls, host, port, path, headers } => {
            let to = resolve(host.as_deref(), own, *port, resolver).await?;
            let name = host.as_deref().map_or_else(|| own.to_string(), str::to_owned);
            let request = request(path.as_str(), &authority(&name, *port), headers)?;
            get(peer(to, *tls, name), request, connector).await
        }
    }
}

/// Where to connect to. A name is resolved each time, as an endpoint's own would be.
async fn resolve(
    host: Option<&str>,
    own: IpAddr,
    port: u16,
    resolver: &Resolver,
) -> Result<SocketAddr, Fault> {
    let Some(host) = host else { return Ok(SocketAddr::new(own, port)) };
    if let Ok(address) = host.parse() {
        return Ok(SocketAddr::new(address, port));
    }
    let found = resolver.find_address(host).await.map_err(|why| Fault::Connect(format!("{host}: {why}")))?;
    Ok(SocketAddr::new(found, port))
}

async fn get(peer: HttpPeer, request: RequestHeader, connector: &Connector<()>) -> Result<(), Fault> {
    let connected = connector.get_http_session(&peer).await;
    let (mut session, _) = connected.map_err(|error| Fault::Connect(reason(&error)))?;
    session.write_request_header(Box::new(request)).await?;
    session.finish_request_body().await?;
    // The body says nothing, and the connection goes with the session: the next question has one of its own, so that
    // one which is kept can't hide that there are no new ones.
    let status = loop {
        session.read_response_header().await?;
        match session.response_header().map(|head| head.status) {
            Some(status) if status.is_informational() && status != 101 => {}
            status => break status.map_or(0, |status| status.as_u16()),
        }
    };
    session.shutdown().await;
    match status {
        200..=399 => Ok(()),
        _ => Err(Fault::Status(status)),
    }
}

fn peer(to: SocketAddr, tls: bool, name: String) -> HttpPeer {
    // Of an address no name is sent, but without one Pingora would not shake hands.
    let mut peer = HttpPeer::new(to, tls, name);
    // As Kubernetes: a certificate may be for the name that clients ask for, which the probe does not know.
    peer.options.verify_cert = false;
    peer.options.verify_hostname = false;
    peer
}

fn request(
    path: &str,
    authority: &str,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<RequestHeader, Box<pingora_error::Error>> {
    let mut request = RequestHeader::build("GET", path.as_bytes(), None)?;
    request.insert_header(HOST, authority)?;
    request.insert_header(USER_AGENT, AGENT)?;
    request.insert_header(ACCEPT, "*/*")?;
    request.insert_header(CONNECTION, "close")?;
    // A field that is said takes the place of ours, and one that is said twice is sent twice.
    let mut said: Vec<&HeaderName> = Vec::new();
    for (name, value) in headers {
        match said.contains(&name) {
            true => drop(request.append_header(name.clone(), value.clone())?),
            false => request.insert_header(name.clone(), value.clone())?,
        }
        said.push(name);
    }
    Ok(request)
}

/// As Istio's agent calls itself when it asks.
const AGENT: &str = "istio-probe/1.0";

fn authority(name: &str, port: u16) -> String {
    match name.contains(':') {
        true => format!("[{name}]:{port}"),
        false => format!("{name}:{port}"),
    }
}

/// Without the system's number for it.
pub(super) fn no_connection(error: &io::Error) -> Fault {
    Fault::Connect(crate::listener::reason(error))
}

impl From<Box<pingora_error::Error>> for Fault {
    fn from(error: Box<pingora_error::Error>) -> Self {
        Fault::Broken(reason(&error))
    }
}

/// What went wrong, without where Pingora was.
fn reason(error: &pingora_error::Error) -> String {
    match error.etype() {
        ErrorType::ConnectRefused => "connection refused".to_owned(),
        kind => kind.as_str().to_owned(),
    }
}
