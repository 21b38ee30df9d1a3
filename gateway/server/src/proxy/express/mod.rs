//! The express lane: requests that need nothing special, relayed by our own code.
//!
//! A request through Pingora's proxy costs several times what its bytes do, in copies of heads, channels and tasks. Most
//! requests need none of that. One comes here whole and judged (`listener/head`); whether it may go on here is known from
//! its head and its route, before anything has happened that can not be taken back: no turn was taken, nothing was counted.
//! If not, it is left as it came, and Pingora reads it as if nobody had looked. A stream of HTTP/2 comes as Pingora's session,
//! whose connection it goes on driving.
//!
//! Everything that decides is the other lane's: `turn`, `identity`, `retry`, `steps`, `outcome`, `Ctx`. What is here is
//! framing: whose bytes are whose, and when a connection may be used again.
//!
//! ```text
//! head, or stream ─▶ take ─┬─ left unread ─▶ Pingora
//!                           └─ Taken ─▶ run ─▶ upload ─▶ upstream ─▶ answer ─▶ client (http1, http2)
//!                                       └───◀─ pool ◀───────┘
//! ```
//! Left to Pingora are: HTTP/1.0, bodies of HTTP/2 of a length that is not told, upgrades, `CONNECT`, `Expect`, gRPC, questions
//! (`x-trysail-explain`), malformed targets, fields that are refused, and requests with more behind them; routes with faults or
//! mirrors; clusters with TLS or HTTP/2 (that of clients too, for those who speak it); and everything where traces are recorded.

mod answer;
mod door;
mod downstream;
mod head;
mod http1;
mod http2;
mod pool;
mod run;
mod upload;
mod waits;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pingora_core::protocols::http::v2::server::HttpSession;
use pingora_http::RequestHeader;
use prometheus::IntCounter;
use tokio::io::AsyncWrite;
use trysail_edge::chunks::Chunks;
use trysail_edge::head::Plain;
use trysail_routing::snapshot::{Action, Route};

use super::ctx::Ctx;
use super::noted::Noted;
use super::reply::Answer;
use super::turn::{self, Turn};
use super::view::{self, Ends};
use super::{Active, Connection, Gateway, grpc, identity, target};
use http1::Http1;
use http2::Http2;
use identity::Identity;
use pool::Pool;

/// A request's future; it ends with whether its connection is kept.
type Request<'r> = Pin<Box<dyn Future<Output = bool> + Send + 'r>>;

/// A client's connection of HTTP/1, as far as this lane needs it. What is written is flushed as ever.
pub(crate) trait Client: AsyncWrite + Unpin + Send {
    /// What was read ahead.
    fn pending(&self) -> &[u8];
    /// Forgets the first bytes of what was read ahead.
    fn skip(&mut self, bytes: usize);
    /// Reads ahead, once; 0 is the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>>;
    /// Writes without gathering.
    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;
    /// Its client's address, and ours.
    fn ends(&self) -> (Option<SocketAddr>, Option<SocketAddr>);
}

/// The lane.
pub(crate) struct Express {
    gateway: Arc<Gateway>,
    pool: Arc<Pool>,
    served: IntCounter,
}

/// A request that may be this lane's.
struct Asked {
    request: RequestHeader,
    identity: Identity,
    hops: bool,
    plain: Plain,
}

/// A request that is this lane's from here on.
struct Taken {
    request: RequestHeader,
    /// It has fields that are its connection's.
    hops: bool,
    plain: Plain,
    ends: Ends,
    ctx: Ctx,
    turn: Result<Turn, Answer>,
}

impl Express {
    /// The lane of this data plane, with at most so many connections that wait, and requests counted in `served`.
    pub(crate) fn new(gateway: Arc<Gateway>, idle: usize, served: IntCounter) -> Self {
        Express { gateway, pool: Arc::new(Pool::new(idle)), served }
    }

    /// Begins the request whose head are the first bytes that were read ahead, if it may go on here; else nothing has
    /// happened. It ends with whether its connection is kept.
    ///
    /// The future is made here, on the heap: a connection without a request has no place for it.
    #[inline(never)]
    pub(crate) fn begin<'r, C: Client>(
        &'r self,
        client: &'r mut C,
        length: usize,
        plain: Plain,
        connection: &Arc<Connection>,
    ) -> Option<Request<'r>> {
        let asked = self.read(client, length, plain, connection)?;
        let ends = || {
            let (client, local) = client.ends();
            Ends { client, local }
        };
        let taken = self.take(asked, None, connection, ends)?;
        client.skip(length);
        Some(on_the_heap(run::run(self, Http1(client), taken)))
    }

    /// The same of a stream of HTTP/2. It ends once its session is dropped.
    #[inline(never)]
    pub(crate) fn begin_stream<'r>(
        &'r self,
        session: &'r mut HttpSession,
        connection: &Arc<Connection>,
    ) -> Option<Request<'r>> {
        let asked = self.read_stream(session, connection)?;
        let taken = self.take(asked, Some(session.req_header()), connection, || http2::ends(session))?;
        let time = self.gateway.measures.send_time;
        let client = Http2::new(session, connection.flow.clone(), time);
        Some(on_the_heap(run::run(self, client, taken)))
    }

    fn read<C: Client>(
        &self,
        client: &C,
        length: usize,
        plain: Plain,
        connection: &Connection,
    ) -> Option<Asked> {
        let gateway = &*self.gateway;
        if gateway.traces.is_some() || is_followed(client.pending().get(length..)?, plain) {
            return None;
        }
        let head::Head { mut parts, target, hops } =
            head::read(client.pending().get(..length)?, gateway.paths)?;
        if grpc::speaks(&parts.headers) {
            return None;
        }
        gateway.measures.take(target, parts.headers.len(), || plain.length).ok()?;
        let identity = identity::tell(&mut parts, connection);
        Some(Asked { request: RequestHeader::from(parts), identity, hops, plain })
    }

    fn read_stream(&self, session: &HttpSession, connection: &Connection) -> Option<Asked> {
        let (gateway, came) = (&*self.gateway, session.req_header());
        if gateway.traces.is_some() || grpc::speaks(&came.headers) {
            return None;
        }
        let (mut parts, plain) = http2::read(session)?;
        gateway.measures.take(came.raw_path().len(), came.headers.len(), || plain.length).ok()?;
        let hops = head::has_hops(&parts.headers);
        let identity = identity::tell(&mut parts, connection);
        let mut request = RequestHeader::from(parts);
        target::make_canonical(&mut request, gateway.paths).ok()?;
        Some(Asked { request, identity, hops, plain })
    }

    /// Finds a request's way, and takes its turn where this lane can go it. `came` is its head as it came, where its
    /// connection does not know how long that was.
    fn take(
        &self,
        asked: Asked,
        came: Option<&RequestHeader>,
        connection: &Arc<Connection>,
        ends: impl FnOnce() -> Ends,
    ) -> Option<Taken> {
        let gateway = &*self.gateway;
        let Asked { request, identity, hops, plain } = asked;
        let active = gateway.active.load_full();
        let scheme = identity.scheme.unwrap_or_else(|| connection.scheme());
        let asked = view::of_head(&request, scheme);
        let found = turn::find(&active, Some(connection), asked, scheme, gateway.other_server);
        if let Ok((_, route, _)) = &found
            && !is_plain(&active, route, came.is_some())
        {
            return None;
        }
        // From here on it is ours.
        self.served.inc();
        let mut ctx = Ctx::new(active.clone(), Some(connection.clone()));
        ctx.take_head(came.unwrap_or(&request));
        ctx.identity = identity;
        let ends = ends();
        if let Some(log) = &gateway.access {
            let mut noted = Noted::of(log, &request, plain.length == Some(0), ends, identity.client);
            if let Ok((_, route, _)) = &found {
                noted.took(route);
            }
            ctx.noted = Some(noted);
        }
        let turn = found.and_then(|(listener, route, block)| {
            ctx.handling.clone_from(&route.handling);
            match turn::preflight(route, &asked) {
                None => turn::take(&active, listener, route, block, &asked),
                Some(answer) => Err(answer),
            }
        });
        Some(Taken { request, hops, plain, ends, ctx, turn })
    }
}

/// All of it is moved to the heap for each request.
fn on_the_heap<'r>(request: impl Future<Output = bool> + Send + 'r) -> Request<'r> {
    let request = Box::pin(request);
    debug_assert!(size_of_val(&*request) <= 8 * 1024, "{} B", size_of_val(&*request));
    request
}

/// Whether there is more than the request. Pingora says what becomes of that, as ever.
fn is_followed(behind: &[u8], plain: Plain) -> bool {
    match plain.length {
        Some(length) => behind.len() as u64 > length,
        None => !matches!(Chunks::default().pass(behind, |_| ()), Ok(None | Some([]))),
    }
}

/// Whether a route does no more than answer, or forward, to any of its targets, which may choose by whether the client speaks
/// HTTP/2.
fn is_plain(active: &Active, route: &Route, http2: bool) -> bool {
    let targets = match &route.action {
        Action::Forward(split) => &split.targets[..],
        Action::Redirect(_) | Action::Respond(_) => &[],
    };
    let handled = route.handling.as_ref();
    handled.is_none_or(|does| does.fault.is_none() && does.mirrors.is_empty())
        && targets.iter().all(|target| active.peers.is_plain(target.cluster, http2))
}
