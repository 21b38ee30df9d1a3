//! The metrics port: `/metrics` and `/stats/prometheus`, sent piece by piece, so that a scrape holds no more than a piece
//! however much there is to tell and however slowly it is taken.

use std::io::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_http::ResponseHeader;
use tokio::sync::Semaphore;

use super::{path, text};
use crate::metrics::{Metrics, Pages};

/// So many scrapes are answered at a time; each may be slow, and holds its first piece, which is the longest.
const MOST: usize = 16;

/// The metrics port.
pub(crate) struct MetricsPort {
    metrics: Arc<Metrics>,
    room: Semaphore,
}

impl MetricsPort {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        MetricsPort { metrics, room: Semaphore::new(MOST) }
    }
}

#[async_trait]
impl HttpServerApp for MetricsPort {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        session.set_keepalive(if *shutdown.borrow() { None } else { Some(60) });
        let place = self.room.try_acquire();
        let pages = match path(&session) {
            Err(refused) => Err(*refused),
            Ok("/metrics" | "/stats/prometheus") if place.is_err() => {
                Err(text(StatusCode::SERVICE_UNAVAILABLE, "too many scrapes at a time\n"))
            }
            Ok("/metrics" | "/stats/prometheus") => gathered(&self.metrics).await.map_err(|error| {
                text(StatusCode::INTERNAL_SERVER_ERROR, &format!("metrics can't be gathered: {error}\n"))
            }),
            Ok(_) => Err(text(StatusCode::NOT_FOUND, "here are /metrics and /stats/prometheus\n")),
        };
        match pages {
            Ok(pages) => send(&mut session, pages).await.ok()?,
            Err(answer) => whole(&mut session, answer).await.ok()?,
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}

/// What there is to tell, gathered on a thread that no request waits for: with 10,000 hosts it takes a second.
async fn gathered(metrics: &Arc<Metrics>) -> Result<Pages, String> {
    let metrics = metrics.clone();
    let pages = tokio::task::spawn_blocking(move || metrics.pages()).await;
    pages.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

async fn whole(session: &mut ServerSession, answer: Response<Vec<u8>>) -> pingora_core::Result<()> {
    let (head, body) = answer.into_parts();
    session.write_response_header(Box::new(head.into())).await?;
    session.write_response_body(body.into(), true).await
}

async fn send(session: &mut ServerSession, mut pages: Pages) -> pingora_core::Result<()> {
    let request = session.req_header();
    let (is_head, version) = (request.method == Method::HEAD, request.version);
    let mut packer = takes_gzip(&request.headers).then(|| GzEncoder::new(Vec::new(), Compression::fast()));
    let mut head = ResponseHeader::build(StatusCode::OK, Some(3))?;
    head.insert_header("content-type", Metrics::CONTENT_TYPE)?;
    if packer.is_some() {
        head.insert_header("content-encoding", "gzip")?;
    }
    // Before HTTP/1.1 the end of the connection is the end of an answer, and in HTTP/2 a frame says it.
    match version {
        Version::HTTP_11 => head.insert_header("transfer-encoding", "chunked")?,
        Version::HTTP_2 => {}
        _ => session.set_keepalive(None),
    }
    session.write_response_header(Box::new(head)).await?;
    if is_head {
        return session.write_response_body(Bytes::new(), true).await;
    }
    while let Some(page) = pages.next() {
        let piece = match &mut packer {
            None => page,
            Some(packer) => pack(packer, &page, false),
        };
        session.write_response_body(piece, false).await?;
        // Requests wait for this thread as well.
        tokio::task::yield_now().await;
    }
    let rest = packer.as_mut().map(|packer| pack(packer, &[], true)).unwrap_or_default();
    session.write_response_body(rest, true).await
}

/// What a piece comes to; often nothing yet.
fn pack(packer: &mut GzEncoder<Vec<u8>>, page: &[u8], last: bool) -> Bytes {
    // Writing to memory does not fail.
    let _ = packer.write_all(page);
    if last {
        let _ = packer.try_finish();
    }
    std::mem::take(packer.get_mut()).into()
}

/// Whether `accept-encoding` names gzip, and not with a quality of zero.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = parts.any(|part| {
            let quality = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            quality.and_then(|quality| quality.parse::<f32>().ok()) == Some(0.0)
        });
        named && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        for (value, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, identity", false),
            ("identity", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, value.parse().unwrap());
            assert_eq!(takes_gzip(&headers), expected, "{value:?}");
        }
    }
}
