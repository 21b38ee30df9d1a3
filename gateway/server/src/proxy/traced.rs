//! The spans of one request whose trace is recorded: its own, and one for each try, which is what its upstream is told.
//!
//! Envoy and Istio believe a client's `traceparent` from anywhere, and so does this: it says nothing of who a request is
//! from. Whether it is recorded is for whoever began the trace.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, Method, Version};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use trysail_routing::snapshot::Route;

use super::ctx::Ctx;
use super::{headers, view};
use crate::metrics::{Ended, Flags};
use crate::trace::context::{Context, TRACEPARENT, TRACESTATE, span_id};
use crate::trace::{Attribute, Kind, Span, Spans, address, nanoseconds};

/// Where spans go.
pub(crate) type Traces = Arc<Spans>;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A text of a client's is cut behind this.
const LONGEST: usize = 1024;

/// One request.
pub(super) struct Traced {
    spans: Traces,
    context: Context,
    parent: Option<u64>,
    state: String,
    start: SystemTime,
    begun: Instant,
    method: Method,
    /// What is known of it from its head.
    attributes: Vec<(&'static str, Attribute)>,
    route: Option<Arc<Route>>,
    tries: Vec<Try>,
}

/// One try.
struct Try {
    span: u64,
    attempt: u32,
    endpoint: SocketAddr,
    start: Duration,
    end: Option<Duration>,
    /// 0 for no answer.
    status: u16,
    error: Option<&'static str>,
}

impl Traced {
    /// A request whose trace is recorded. One that brings no trace begins one, and is told so that its upstreams need not.
    pub(super) fn of(
        spans: &Traces,
        session: &mut Session,
        start: SystemTime,
        scheme: &'static str,
    ) -> Option<Box<Self>> {
        let head = session.req_header_mut();
        let brought = Context::read(&head.headers);
        let context = brought.unwrap_or_else(|| spans.begin());
        if brought.is_none() {
            headers::take_off(head, &TRACESTATE);
            if !context.sampled {
                head.insert_header(TRACEPARENT.clone(), context.value()).ok()?;
            }
        }
        if !context.sampled {
            return None;
        }
        let (context, parent) = match brought {
            Some(_) => (Context { span: span_id(), ..context }, Some(context.span)),
            None => (context, None),
        };
        let head = session.req_header();
        let mut attributes = vec![
            ("http.request.method", head.method.as_str().into()),
            ("url.path", text(head.raw_path().split(|byte| *byte == b'?').next().unwrap_or_default())),
            ("url.scheme", scheme.into()),
            ("server.address", text(view::authority(head).as_bytes())),
            ("network.protocol.version", version(head.version).into()),
        ];
        let told = [("user_agent.original", &USER_AGENT), ("guid:x-request-id", &REQUEST_ID)];
        let told =
            told.into_iter().filter_map(|(key, name)| Some((key, text(head.headers.get(name)?.as_bytes()))));
        attributes.extend(told);
        if let Some(client) = session.client_addr().and_then(|client| client.as_inet()) {
            attributes.push(("client.address", Attribute::Text(client.ip().to_string())));
        }
        Some(Box::new(Traced {
            spans: spans.clone(),
            context,
            parent,
            state: state(&head.headers),
            start,
            begun: Instant::now(),
            method: head.method.clone(),
            attributes,
            route: None,
            tries: Vec::new(),
        }))
    }

    /// The route that took it.
    pub(super) fn took(&mut self, route: &Arc<Route>) {
        self.route = Some(route.clone());
    }

    /// A try begins.
    pub(super) fn begin(&mut self, attempt: u32, endpoint: SocketAddr) {
        let start = self.begun.elapsed();
        self.end(None);
        self.tries.push(Try { span: span_id(), attempt, endpoint, start, end: None, status: 0, error: None });
    }

    /// Tells the upstream whose call this is.
    pub(super) fn put(&self, request: &mut RequestHeader) -> Result<()> {
        let span = self.tries.last().map_or(self.context.span, |one| one.span);
        request.insert_header(TRACEPARENT.clone(), Context { span, ..self.context }.value())
    }

    /// The head of an answer came.
    pub(super) fn answered(&mut self, status: u16) {
        if let Some(one) = self.tries.last_mut() {
            one.status = status;
        }
    }

    /// The try failed; of an answer that is not wanted its status says how.
    pub(super) fn failed(&mut self, error: &Error) {
        let unwanted = matches!(error.etype, ErrorType::HTTPStatus(_));
        self.end((!unwanted).then(|| error.etype().as_str()));
    }

    fn end(&mut self, error: Option<&'static str>) {
        let now = self.begun.elapsed();
        if let Some(one) = self.tries.last_mut() {
            one.end.get_or_insert(now);
            one.error = one.error.or(error);
        }
    }

    /// Hands on the spans of a request that is over.
    pub(super) fn tell(mut self, ctx: &Ctx, ended: &Ended) {
        self.end(None);
        let cluster = ctx.cluster.map(|cluster| &ctx.active.snapshot.cluster(cluster).key);
        let subset = cluster.map(|key| &*key.subset).filter(|subset| !subset.is_empty());
        let method = name_of(&self.method);
        let at = |after: Duration| nanoseconds(self.start + after);
        let mut spans = Vec::with_capacity(self.tries.len() + 1);
        for one in &self.tries {
            let mut attributes = vec![("http.request.method", self.method.as_str().into())];
            attributes.extend(address(one.endpoint));
            attributes.extend((one.status > 0).then(|| ("http.response.status_code", one.status.into())));
            attributes.extend(one.error.map(|error| ("error.type", error.into())));
            attributes.extend(subset.map(|subset| ("trysail.subset", subset.into())));
            attributes.push(("trysail.attempt", one.attempt.into()));
            spans.push(Span {
                context: Context { span: one.span, ..self.context },
                parent: Some(self.context.span),
                state: self.state.clone(),
                kind: Kind::Client,
                name: method.to_owned(),
                start: at(one.start),
                end: at(one.end.unwrap_or(ended.duration)),
                attributes,
                failed: one.error.is_some() || one.status == 0 || one.status >= 400,
            });
        }
        let name = match &self.route {
            Some(route) => format!("{method} {}", route.name),
            None => method.to_owned(),
        };
        let (start, end) = (at(Duration::ZERO), at(ended.duration));
        let mut attributes = self.attributes;
        attributes.extend((ended.status > 0).then(|| ("http.response.status_code", ended.status.into())));
        attributes.extend(self.route.map(|route| ("trysail.route", (&*route.name).into())));
        attributes.extend(subset.map(|subset| ("trysail.subset", subset.into())));
        attributes.push(("trysail.revision", ctx.active.revision.short().into()));
        attributes.push(("trysail.attempts", ctx.tries.into()));
        if ended.flags != Flags::default() {
            attributes.push(("trysail.response_flags", Attribute::Text(ended.flags.text())));
        }
        spans.push(Span {
            context: self.context,
            parent: self.parent,
            state: self.state,
            kind: Kind::Server,
            name,
            start,
            end,
            attributes,
            failed: ended.status == 0 || ended.status >= 500,
        });
        self.spans.push(spans);
    }
}

/// A method as a span's name may have it: clients may make up others.
fn name_of(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("HTTP")
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// What a client says, as text.
fn text(bytes: &[u8]) -> Attribute {
    let bytes = bytes.get(..LONGEST).unwrap_or(bytes);
    Attribute::Text(String::from_utf8_lossy(bytes).into_owned())
}

/// Several fields are one list.
fn state(headers: &HeaderMap) -> String {
    let fields = headers.get_all(&TRACESTATE).iter().filter_map(|field| field.to_str().ok());
    fields.collect::<Vec<_>>().join(",")
}
