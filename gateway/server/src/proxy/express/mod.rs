//! The express lane: requests of HTTP/1 that need nothing special, relayed by our own code.
//!
//! A request through Pingora's proxy costs several times what its bytes do, in copies of heads, channels and tasks. Most
//! requests need none of that. One comes here whole and judged (`listener/head`); whether it may go on here is known from
//! its head and its route, before anything has happened that can not be taken back: no turn was taken, nothing was counted.
//! If not, it is left as it came, and Pingora reads it as if nobody had looked.
//!
//! Everything that decides is the other lane's: `turn`, `identity`, `retry`, `steps`, `outcome`, `Ctx`. What is here is
//! framing: whose bytes are whose, and when a connection may be used again.
//!
//! ```text
//! head ─▶ take ─┬─ left unread ─▶ Pingora
//!               └─ Taken ─▶ run ─▶ upload ─▶ upstream ─▶ answer ─▶ client
//!                           └───◀─ pool ◀───────┘
//! ```
//! Left to Pingora are: other versions, upgrades, `Expect`, gRPC, questions (`x-trysail-explain`),
//! malformed targets; routes with faults or mirrors; clusters with TLS or HTTP/2; and everything where traces are recorded.

mod answer;
mod door;
mod head;
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
use super::{Active, Connection, Gateway, grpc, identity};
use pool::Pool;

/// A client's connection, as far as this lane needs it. What is written is flushed as ever.
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

/// A request that is this lane's from here on.
struct Taken {
    request: RequestHeader,
    /// It has fields that are its connection's.
    hops: bool,
    /// How long its head is, where it stands.
    length: usize,
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
    ) -> Option<Pin<Box<dyn Future<Output = bool> + Send + 'r>>> {
        let taken = self.take(client, length, plain, connection)?;
        let request = Box::pin(run::run(self, client, taken));
        // All of it is moved to the heap for each request.
        debug_assert!(size_of_val(&*request) <= 8 * 1024, "{} B", size_of_val(&*request));
        Some(request)
    }

    fn take<C: Client>(
        &self,
        client: &C,
        length: usize,
        plain: Plain,
        connection: &Arc<Connection>,
    ) -> Option<Taken> {
        let gateway = &*self.gateway;
        if gateway.traces.is_some() || is_followed(client.pending().get(length..)?, plain) {
            return None;
        }
        let head::Head { mut parts, target, hops } =
            head::read(client.pending().get(..length)?, gateway.paths)?;
        if grpc::speaks(&parts.headers)
            || gateway.measures.take(target, parts.headers.len(), || plain.length).is_err()
        {
            return None;
        }
        let identity = identity::tell(&mut parts, connection);
        let request = RequestHeader::from(parts);
        let active = gateway.active.load_full();
        let scheme = identity.scheme.unwrap_or_else(|| connection.scheme());
        let asked = view::of_head(&request, scheme);
        let found = turn::find(&active, Some(connection), asked, scheme, gateway.other_server);
        if let Ok((_, route, _)) = &found
            && !is_plain(&active, route)
        {
            return None;
        }
        // From here on it is ours.
        self.served.inc();
        let mut ctx = Ctx::new(active.clone(), Some(connection.clone()));
        ctx.take_head(&request);
        ctx.identity = identity;
        let (client, local) = client.ends();
        let ends = Ends { client, local };
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
        Some(Taken { request, hops, length, plain, ends, ctx, turn })
    }
}

/// Whether there is more than the request. Pingora says what becomes of that, as ever.
fn is_followed(behind: &[u8], plain: Plain) -> bool {
    match plain.length {
        Some(length) => behind.len() as u64 > length,
        None => !matches!(Chunks::default().pass(behind, |_| ()), Ok(None | Some([]))),
    }
}

/// Whether a route does no more than forward, to any of its targets, or answer.
fn is_plain(active: &Active, route: &Route) -> bool {
    let targets = match &route.action {
        Action::Forward(split) => &split.targets[..],
        Action::Redirect(_) | Action::Respond(_) => &[],
    };
    let handled = route.handling.as_ref();
    handled.is_none_or(|does| does.fault.is_none() && does.mirrors.is_empty())
        && targets.iter().all(|target| active.peers.is_plain(target.cluster))
}
