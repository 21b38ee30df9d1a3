//! The life of a request, phase by phase. Each phase is a few lines that call a room.
//!
//! ```text
//! new_ctx ─▶ request_filter ─▶ upstream_peer ─▶ upstream_request_filter ─▶ response_filter ─▶ logging
//! revision   route, turn,      connection       forwarded fields           server field      status
//!            endpoint                 └────────── fail_to_connect, fail_to_proxy: an answer in Envoy's words
//! ```
//! Whatever can be refused is refused in `request_filter`: an error after it costs the client its connection.

pub(crate) mod active;
mod ctx;
mod explained;
mod headers;
mod outcome;
mod peer;
mod reply;
mod target;
mod transform;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use trysail_routing::decide::{Decision, Request, decide};
use trysail_routing::path::Normalization;
use trysail_routing::snapshot::{Action, ClusterId, Transform};

use crate::settings::Cidr;
pub(crate) use active::{Active, ActiveCell};
pub(crate) use ctx::Ctx;
use explained::Explained;
pub(crate) use headers::Server;
pub(crate) use peer::{PeerTimes, Peers};
use reply::Answer;

/// The data plane: what is in force, and how answers are signed.
pub(crate) struct Gateway {
    pub(crate) active: ActiveCell,
    pub(crate) server: Server,
    /// Set once the process ends.
    pub(crate) draining: Arc<AtomicBool>,
    /// How paths are made canonical.
    pub(crate) normalization: Normalization,
    /// Whose requests are told in the answer where they went.
    pub(crate) explain_from: Vec<Cidr>,
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::new(self.active.load_full())
    }

    /// Pingora's own compression module is not ours to offer, and costs allocations where it is off.
    fn init_downstream_modules(&self, _: &mut pingora_core::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        if explained::asked(session, &self.explain_from) {
            ctx.explained = Some(Box::default());
        }
        let canonical = target::make_canonical(session.req_header_mut(), self.normalization);
        let turn = canonical.and_then(|()| turn(&ctx.active, session, ctx.explained.as_deref_mut()));
        let mut answer = match turn {
            Err(answer) => answer,
            Ok(turn) => {
                (ctx.cluster, ctx.transform, ctx.path) = (Some(turn.cluster), turn.transform, turn.path);
                if ctx.choose_endpoint() {
                    return Ok(false);
                }
                Answer { response: ctx.response_ops().to_vec(), ..Answer::NO_ENDPOINT }
            }
        };
        answer.response.extend(explained::fields(ctx));
        ctx.flag = answer.flag;
        if answer.close || self.draining.load(Ordering::Acquire) {
            session.set_keepalive(None);
        }
        reply::send(session, &answer, &self.server).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        ctx.tries += 1;
        if ctx.tries > 1 && !ctx.choose_endpoint() {
            return Err(Error::new(ErrorType::ConnectNoRoute));
        }
        let (Some(cluster), Some(endpoint)) = (ctx.cluster, ctx.endpoint) else {
            return Err(Error::new(ErrorType::ConnectNoRoute));
        };
        Ok(Box::new(ctx.active.peers.get(cluster, endpoint).clone()))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        headers::forwarded(session, request)?;
        match &ctx.transform {
            Some(transform) => transform::request(transform, ctx.path.as_deref(), request),
            None => Ok(()),
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if self.draining.load(Ordering::Acquire) {
            session.set_keepalive(None);
        }
        self.server.put(response)?;
        transform::response(ctx.response_ops(), response)?;
        transform::response(explained::fields(ctx).as_slice(), response)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Ctx) -> FailToProxy {
        let outcome = outcome::of(error);
        ctx.flag = outcome.flag;
        let begun = session.response_written().is_some_and(|response| !response.status.is_informational());
        if outcome.status > 0 && !begun {
            session.set_keepalive(None);
            let response = ctx.response_ops().iter().cloned().chain(explained::fields(ctx)).collect();
            let answer =
                Answer { status: outcome.status, body: outcome.body().into(), response, ..Answer::EMPTY };
            let _ = reply::send(session, &answer, &self.server).await;
        }
        FailToProxy { error_code: outcome.status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, ctx: &mut Ctx) {
        ctx.status = session.response_written().map_or(0, |response| response.status.as_u16());
    }

    /// What went wrong is in the metrics, by flag; a line for each request would be a second, slower failure.
    fn suppress_error_log(&self, _: &Session, _: &Ctx, _: &Error) -> bool {
        true
    }
}

/// Whose turn it was, and what is changed on the way there.
struct Turn {
    cluster: ClusterId,
    transform: Option<Arc<Transform>>,
    path: Option<String>,
}

/// Listener, host, route, turn: where a request goes, or the answer it gets here.
fn turn(active: &Active, session: &Session, explained: Option<&mut Explained>) -> Result<Turn, Answer> {
    let local = session.server_addr().and_then(|address| address.as_inet());
    let listener = local.and_then(|local| active.listener(*local)).ok_or(Answer::PORT_GONE)?;
    let head = session.req_header();
    let request = Request {
        authority: authority(head),
        method: head.method.as_str(),
        scheme: head.uri.scheme_str().unwrap_or("http"),
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
    };
    let Decision::Route(route, block) = decide(listener, &request, &mut ()) else {
        return Err(Answer::NO_ROUTE);
    };
    if let Some(explained) = explained {
        explained.took(route);
    }
    let split = match &route.action {
        Action::Forward(split) => split,
        Action::Redirect(redirect) => {
            let location = redirect.location(&request, block, listener.key.port);
            return Err(Answer {
                status: redirect.status,
                location,
                response: route.answers.clone(),
                ..Answer::EMPTY
            });
        }
        Action::Respond(response) => {
            let body = response.body.to_string().into();
            return Err(Answer {
                status: response.status,
                body,
                response: route.answers.clone(),
                ..Answer::EMPTY
            });
        }
    };
    let target = &split.targets[active.upstreams.ticket(split.id).take(split)];
    let transform = target.transform.clone();
    if active.snapshot.cluster(target.cluster).service.is_none() {
        let response = transform.map_or_else(Vec::new, |transform| transform.response.clone());
        return Err(Answer { response, ..Answer::NO_CLUSTER });
    }
    let rewrite = transform.as_ref().and_then(|transform| transform.path.as_ref());
    let path = rewrite.and_then(|rewrite| rewrite.apply(request.path, block));
    Ok(Turn { cluster: target.cluster, transform, path })
}

/// The authority of a request: the target's where it has one (HTTP/2, absolute form), else `Host`.
fn authority(head: &RequestHeader) -> &str {
    match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or(""),
    }
}
