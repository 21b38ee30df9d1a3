//! Spans on their way to a collector: OTLP over HTTP, in JSON.
//!
//! A batch is sent each second, or as soon as there are enough. What the collector does not take is counted and forgotten,
//! as spans that wait for a collector which does not come back would cost more than they tell. The protocol is small in its
//! JSON form: it is written here, and no crate is needed for it.

mod message;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use log::{info, warn};
use parking_lot::Mutex;
use pingora_core::connectors::http::Connector;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;

use crate::resolver::Resolver;
use crate::settings::{Endpoint, Tracing};
use crate::trace::{Span, Spans};

/// Spans wait this long at most before they are sent.
const PAUSE: Duration = Duration::from_secs(1);

/// One sending may take so long in all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends spans.
pub(crate) struct Exporter {
    spans: Arc<Spans>,
    endpoint: Endpoint,
    service: String,
    resolver: Resolver,
    connector: Connector<()>,
    /// One batch at a time.
    turn: tokio::sync::Mutex<()>,
    /// Spans that were lost since it was said that the collector fails.
    failing: Mutex<Option<u64>>,
}

impl Exporter {
    /// One for the endpoint of the settings, where there is one.
    pub(crate) fn new(setting: &Tracing, spans: Arc<Spans>, resolver: Resolver) -> Option<Arc<Self>> {
        Some(Arc::new(Exporter {
            spans,
            endpoint: setting.endpoint.clone()?,
            service: setting.service_name.clone(),
            resolver,
            connector: Connector::new(None),
            turn: tokio::sync::Mutex::default(),
            failing: Mutex::default(),
        }))
    }

    /// Sends, for as long as the process runs.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.spans.many.notified() => {}
            }
            self.send_all().await;
        }
    }

    /// Sends what waits now.
    pub(crate) async fn send_all(&self) {
        let _turn = self.turn.lock().await;
        loop {
            let batch = self.spans.take();
            if batch.is_empty() {
                return;
            }
            let sent = tokio::time::timeout(PATIENCE, self.send(&batch)).await;
            let sent = sent.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
            let count = batch.len() as u64;
            match &sent {
                Ok(()) => self.spans.counters.sent.inc_by(count),
                Err(_) => self.spans.counters.failed.inc_by(count),
            }
            self.say(sent, count);
        }
    }

    async fn send(&self, batch: &[Span]) -> Result<(), String> {
        let body = message::of(batch, &self.service);
        let head = self.head(body.len()).map_err(|error| reason(&error))?;
        let peer = HttpPeer::new(self.address().await?, self.endpoint.tls, self.endpoint.host.clone());
        let mut session = self.connector.get_http_session(&peer).await.map_err(|error| reason(&error))?.0;
        let answered = async {
            session.write_request_header(Box::new(head)).await?;
            session.write_request_body(body.into(), true).await?;
            session.finish_request_body().await?;
            session.read_response_header().await?;
            let status = session.response_header().map_or(0, |head| head.status.as_u16());
            // What it says beside that is not kept, but a connection is only where all was read.
            let mut read = 0;
            while let Some(piece) = session.read_response_body().await? {
                read += piece.len();
                if read > LONGEST_ANSWER {
                    break;
                }
            }
            Ok::<_, Box<pingora_core::Error>>((status, read <= LONGEST_ANSWER))
        };
        let (status, whole) = answered.await.map_err(|error| reason(&error))?;
        if whole {
            self.connector.release_http_session(session, &peer, Some(Duration::from_secs(30))).await;
        }
        if (200..300).contains(&status) { Ok(()) } else { Err(format!("it answered {status}")) }
    }

    fn head(&self, length: usize) -> pingora_core::Result<RequestHeader> {
        let mut head = RequestHeader::build("POST", self.endpoint.path.as_bytes(), None)?;
        head.insert_header(HOST, self.endpoint.authority())?;
        head.insert_header(CONTENT_TYPE, "application/json")?;
        head.insert_header(CONTENT_LENGTH, length)?;
        head.insert_header(USER_AGENT, concat!("trysail/", env!("CARGO_PKG_VERSION")))?;
        Ok(head)
    }

    /// Where the collector is now.
    async fn address(&self) -> Result<SocketAddr, String> {
        let Endpoint { host, port, .. } = &self.endpoint;
        let address: IpAddr = match host.parse() {
            Ok(address) => address,
            Err(_) => self.resolver.find_address(host).await.map_err(|why| format!("{host}: {why}"))?,
        };
        Ok(SocketAddr::new(address, *port))
    }

    fn say(&self, sent: Result<(), String>, count: u64) {
        let mut failing = self.failing.lock();
        let endpoint = &self.endpoint;
        match (sent, &mut *failing) {
            (Ok(()), None) => {}
            (Ok(()), Some(lost)) => {
                info!("tracing: {endpoint} takes spans again; spans that were lost: {lost}");
                *failing = None;
            }
            (Err(_), Some(lost)) => *lost += count,
            (Err(why), None) => {
                warn!(
                    "tracing: {endpoint} takes no spans: {why}; they are lost until it does (trysail_spans_total), \
                     requests go on"
                );
                *failing = Some(count);
            }
        }
    }
}

/// A longer answer is not read to its end.
const LONGEST_ANSWER: usize = 64 << 10;

/// What went wrong, without where Pingora was.
fn reason(error: &pingora_core::Error) -> String {
    match error.etype() {
        pingora_core::ErrorType::ConnectRefused => "connection refused".to_owned(),
        kind => kind.as_str().to_owned(),
    }
}
