//! What the process answers about itself: metrics on one port, readiness on another, and what is in force on a third.
//!
//! - metrics port: see `metrics`
//! - health port: `GET /healthz/ready`
//! - admin port: see `port`
//!
//! Nothing here changes anything, and nothing shows a secret.

mod events;
mod guard;
mod lists;
mod metrics;
mod port;
mod web;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::{Method, Response, StatusCode};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;

pub(crate) use metrics::MetricsPort;
pub(crate) use port::AdminPort;

use crate::health::Prober;

/// The health port. It is opened once a revision is in force and its ports are bound, so it says yes once endpoints with
/// a probe were asked, until the process drains.
pub(crate) struct HealthPort {
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) prober: Prober,
}

#[async_trait]
impl ServeHttp for HealthPort {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        match path(session) {
            Err(refused) => *refused,
            Ok("/healthz/ready") if self.draining.load(Ordering::Acquire) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
            }
            Ok("/healthz/ready") if !self.prober.is_settled() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "endpoints are being asked by their probes\n")
            }
            Ok("/healthz/ready") => text(StatusCode::OK, "ready\n"),
            Ok(_) => text(StatusCode::NOT_FOUND, "here is /healthz/ready\n"),
        }
    }
}

/// The path of a request that only asks.
fn path(session: &ServerSession) -> Result<&str, Box<Response<Vec<u8>>>> {
    let head = session.req_header();
    match head.method {
        Method::GET | Method::HEAD => Ok(head.uri.path()),
        _ => Err(Box::new(text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"))),
    }
}

fn text(status: StatusCode, body: &str) -> Response<Vec<u8>> {
    answer(status, "text/plain", body.as_bytes().to_vec())
}

fn answer(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let length = body.len();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static(content_type));
    headers.insert("content-length", http::HeaderValue::from(length));
    response
}
