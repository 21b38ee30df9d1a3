//! The admin port: what is in force, and why a request would go where it would go. On loopback unless told otherwise,
//! and then by a token only (`guard`).
//!
//! - `GET /`: the page, and for those who take no HTML what there is (`web`)
//! - `GET /explain?method=GET&url=http://shop.test/&header=name:%20value`, or the same as a form by POST
//! - `GET /status` and the lists: see `lists`
//! - `GET /events`: see `events`; `POST /reload`
//! - `GET /config`: revision, objects, listeners
//! - `GET /version`
//!
//! What only asks is read by GET; what has something done takes POST only. Nothing here shows a secret: no
//! object is shown as written, and headers that are asked about are not kept.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::ACCEPT;
use http::{Method, Response, StatusCode};
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use serde_json::json;
use tokio::sync::{Semaphore, oneshot};
use trysail_routing::path::PathRules;

use super::{answer, events, guard, lists, text, web};
use crate::explain::{Answer, Asked, Facts};
use crate::proxy::{Active, ActiveCell};
use crate::settings::{OtherServer, Token};
use crate::status::Desk;
use crate::status::told::ReloadOf;

/// The admin port.
pub(crate) struct AdminPort {
    pub(crate) desk: Arc<Desk>,
    pub(crate) active: ActiveCell,
    pub(crate) paths: PathRules,
    /// What a client of HTTPS is told that asks for a host of another server.
    pub(crate) other_server: OtherServer,
    /// What callers have to show; `None` for nothing.
    pub(crate) token: Option<Token>,
    /// Room for streams of events.
    pub(crate) streams: Semaphore,
    /// Has the files read, and tells what became of it.
    pub(crate) reload: Box<dyn Fn(oneshot::Sender<ReloadOf>) + Send + Sync>,
}

/// What there is, as `GET /` says it.
const CONTENTS: &str = "trysail's admin port

GET /explain?method=GET&url=http://shop.test/&header=name:%20value
             why a request goes where it goes; also POST, as a form
GET /status[?route=NAME][&all=1]
             what is in force, and what share each version really got
GET /status/series[?route=NAME][&all=1]
             the last ten minutes, in steps of ten seconds
GET /weights?route=NAME&subset=NAME
             the weight of a subset, since when, for rollout controllers
GET /routes[?q=WORDS][&from=N][&limit=N]
GET /endpoints[?q=WORDS][&from=N][&limit=N]
GET /listeners
GET /revisions
             what was read, applied and refused
GET /wait?revision=HASH
             whether a revision serves, and what former ones still do
GET /events  what changes, as server-sent events
POST /reload have the files read, and hear what became of it
GET /config  revision, objects, listeners
GET /version

In a browser this is a page with all of it.
";

/// How long a reading is waited for: a connection to this port lives a minute.
const RELOAD: Duration = Duration::from_secs(50);

/// A form is at most so long; a request's head may not be longer either.
const LONGEST_FORM: usize = 256 << 10;

#[async_trait]
impl HttpServerApp for AdminPort {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        let last = *shutdown.borrow();
        session.set_keepalive((!last).then_some(60));
        let head = session.req_header();
        let refused = guard::admits(&head.headers, self.token.as_ref()).err();
        let response = match refused {
            Some(refused) => *refused,
            None if head.uri.path() == "/events" && head.method == Method::GET => {
                match self.streams.try_acquire() {
                    Ok(_room) => {
                        events::stream(&self.desk, &mut session, shutdown).await;
                        return None;
                    }
                    Err(_) => {
                        text(StatusCode::SERVICE_UNAVAILABLE, "there are as many streams as there may be\n")
                    }
                }
            }
            None => self.response(&mut session).await,
        };
        let (parts, body) = response.into_parts();
        session.write_response_header(Box::new(parts.into())).await.ok()?;
        if !body.is_empty() {
            session.write_response_body(body.into(), true).await.ok()?;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}

impl AdminPort {
    /// So many streams of events there are at a time.
    pub(crate) const STREAMS: usize = events::STREAMS;

    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        let query = head.uri.query().unwrap_or_default().to_owned();
        let accept = head.headers.get(ACCEPT).cloned();
        match (path.as_str(), method) {
            ("/explain", Method::POST) => match form(session).await {
                Ok(form) => self.explain(&form),
                Err(refused) => *refused,
            },
            ("/explain", Method::GET | Method::HEAD) => self.explain(&query),
            ("/", Method::GET | Method::HEAD) if !web::is_browser(accept.as_ref()) => {
                text(StatusCode::OK, CONTENTS)
            }
            (path, Method::GET | Method::HEAD) if web::PATHS.contains(&path) => {
                web::answer(self, path, &query)
            }
            ("/config", Method::GET | Method::HEAD) => json(&config(&self.active.load())),
            ("/version", Method::GET | Method::HEAD) => {
                text(StatusCode::OK, concat!("trysail ", env!("CARGO_PKG_VERSION"), "\n"))
            }
            ("/reload", Method::POST) => self.reload().await,
            ("/reload", _) => text(StatusCode::METHOD_NOT_ALLOWED, "this has the files read: POST\n"),
            (path, Method::GET | Method::HEAD) if lists::PATHS.contains(&path) => {
                lists::answer(&self.desk, path, &query)
            }
            (path, _)
                if lists::PATHS.contains(&path)
                    || web::PATHS.contains(&path)
                    || ["/config", "/version", "/explain", "/events"].contains(&path) =>
            {
                text(StatusCode::METHOD_NOT_ALLOWED, "nothing here is changed by asking: GET\n")
            }
            _ => text(StatusCode::NOT_FOUND, CONTENTS),
        }
    }
}

impl AdminPort {
    /// Has the files read, and waits for what becomes of it.
    async fn reload(&self) -> Response<Vec<u8>> {
        let (asker, told) = oneshot::channel();
        (self.reload)(asker);
        match tokio::time::timeout(RELOAD, told).await {
            Ok(Ok(told)) => json(&told),
            Ok(Err(_)) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, "a fault of trysail's own ended the reading\n")
            }
            Err(_) => {
                text(StatusCode::GATEWAY_TIMEOUT, "the files are still being read; /revisions will tell\n")
            }
        }
    }

    fn explain(&self, form: &str) -> Response<Vec<u8>> {
        let (mut method, mut url, mut headers) = ("GET".to_owned(), String::new(), Vec::new());
        for pair in form.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (name, unescaped(value)) {
                ("method", value) => method = value,
                ("url", value) => url = value,
                ("header", value) => headers.push(value),
                (other, _) => {
                    let said = format!("{other:?} is not asked for; method, url and header are\n");
                    return text(StatusCode::BAD_REQUEST, &said);
                }
            }
        }
        match self.explained(&method, &url, &headers) {
            Ok(answer) => json(&answer),
            Err(message) => text(StatusCode::BAD_REQUEST, &format!("{message}\n")),
        }
    }

    /// Why a request goes where it goes; an error is a question that makes no sense.
    pub(super) fn explained(&self, method: &str, url: &str, headers: &[String]) -> Result<Answer, String> {
        let asked = Asked::read(method, url, headers)?;
        let active = self.active.load();
        let facts = Facts {
            snapshot: &active.snapshot,
            revision: active.revision.short(),
            source: "live",
            paths: self.paths,
            other_server: self.other_server,
            opened: opened(&active).map(|(port, _, to)| (to.port(), port)).collect(),
            upstreams: Some(&active.upstreams),
        };
        Ok(Answer::of(&facts, &asked))
    }
}

/// The open ports: the Gateway's, where it is asked for, and what was opened for it.
fn opened(active: &Active) -> impl Iterator<Item = (u16, String, std::net::SocketAddr)> {
    active.bound.iter().filter_map(|(address, index)| {
        let listener = active.snapshot.listeners.get(*index)?;
        Some((listener.key.port, listener.origin.to_string(), *address))
    })
}

fn config(active: &Active) -> serde_json::Value {
    let listeners: Vec<serde_json::Value> = opened(active)
        .zip(active.bound.iter().filter_map(|(_, index)| active.snapshot.listeners.get(*index)))
        .map(|((port, origin, address), listener)| {
            let hosts: Vec<_> = listener.all_virtual_hosts().collect();
            let routes: usize = hosts.iter().map(|host| host.routes.len()).sum();
            json!({
                "port": port,
                "address": address.to_string(),
                "origin": origin,
                "hosts": hosts.len(),
                "protocol": listener.speaks(),
                "routes": routes,
            })
        })
        .collect();
    json!({
        "revision": active.revision.short(),
        "objects": active.snapshot.objects,
        "routes": active.snapshot.routes,
        "clusters": active.snapshot.clusters.len(),
        "listeners": listeners,
    })
}

/// The body of a request, as text.
async fn form(session: &mut ServerSession) -> Result<String, Box<Response<Vec<u8>>>> {
    let refused = |status, why: &str| Err(Box::new(text(status, why)));
    let mut body = Vec::new();
    loop {
        match session.read_request_body().await {
            Ok(Some(part)) if body.len() + part.len() > LONGEST_FORM => {
                return refused(StatusCode::PAYLOAD_TOO_LARGE, "the form is too long\n");
            }
            Ok(Some(part)) => body.extend_from_slice(&part),
            Ok(None) => break,
            Err(_) => return refused(StatusCode::BAD_REQUEST, "the form is not whole\n"),
        }
    }
    String::from_utf8(body).or_else(|_| refused(StatusCode::BAD_REQUEST, "the form is not UTF-8\n"))
}

/// A value of a form: `+` is a space, `%20` too.
pub(super) fn unescaped(value: &str) -> String {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [byte, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (byte, digits.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(said)) => {
                out.push(said);
                rest = after.get(2..).unwrap_or_default();
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
        rest = after;
    }
    String::from_utf8_lossy(&out).into_owned()
}

pub(super) fn json(value: &impl serde::Serialize) -> Response<Vec<u8>> {
    match serde_json::to_vec_pretty(value) {
        Ok(body) => answer(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}
