//! How long a request may take in all, and who ends it when that is over.
//!
//! Pingora has no such time. Towards an answer's head, each read is given what is left, and what it ends with is a
//! 504; once the head has gone out nothing can be said any more, so whatever serves the request is dropped: HTTP/1's
//! connection, or HTTP/2's stream. The dropping is done from outside, by a future around Pingora's, which learns the
//! time through a cell that is only filled while it polls: a task-local would be an allocation for each request, and
//! a request's own memory can not be reached from there. What is dropped counts itself (`Ctx`).

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::ShutdownWatch;
use pingora_core::upstreams::peer::PeerOptions;
use pingora_proxy::HttpProxy;
use trysail_routing::snapshot::Handling;

use trysail_edge::Reason;

use super::alarm::Alarm;
use super::express::Express;
use super::gateway::Shared;
use crate::metrics::{Cut, Edge, RefusedRequests};

/// So much later a request is dropped that has no answer yet: its 504 comes first.
const GRACE: Duration = Duration::from_secs(1);

thread_local! {
    /// When the request ends that is being polled.
    static END: Cell<Option<Instant>> = const { Cell::new(None) };
    /// When its client has to have said more of its body.
    static PAUSE: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Whether the request that is being polled has come to us.
    static MET: Cell<bool> = const { Cell::new(false) };
}

/// A request has come to us: Pingora has read it, and found nothing wrong with it.
pub(super) fn met() {
    MET.set(true);
}

/// One request's time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deadline {
    limit: Option<Duration>,
    end: Option<Instant>,
}

impl Deadline {
    /// The time that a request has; `grpc` is what it asks for. Envoy: gRPC's own is honoured, as far as the route's timeout lets it.
    pub(super) fn of(handling: Option<&Handling>, grpc: Option<Duration>) -> Self {
        let route = handling.and_then(|handling| handling.timeout);
        let limit = match (grpc.filter(|time| !time.is_zero()), route) {
            (Some(own), Some(route)) => Some(own.min(route)),
            (own, route) => own.or(route),
        };
        Deadline { limit, end: None }
    }

    /// Begins: the request has come whole. Nothing the second time.
    pub(super) fn begin(&mut self) {
        if let (Some(limit), None) = (self.limit, self.end) {
            // A time beyond all times is none.
            self.end = Instant::now().checked_add(limit);
            END.set(self.end.and_then(|end| end.checked_add(GRACE)));
        }
    }

    /// The answer's head goes out: from now on it ends to the point.
    pub(super) fn answered(&self) {
        if let Some(end) = self.end {
            END.set(Some(end));
        }
    }

    /// The connection is the two sides' own from now on.
    pub(super) fn forget(&mut self) {
        *self = Deadline::default();
        END.set(None);
    }

    /// Whether it is over. Timers of ours may be early by a little.
    pub(super) fn is_over(&self) -> bool {
        const EARLY: Duration = Duration::from_millis(2);
        self.end.is_some_and(|end| Instant::now() + EARLY >= end)
    }

    /// What is left; `None` for ever.
    pub(super) fn left(&self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now())).or(self.limit)
    }

    /// How long one try may take to its answer's head.
    pub(super) fn soonest(&self, per_try: Option<Duration>) -> Option<Duration> {
        soonest([self.left(), per_try])
    }

    /// When it is over; `None` for never, or where it has not begun.
    pub(super) fn end(&self) -> Option<Instant> {
        self.end
    }

    /// Limits one try, which may take `per_try` to its answer's head. The head of a WebSocket's answer can not be
    /// waited for with a limit that does not hold for all that comes after it.
    pub(super) fn cap(&self, options: &mut PeerOptions, per_try: Option<Duration>, upgrade: bool) {
        let time = self.soonest(per_try);
        if time.is_some() {
            options.total_connection_timeout = soonest([options.total_connection_timeout, time]);
        }
        if !upgrade {
            options.read_timeout = soonest([options.read_timeout, time]);
        }
    }
}

fn soonest(times: [Option<Duration>; 2]) -> Option<Duration> {
    times.into_iter().flatten().min()
}

/// How long a request's body may pause, where Pingora does not see to that: in HTTP/2. It ends with the body, or once the
/// answer has begun: two streams side by side pause as they like.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pause {
    time: Option<Duration>,
    end: Option<Instant>,
}

impl Pause {
    /// A body that may pause for so long; its first pause begins.
    pub(super) fn begin(time: Duration) -> Self {
        let mut pause = Pause { time: Some(time), end: None };
        pause.heard();
        pause
    }

    /// More of it has come.
    pub(super) fn heard(&mut self) {
        if let Some(time) = self.time {
            self.end = Instant::now().checked_add(time);
            PAUSE.set(self.end);
        }
    }

    /// It may pause for ever.
    pub(super) fn end(&mut self) {
        if self.time.is_some() {
            *self = Pause::default();
            PAUSE.set(None);
        }
    }

    /// Whether it lasted too long.
    pub(super) fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }
}

/// The proxy, with a limit to each request that sets one.
pub(crate) struct Timed {
    pub(crate) proxy: Arc<HttpProxy<Shared>>,
    /// The lane beside it, where that is open.
    pub(crate) express: Option<Arc<Express>>,
    /// Where those are counted whose body pauses for too long.
    pub(crate) edge: Arc<Edge>,
    /// Where those are counted that Pingora refuses before anyone here is asked. With which status it does not tell.
    pub(crate) refused: RefusedRequests,
}

impl Timed {
    /// Begins a request.
    pub(crate) fn begin<'p>(
        self: &'p Arc<Self>,
        session: ServerSession,
        shutdown: &'p ShutdownWatch,
    ) -> Limited<'p> {
        Limited {
            inner: begin(&self.proxy, session, shutdown),
            timed: self,
            shutdown,
            met: false,
            end: None,
            pause: None,
            alarm: Alarm::default(),
        }
    }
}

#[async_trait]
impl HttpServerApp for Timed {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.begin(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options()
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

type Request<'a> = Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'a>>;

/// Pingora's future for a request. Inlined into a future of ours it would be built on the stack and then moved to the
/// heap, 14 KB for each request.
#[inline(never)]
fn begin<'a>(
    proxy: &'a Arc<HttpProxy<Shared>>,
    session: ServerSession,
    shutdown: &'a ShutdownWatch,
) -> Request<'a> {
    let request = proxy.process_new_http(session, shutdown);
    // All of it is moved to the heap for each request, and is there as long as that lasts.
    debug_assert!(size_of_val(&*request) <= 15 * 1024, "{} B", size_of_val(&*request));
    request
}

/// A request that is dropped when its time is over.
pub(crate) struct Limited<'p> {
    inner: Request<'p>,
    timed: &'p Timed,
    shutdown: &'p ShutdownWatch,
    met: bool,
    end: Option<Instant>,
    pause: Option<Instant>,
    alarm: Alarm,
}

impl Future for Limited<'_> {
    type Output = Option<ReusedHttpStream>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        END.set(self.end);
        PAUSE.set(self.pause);
        MET.set(self.met);
        let polled = self.inner.as_mut().poll(context);
        (self.end, self.pause, self.met) = (END.take(), PAUSE.take(), MET.take());
        if let Poll::Ready(kept) = polled {
            // Its head has come whole, so nothing else can have been wrong; but a request is dropped unread where the process ends.
            if kept.is_none() && !self.met && !*self.shutdown.borrow() {
                self.timed.refused.count(Reason::Unreadable);
            }
            return Poll::Ready(kept);
        }
        let Some(due) = [self.end, self.pause].into_iter().flatten().min() else {
            self.alarm.off();
            return Poll::Pending;
        };
        let ends_pause = self.pause == Some(due);
        ready!(self.alarm.poll(context, due));
        if ends_pause {
            self.timed.edge.cut(Cut::BodyTime);
        }
        Poll::Ready(None)
    }
}
