//! The life of a request, phase by phase. Each phase is a few lines that call a room.
//!
//! ```text
//! new_ctx ─▶ request_filter ─▶ upstream_peer ─▶ upstream_request_filter ─▶ response_filter ─▶ logging
//! revision   route, fault,     connection ◀─┐   fields, copies             fields             status
//!            CORS, turn,       time, wait   └── error_while_proxy, fail_to_connect: another try?
//!            endpoint                           fail_to_proxy: an answer in Envoy's words
//! ```
//! Whatever can be refused is refused in `request_filter`: an error after it costs the client its connection.

pub(crate) mod active;
pub(crate) mod alarm;
mod connection;
mod ctx;
pub(crate) mod deadline;
mod explained;
pub(crate) mod express;
mod fault;
pub(crate) mod flow;
mod gateway;
mod grpc;
pub(crate) mod hash;
mod headers;
mod identity;
mod limits;
mod measures;
mod messages;
pub(crate) mod mirror;
mod noted;
mod outcome;
pub(crate) mod outlier;
mod peer;
mod reply;
mod retry;
mod size;
mod steps;
pub(crate) mod stop;
mod strict;
mod target;
pub(crate) mod term;
#[cfg(feature = "otlp")]
mod traced;
#[cfg(not(feature = "otlp"))]
#[path = "untraced.rs"]
mod traced;
mod transform;
pub(crate) mod transport;
mod turn;
mod upgrade;
mod view;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

pub(crate) use active::{Active, ActiveCell, Remains};
pub(crate) use connection::{Arrival, Client, Connection, Tls};
pub(crate) use ctx::Ctx;
pub(crate) use gateway::{Gateway, Shared};
pub(crate) use headers::Server;
pub(crate) use limits::Uses;
pub(crate) use measures::Measures;
use noted::Noted;
pub(crate) use peer::{PeerTimes, Peers};
use reply::Answer;
use retry::Replay;
use traced::Traced;
pub(crate) use traced::Traces;
use upgrade::Hold;
use view::{Ends, Seen};

use crate::metrics::Flag;

#[async_trait]
impl ProxyHttp for Shared {
    /// On the heap: Pingora's future is moved when it is made, and holds it by value.
    type CTX = Box<Ctx>;

    fn new_ctx(&self) -> Box<Ctx> {
        deadline::met();
        Box::new(Ctx::new(self.active.load_full(), Connection::current()))
    }

    /// Pingora's own compression module is not ours to offer, and costs allocations where it is off.
    fn init_downstream_modules(&self, _: &mut pingora_core::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Box<Ctx>) -> Result<bool> {
        ctx.take_head(session.req_header());
        if explained::asked(session, &self.explain_from) {
            ctx.explained = Some(Box::default());
        }
        let canonical = match self.measures.begin(session, ctx) {
            Ok(()) => self.make_canonical(session.req_header_mut()),
            Err(answer) => Err(answer),
        };
        if let Some(connection) = &ctx.connection {
            ctx.identity = identity::establish(session.req_header_mut(), connection)?;
        }
        if let Some(log) = &self.access {
            let (whole, ends) = (session.as_mut().is_body_empty(), Ends::of(session));
            ctx.noted = Some(Noted::of(log, session.req_header(), whole, ends, ctx.identity.client));
        }
        if let Some(traces) = &self.traces {
            ctx.traced = Traced::of(traces, session, ctx.start, ctx.scheme());
        }
        let turn = match canonical {
            Ok(()) => turn::of(session, ctx, self.other_server).await?,
            Err(answer) => Err(answer),
        };
        if ctx.delayed {
            self.faults.delays.inc();
        }
        let answer = match turn {
            Err(answer) => answer,
            Ok(turn) => {
                let whole = session.as_mut().is_body_empty() || session.is_upgrade_req();
                let chosen = steps::turn(ctx, turn, session.req_header(), || Ends::of(session), whole);
                let entered = match chosen {
                    true => limits::enter(session, ctx).await?,
                    false => Err(Answer::NO_ENDPOINT),
                };
                match entered {
                    Ok(()) => return Ok(false),
                    Err(answer) => Answer { response: ctx.response_ops().to_vec(), ..answer },
                }
            }
        };
        if answer.flag == Flag::FaultInjected {
            self.faults.aborts.inc();
        }
        let answer = steps::refusal(ctx, answer, &session.req_header().headers);
        if answer.close || self.draining.load(Ordering::Acquire) {
            session.set_keepalive(None);
        }
        reply::send(session, ctx, &answer, &self.server).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Box<Ctx>) -> Result<Box<HttpPeer>> {
        if let Some(wait) = ctx.next.take() {
            let left = ctx.deadline.left().unwrap_or(wait);
            tokio::time::sleep(wait.min(left)).await;
            if ctx.deadline.is_over() {
                return Err(Error::new_up(ErrorType::ReadTimedout));
            }
            if !ctx.choose_another_endpoint() {
                return Err(Error::new(ErrorType::ConnectNoRoute));
            }
        }
        ctx.tries += 1;
        let (Some(cluster), Some(endpoint)) = (ctx.cluster, ctx.endpoint) else {
            return Err(Error::new(ErrorType::ConnectNoRoute));
        };
        let rewritten = || ctx.transform.as_ref()?.authority.as_ref()?.to_str().ok();
        let authority = || rewritten().unwrap_or_else(|| view::authority(session.req_header()));
        let h2 = session.req_header().version == http::Version::HTTP_2;
        let mut peer = Box::new(ctx.active.peers.peer(cluster, endpoint, authority, h2));
        ctx.deadline.cap(&mut peer.options, ctx.per_try(), session.is_upgrade_req());
        let tried = ctx.active.snapshot.cluster(cluster).endpoints.get(endpoint);
        if let (Some(traced), Some(tried)) = (&mut ctx.traced, tried) {
            traced.begin(ctx.tries, tried.address);
        }
        if ctx.wants_new_connection() {
            peer.group_key = !peer.group_key;
        }
        if session.is_upgrade_req() {
            ctx.hold.get_or_insert_default().connect(&mut peer);
        }
        Ok(peer)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Box<Ctx>,
        mut error: Box<Error>,
    ) -> Box<Error> {
        self.reached.failed();
        let limit = peer.options.total_connection_timeout;
        let failure = retry::connect_failure(limit, ctx.per_try(), &mut error);
        ctx.transport = self.transport_failure(peer, &error, ctx);
        if let Some(noted) = &mut ctx.noted {
            noted.failed_to_connect(&error);
        }
        ctx.traced.iter_mut().for_each(|traced| traced.failed(&error));
        outlier::failed(ctx, failure, false);
        error.set_retry(retry::again(Replay::of(session), ctx, failure));
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        fd: std::os::fd::RawFd,
        digest: Option<&Digest>,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        self.reached.connected(reused, fd);
        if let Some(cluster) = ctx.cluster {
            let pool = &ctx.active.snapshot.cluster(cluster).policy.connection_pool;
            ctx.last_of_connection = self.uses.is_last(pool, fd, digest) || ctx.wants_new_connection();
        }
        if let Some(noted) = &mut ctx.noted {
            noted.connected(ctx.hold.as_ref().and_then(Hold::local).or_else(|| local(digest)));
        }
        if let Some(hold) = &ctx.hold {
            hold.begin();
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        steps::change(|| Seen::of(session), session.is_upgrade_req(), request, ctx)?;
        match &mut ctx.copies {
            None => ctx.copies = Some(self.mirrors.begin(session, ctx, request)),
            Some(copies) => copies.iter_mut().for_each(mirror::Tee::rewind),
        }
        if let Some(messages) = &mut ctx.messages {
            messages.rewind();
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        last: bool,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        self.measures.body(session, ctx, body.as_ref(), last)?;
        ctx.passed.0 = session.body_bytes_read() as u64;
        if last {
            ctx.deadline.begin();
            ctx.noted.iter_mut().for_each(|noted| noted.whole());
            strict::last_piece(body);
        }
        if let Some(Some(copies)) = &mut ctx.copies {
            copies.pass(body.as_ref(), last);
        }
        if let (Some(messages), Some(piece)) = (&mut ctx.messages, body) {
            let more = messages.request(piece);
            ctx.count_messages(more, 0);
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        let (request, upgrade) = (session.req_header(), session.is_upgrade_req());
        steps::hear(ctx, &request.headers, upgrade, response, || Replay::of(session))
    }

    fn upstream_response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut http::HeaderMap,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        strict::trailers(trailers);
        if let Some(messages) = &mut ctx.messages {
            messages.hear(trailers);
        }
        Ok(())
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Box<Ctx>,
        reused: bool,
    ) -> Box<Error> {
        ctx.transport = self.transport_failure(peer, &error, ctx);
        ctx.traced.iter_mut().for_each(|traced| traced.failed(&error));
        error.set_retry(steps::failed(ctx, &error, reused, Replay::of(session)));
        error
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        if self.draining.load(Ordering::Acquire) {
            session.set_keepalive(None);
        }
        strict::old_client(session, response);
        self.sign(ctx, || Seen::of(session), &session.req_header().headers, response)?;
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            ctx.deadline.forget();
            ctx.long = Some(ctx.active.term.long());
            // Pingora's own 60 s are for a body that is being sent.
            session.as_mut().set_read_timeout(Some(self.silence).filter(|time| !time.is_zero()));
            ctx.answered();
        } else if !response.status.is_informational() {
            ctx.answered();
            ctx.status = response.status.as_u16();
            ctx.deadline.answered();
            ctx.pause.end();
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Box<Ctx>,
    ) -> Result<Option<Duration>> {
        if let (Some(messages), Some(piece)) = (&mut ctx.messages, &*body) {
            let more = messages.response(piece);
            ctx.count_messages(0, more);
        }
        let length = body.as_ref().map_or(0, Bytes::len);
        ctx.passed.1 += length as u64;
        let flow = || ctx.connection.as_ref().and_then(|connection| connection.flow.as_ref());
        if length > 0
            && let Some(flow) = flow()
        {
            flow.read(length);
        }
        Ok(None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Box<Ctx>) -> FailToProxy {
        let begun = session.response_written().is_some_and(|response| !response.status.is_informational());
        let outcome = self.outcome(ctx, error, begun);
        if outcome.status > 0 && !begun {
            session.set_keepalive(None);
            let answer = steps::apology(ctx, outcome, &session.req_header().headers);
            let _ = reply::send(session, ctx, &answer, &self.server).await;
        }
        FailToProxy { error_code: outcome.status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, ctx: &mut Box<Ctx>) {
        ctx.finish(session);
    }

    /// What went wrong is in the metrics, by flag; a line for each request would be a second, slower failure.
    fn suppress_error_log(&self, _: &Session, _: &Box<Ctx>, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Box<Ctx>, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }
}

/// Our side of a connection to an upstream.
fn local(digest: Option<&Digest>) -> Option<SocketAddr> {
    digest?.socket_digest.as_ref()?.local_addr()?.as_inet().copied()
}
