//! What one request carries from phase to phase, and gives back when it ends, however it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use trysail_routing::snapshot::{ClusterId, Fields, Handling, HeaderOps, SplitId, Transform};
use trysail_upstream::limits::{Held, Retrying};

use super::active::Active;
use super::connection::Connection;
use super::deadline::{Deadline, Pause};
use super::explained::Explained;
use super::hash::Hashed;
use super::identity::Identity;
use super::messages::Messages;
use super::mirror::Tee;
use super::noted::Noted;
use super::term::Long;
use super::traced::Traced;
use super::upgrade::Hold;
use super::view;
use super::{grpc, size, stop};
use crate::access::Details;
use crate::metrics::{Ended, Flag, Flags, Grpc};

/// So many interim answers may come before the answer.
const INTERIM: u8 = 16;

/// One request's memory. Loaded with one revision, which it keeps to its end.
pub(crate) struct Ctx {
    /// The revision.
    pub(crate) active: Arc<Active>,
    /// The connection that it came in by.
    pub(crate) connection: Option<Arc<Connection>>,
    /// What trusted hops told of its client.
    pub(super) identity: Identity,
    /// When it came.
    pub(crate) start: SystemTime,
    /// The same, by the clock that only goes forward.
    begun: Instant,
    /// The split that its route goes by, and the target whose turn it was: kept whoever answers in the end.
    pub(super) target: Option<(SplitId, usize)>,
    /// The cluster whose turn it was.
    pub(crate) cluster: Option<ClusterId>,
    /// The endpoint that was last tried.
    pub(crate) endpoint: Option<usize>,
    /// What its route does beside choosing a target; `None` for what routes do that say nothing.
    pub(crate) handling: Option<Arc<Handling>>,
    /// What its endpoint is chosen by, where that is a hash, and the cookie that keeps it.
    pub(super) hashed: Hashed,
    /// What is changed on the way there and back; `None` for nothing.
    pub(crate) transform: Option<Arc<Transform>>,
    /// The path that the target is told, where it is another.
    pub(crate) path: Option<String>,
    /// How long it may take.
    pub(super) deadline: Deadline,
    /// How long its body may pause.
    pub(super) pause: Pause,
    /// Bytes of its body so far, where they are limited.
    pub(super) body: u64,
    /// Tries so far, but for those that met a connection which was closed already.
    pub(crate) tries: u32,
    /// Those.
    pub(crate) stale: u32,
    /// The endpoints that were tried before this one.
    tried: Vec<usize>,
    /// It is tried again after this time; `None` where it is not.
    pub(crate) next: Option<Duration>,
    /// Its copies, once they are begun.
    pub(super) copies: Option<Option<Tee>>,
    /// The status that the client got; 0 until it got one.
    pub(crate) status: u16,
    /// Bytes of its body that were read, and of its answer's that were sent.
    pub(super) passed: (u64, u64),
    /// Bytes of its head, and of its answer's.
    heads: (u64, u64),
    /// What is kept of it if it speaks gRPC.
    pub(super) messages: Option<Box<Messages>>,
    /// Why the answer is what it is.
    pub(crate) flag: Flag,
    /// The same, as the access log has it.
    pub(super) details: Details,
    /// What the access log tells of it, where there is one.
    pub(super) noted: Option<Box<Noted>>,
    /// Its spans, where its trace is recorded.
    pub(super) traced: Option<Box<Traced>>,
    /// It was delayed on purpose.
    pub(crate) delayed: bool,
    /// It was tried as often as its route lets it.
    pub(crate) exhausted: bool,
    /// It would have been tried again, but for too many others that were.
    pub(crate) overflowed: bool,
    /// Interim answers so far.
    interim: u8,
    /// Why TLS failed, where the last try failed of it.
    pub(super) transport: Option<String>,
    /// Its connection carries nothing after it.
    pub(crate) last_of_connection: bool,
    /// Puts off the reading of its answer, where it asks for another protocol.
    pub(super) hold: Option<Hold>,
    /// What it holds of its cluster's ceilings.
    pub(super) held: Option<Held>,
    /// Counts it among its cluster's retries.
    pub(super) retrying: Option<Retrying>,
    /// Everything that belongs to it has been done.
    finished: bool,
    /// What the answer tells of the decision, where a caller that may ask did.
    pub(super) explained: Option<Box<Explained>>,
    /// Counts it as a long one, once its connection is another protocol's.
    pub(super) long: Option<Long>,
    /// Counts the request on its endpoint.
    working: Option<trysail_upstream::Active>,
}

impl Ctx {
    /// A request under this revision.
    pub(crate) fn new(active: Arc<Active>, connection: Option<Arc<Connection>>) -> Self {
        Ctx {
            active,
            connection,
            identity: Identity::default(),
            start: view::now(),
            begun: Instant::now(),
            target: None,
            cluster: None,
            endpoint: None,
            handling: None,
            hashed: Hashed::default(),
            transform: None,
            path: None,
            deadline: Deadline::default(),
            pause: Pause::default(),
            body: 0,
            tries: 0,
            stale: 0,
            tried: Vec::new(),
            next: None,
            copies: None,
            status: 0,
            passed: (0, 0),
            heads: (0, 0),
            messages: None,
            flag: Flag::None,
            details: Details::None,
            noted: None,
            traced: None,
            delayed: false,
            exhausted: false,
            overflowed: false,
            interim: 0,
            transport: None,
            last_of_connection: false,
            hold: None,
            held: None,
            retrying: None,
            finished: false,
            explained: None,
            long: None,
            working: None,
        }
    }

    /// `http` or `https`, as trusted hops say, else as the connection is.
    pub(super) fn scheme(&self) -> &'static str {
        let connection = || self.connection.as_ref().map_or("http", |connection| connection.scheme());
        self.identity.scheme.unwrap_or_else(connection)
    }

    /// What is changed of the answer's fields.
    pub(crate) fn response_ops(&self) -> &[HeaderOps] {
        self.transform.as_ref().map_or(&[], |transform| &transform.response)
    }

    /// What an answer says of other sites' calls to a request with these fields.
    pub(crate) fn cors(&self, request: &HeaderMap) -> Fields {
        let cors = self.handling.as_ref().and_then(|handling| handling.cors.as_ref());
        cors.map_or_else(Fields::new, |cors| cors.answer(request))
    }

    /// How long one try may take to its answer's head; `None` for as long as all may.
    pub(crate) fn per_try(&self) -> Option<Duration> {
        self.handling.as_ref().and_then(|handling| handling.retry.per_try)
    }

    /// Everything that is to be said of the answer.
    pub(crate) fn flags(&self) -> Flags {
        Flags {
            delayed: self.delayed,
            exhausted: self.exhausted,
            overflowed: self.overflowed,
            cause: self.flag,
        }
    }

    /// Chooses an endpoint of the cluster, one that was tried already only in need, and counts the request on it;
    /// `false` where there is none.
    pub(crate) fn choose_endpoint(&mut self) -> bool {
        self.working = None;
        let picky = self.handling.as_ref().is_none_or(|handling| handling.retry.other_endpoints);
        let tried = if picky { self.tried.as_slice() } else { &[] };
        let chosen =
            self.cluster.and_then(|cluster| stop::choose(&self.active, cluster, self.hashed.key, tried));
        (self.endpoint, self.working) = chosen.unzip();
        self.endpoint.is_some()
    }

    /// An interim answer came. They are passed on, but neither for ever nor beyond the request's time: each is a read
    /// that succeeds.
    pub(super) fn interim(&mut self) -> Result<()> {
        self.interim = self.interim.saturating_add(1);
        if self.deadline.is_over() {
            return Err(Error::new_up(ErrorType::ReadTimedout));
        }
        if self.interim > INTERIM { Err(Error::new_up(ErrorType::InvalidHTTPHeader)) } else { Ok(()) }
    }

    /// Whether kept connections were found closed so often that the next may be too: an upstream that goes closes all
    /// of them. The new one is closed after it, since in the pool it has no place.
    pub(super) fn wants_new_connection(&self) -> bool {
        self.stale >= 2
    }

    /// Whether its endpoint works on nothing else.
    pub(super) fn is_alone(&self) -> bool {
        let cluster = self.cluster.map(|cluster| self.active.upstreams.cluster(cluster));
        let endpoint = cluster.zip(self.endpoint).and_then(|(cluster, n)| cluster.endpoints.get(n));
        endpoint.is_some_and(|endpoint| endpoint.active() <= 1)
    }

    /// It is no work of an endpoint.
    pub(super) fn leave_endpoint(&mut self) {
        (self.endpoint, self.working) = (None, None);
    }

    /// The head of an upstream's answer goes to the client.
    pub(super) fn answered(&mut self) {
        self.details = Details::Is("via_upstream");
        if let Some(noted) = &mut self.noted {
            noted.answered();
        }
    }

    /// Its head came, as its client has written it.
    pub(super) fn take_head(&mut self, request: &RequestHeader) {
        let told = self.connection.as_ref().map_or(0, |connection| connection.head.load(Ordering::Relaxed));
        self.heads.0 = if told > 0 { told as u64 } else { size::of_request(request) };
        self.messages = grpc::speaks(&request.headers).then(Box::default);
    }

    /// Messages of gRPC passed, from the client and to it.
    pub(super) fn count_messages(&self, asked: u64, answered: u64) {
        if asked + answered > 0 {
            self.active.requests.of(self.cluster, self.endpoint).messages(asked, answered);
        }
    }

    /// Everything that belongs to it has been done, as its session says.
    pub(super) fn finish(&mut self, session: &Session) {
        let passed = (session.body_bytes_read() as u64, session.body_bytes_sent() as u64);
        let response = session.response_written();
        let status = response.map_or(0, |response| response.status.as_u16());
        self.end(status, response.map_or(0, size::of_response), passed);
        if let (Some(response), Some(messages)) = (response, &mut self.messages) {
            messages.hear_head(&response.headers);
        }
    }

    /// Everything that belongs to it has been done: the status and the length of the head that the client got, 0 for none,
    /// and the bytes of both bodies.
    pub(super) fn end(&mut self, status: u16, head: u64, passed: (u64, u64)) {
        (self.status, self.heads.1, self.passed) = (status, head, passed);
        self.finished = true;
    }

    /// Chooses one for another try.
    pub(crate) fn choose_another_endpoint(&mut self) -> bool {
        self.tried.extend(self.endpoint);
        self.choose_endpoint()
    }
}

/// A request is counted once, here, so that one whose future was dropped is counted too: by the client's leaving,
/// or since its time was over.
impl Drop for Ctx {
    fn drop(&mut self) {
        if !self.finished && self.deadline.is_over() {
            (self.flag, self.details) = (Flag::UpstreamTimeout, Details::Is("response_timeout"));
        } else if !self.finished && self.pause.is_over() {
            (self.flag, self.details) = (Flag::StreamIdleTimeout, Details::Is("stream_idle_timeout"));
        } else if self.flag == Flag::None && (self.status == 0 || !self.finished) {
            self.flag = Flag::DownstreamConnectionTermination;
            // Clients that leave are errors, which end requests in their time; what drops one is the process's own end.
            let local = !self.finished;
            self.details = Details::Is(if local {
                "downstream_local_disconnect"
            } else {
                "downstream_remote_disconnect"
            });
        }
        let (received, sent) = self.passed;
        let ended = Ended {
            status: self.status,
            flags: self.flags(),
            grpc: self.messages.as_ref().map_or(Grpc::No, |messages| messages.outcome(self.status)),
            duration: self.begun.elapsed(),
            received,
            sent,
            heads: self.heads,
        };
        self.active.requests.of(self.cluster, self.endpoint).count(&ended);
        if let Some(cell) = self.target.and_then(|target| self.active.board.of(target)) {
            cell.tell(&ended);
        }
        if let Some(noted) = self.noted.take() {
            noted.tell(self, ended);
        }
        if let Some(traced) = self.traced.take() {
            traced.tell(self, &ended);
        }
    }
}
