//! A request's life on the express lane, from its turn to its end.

use std::future::poll_fn;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use http::header::TRANSFER_ENCODING;
use http::{HeaderValue, Method};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::{Sleep, timeout};

use super::super::ctx::Ctx;
use super::super::reply::{self, Answer};
use super::super::retry::{self, Replay};
use super::super::view::{Ends, Seen};
use super::super::{limits, outlier, steps};
use super::answer::{self, Body, Heard};
use super::door::{Way, part};
use super::downstream::Downstream;
use super::pool::{Key, Upstream};
use super::upload::Upload;
use super::waits::{closed, open};
use super::{Express, Taken, head};
use crate::metrics::Flag;

/// What is read at once while nothing is known of what comes.
const READ: usize = 4 * 1024;

/// A body's first piece goes with its head, if it is no longer than this.
const TOGETHER: usize = 64 * 1024;

/// How long the end of a client's connection may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// One request.
pub(super) struct Run<'r, C> {
    pub(super) express: &'r Express,
    pub(super) client: C,
    pub(super) request: RequestHeader,
    pub(super) hops: bool,
    /// The client wants its connection closed behind it.
    pub(super) close: bool,
    pub(super) ends: Ends,
    pub(super) ctx: Ctx,
    pub(super) upload: Upload,
    /// The client has something of an answer.
    pub(super) begun: bool,
    /// It has an answer's head, of this status and so long.
    pub(super) answered: Option<(u16, u64)>,
    /// Bytes of the answer's body that the client got.
    pub(super) sent: u64,
    /// For the head of an answer, then for its end.
    pub(super) timer: Option<Pin<Box<Sleep>>>,
    /// The client has all of an answer.
    pub(super) whole: bool,
    /// The time of all was over within the answer: it is dropped.
    pub(super) cut: bool,
    /// What is there for the client. Lives from try to try.
    pub(super) out: BytesMut,
}

/// Serves a request; whether its connection is kept.
pub(super) async fn run<C: Downstream>(express: &Express, client: C, taken: Taken) -> bool {
    let Taken { request, hops, plain, ends, ctx, turn } = taken;
    let upload = Upload::new(plain.length, &express.gateway.measures);
    let mut run = Run {
        express,
        client,
        request,
        hops,
        close: plain.close,
        ends,
        ctx,
        upload,
        begun: false,
        answered: None,
        sent: 0,
        timer: None,
        whole: false,
        cut: false,
        out: BytesMut::new(),
    };
    let way = match run.way(turn) {
        Way::Later(waiting) => run.queue(waiting).await,
        way => Ok(way),
    };
    let kept = match way {
        Ok(Way::Back(answer)) => run.refuse(answer).await,
        Ok(_) => {
            if C::STREAMS && !run.upload.has_come() {
                // What has come goes with the head. An error comes back.
                poll_fn(|cx| Poll::Ready(run.client.poll_fill(cx).is_ready())).await;
            }
            run.tries().await
        }
        Err(error) => run.fail(&error).await,
    };
    if run.cut {
        run.ctx.passed = (run.upload.received, run.sent);
        return false;
    }
    let (status, length) = run.answered.unwrap_or_default();
    run.ctx.end(status, length, (run.upload.received, run.sent));
    if run.whole && run.client.is_to_end(kept, run.upload.has_come()) {
        let Run { client, ctx, upload, .. } = run;
        // What it holds is free for others, whatever its client does.
        drop(ctx);
        // Who takes nothing more is not waited for.
        let _ = timeout(FAREWELL, part(client, upload)).await;
    }
    kept
}

/// How a try failed.
struct Failed {
    error: Box<Error>,
    /// Whether there is another.
    again: bool,
}

impl<C: Downstream> Run<'_, C> {
    /// Tries until there is an answer, or there is to be none; whether the client's connection is kept.
    async fn tries(&mut self) -> bool {
        loop {
            match self.one().await {
                Ok(kept) => return kept,
                Err(_) if self.cut => return false,
                Err(Failed { again: true, .. }) => {}
                Err(Failed { error, .. }) => return self.fail(&error).await,
            }
        }
    }

    async fn one(&mut self) -> std::result::Result<bool, Failed> {
        let last = |error| Failed { error, again: false };
        if let Some(wait) = self.ctx.next.take() {
            let left = self.ctx.deadline.left().unwrap_or(wait);
            if !wait.is_zero() {
                tokio::time::sleep(wait.min(left)).await;
            }
            if self.ctx.deadline.is_over() {
                return Err(last(Error::new_up(ErrorType::ReadTimedout)));
            }
            if !self.ctx.choose_another_endpoint() {
                return Err(last(Error::new(ErrorType::ConnectNoRoute)));
            }
        }
        self.ctx.tries += 1;
        self.timer = None;
        let Some((key, idle, time)) = self.template() else {
            return Err(last(Error::new(ErrorType::ConnectNoRoute)));
        };
        let (mut upstream, reused) = self.connect(&key, time).await?;
        self.connected(&mut upstream, reused);
        self.exchange(upstream, (key, idle)).await.map_err(|error| {
            let replay = self.replay();
            let again = !self.cut && steps::failed(&mut self.ctx, &error, reused, replay);
            Failed { error, again }
        })
    }

    /// Where its endpoint is, how long a connection there may wait for its next request, and how long it may take to be
    /// opened.
    fn template(&self) -> Option<(Key, Option<Duration>, Duration)> {
        let direct = self.ctx.active.peers.direct(self.ctx.cluster?, self.ctx.endpoint?)?;
        let time = direct.connect.unwrap_or(Duration::from_secs(10));
        Some((Key(direct.pool, direct.address), direct.idle, time))
    }

    fn replay(&self) -> Replay {
        Replay { idempotent: self.request.method.is_idempotent(), whole: !self.begun && self.upload.whole }
    }

    /// A connection, and whether it was used before.
    async fn connect(&mut self, key: &Key, time: Duration) -> std::result::Result<(Upstream, bool), Failed> {
        if !self.ctx.wants_new_connection()
            && let Some(upstream) = self.express.pool.take(key)
        {
            return Ok((upstream, true));
        }
        let total = self.ctx.deadline.soonest(self.ctx.per_try());
        let probes = self.ctx.cluster.and_then(|cluster| self.ctx.active.peers.probes(cluster));
        let opened = open(key.1, probes, total.map_or(time, |total| total.min(time))).await;
        opened.map(|stream| (Upstream::new(stream), false)).map_err(|mut error| {
            self.express.gateway.reached.failed();
            let failure = retry::connect_failure(total, self.ctx.per_try(), &mut error);
            if let Some(noted) = &mut self.ctx.noted {
                noted.failed_to_connect(&error);
            }
            outlier::failed(&self.ctx, failure, false);
            let again = retry::again(self.replay(), &mut self.ctx, failure);
            Failed { error, again }
        })
    }

    fn connected(&mut self, upstream: &mut Upstream, reused: bool) {
        self.express.gateway.reached.connected(reused, upstream.stream.as_raw_fd());
        upstream.used = upstream.used.saturating_add(1);
        let Some(cluster) = self.ctx.cluster else { return };
        let pool = &self.ctx.active.snapshot.cluster(cluster).policy.connection_pool;
        let (since, used) = (upstream.since, upstream.used);
        let last = limits::is_last(pool, || Some(since.elapsed()), || used);
        self.ctx.last_of_connection = last || self.ctx.wants_new_connection();
        if let Some(noted) = &mut self.ctx.noted {
            noted.connected(upstream.local());
        }
    }

    /// The head as this try's upstream gets it.
    fn head(&self) -> Result<BytesMut> {
        let (ctx, request) = (&self.ctx, &self.request);
        let mut out = BytesMut::with_capacity(1024);
        let same = ctx.tries == 1
            && !self.hops
            && !ctx.last_of_connection
            && ctx.transform.is_none()
            && ctx.deadline.soonest(ctx.per_try()).is_none();
        let written = if same {
            head::write(request, &mut out)
        } else {
            let mut changed = request.clone();
            head::say_host(&mut changed)?;
            if self.hops {
                head::take_off_hops(&mut changed);
            }
            let passed = (self.upload.received, 0);
            let seen = || Seen { head: request, ends: self.ends, passed };
            steps::change(seen, false, &mut changed, ctx)?;
            head::frame(&mut changed, request, self.upload.is_chunked())?;
            head::write(&changed, &mut out)
        };
        written.map(|()| out).ok_or_else(|| Error::new_in(ErrorType::InternalError))
    }

    /// One request and one answer; whether the client's connection is kept. The upstream's is, where that is good, before
    /// the client has all of the answer: its next request may be there at once.
    async fn exchange(
        &mut self,
        mut upstream: Upstream,
        (key, idle): (Key, Option<Duration>),
    ) -> Result<bool> {
        let head = self.head()?;
        self.upload.begin(head, &mut self.client)?;
        self.note_whole();
        let (mut came, mut seen) = (BytesMut::new(), 0);
        let Heard { mut response, mut body, keeps } = loop {
            if let Some(mut heard) = answer::take(&mut came, seen, &self.request.method)? {
                if self.hear(&mut heard.response)? {
                    break heard;
                }
                self.interim(heard.response).await?;
                seen = 0;
                continue;
            }
            seen = came.len();
            came.reserve(READ);
            if self.read(&mut upstream.stream, &mut came, false).await? == 0 {
                return Err(self.upload.failed.take().unwrap_or_else(closed));
            }
        };
        self.timer = None;
        let kept = self.sign(&mut response, &body)?;
        self.write_head(response, kept, body.is_over())?;
        loop {
            // What is long goes as it is.
            if !C::STREAMS
                && let Some(mut piece) = body.long(&mut came)
            {
                self.send(false).await?;
                self.sent += piece.len() as u64;
                self.ctx.passed.1 = self.sent;
                self.send_bytes(&mut piece, false).await?;
            }
            if !body.is_over() && !came.is_empty() {
                self.sent += body.pass(&mut came, &mut self.out, C::STREAMS)?;
                self.ctx.passed.1 = self.sent;
            }
            let over = body.is_over();
            if over && self.upload.is_sent() {
                match keeps && came.is_empty() && !self.ctx.last_of_connection {
                    true => self.express.pool.put(key, upstream, idle),
                    false => drop(upstream),
                }
                // Whoever waits for its place finds its connection, or none.
                self.ctx.held = None;
                self.send(true).await?;
                self.whole = true;
                return Ok(kept);
            }
            if over || (!self.out.is_empty() && (self.out.len() >= TOGETHER || came.is_empty())) {
                self.send(over).await?;
            }
            if over {
                break;
            }
            came.reserve(body.wanted());
            if self.read(&mut upstream.stream, &mut came, true).await? == 0
                && !body.closed(&mut self.out, C::STREAMS)
            {
                return Err(Error::new_up(ErrorType::ConnectionClosed));
            }
        }
        // It was early: the rest of the request is taken, and its connection used no more.
        if C::STREAMS {
            self.upload.may_pause(false);
        }
        self.finish_upload(&mut upstream.stream).await?;
        self.whole = true;
        Ok(kept)
    }

    /// Judges the head of an answer: whether it is the answer, and not one before it.
    fn hear(&mut self, response: &mut ResponseHeader) -> Result<bool> {
        let replay = self.replay();
        steps::hear(&mut self.ctx, &self.request.headers, false, response, || replay)?;
        Ok(!response.status.is_informational())
    }

    /// Puts into the answer what is ours, and says whether the client's connection is kept behind it.
    fn sign(&mut self, response: &mut ResponseHeader, body: &Body) -> Result<bool> {
        let kept =
            !self.close && self.upload.has_come() && !self.express.gateway.draining.load(Ordering::Acquire);
        if matches!(body, Body::UntilClosed) {
            response.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
        }
        self.signed(response)?;
        self.ctx.answered();
        self.ctx.status = response.status.as_u16();
        Ok(kept)
    }

    fn signed(&mut self, response: &mut ResponseHeader) -> Result<()> {
        let passed = (self.upload.received, 0);
        let (request, ends) = (&self.request, self.ends);
        let seen = || Seen { head: request, ends, passed };
        self.express.gateway.sign(&mut self.ctx, seen, &request.headers, response)
    }

    /// Passes on an answer before the answer.
    async fn interim(&mut self, mut response: ResponseHeader) -> Result<()> {
        if C::STREAMS {
            return Ok(());
        }
        self.signed(&mut response)?;
        self.client.interim(&response, &mut self.out);
        self.begun = true;
        self.send(true).await
    }

    /// Says its head, which `ends` it where there is no body.
    fn write_head(&mut self, response: ResponseHeader, kept: bool, ends: bool) -> Result<()> {
        let status = response.status.as_u16();
        let length = self.client.head(response, &mut self.out, kept, ends)?;
        (self.begun, self.answered) = (true, Some((status, length)));
        if C::STREAMS {
            self.upload.may_pause(true);
        }
        Ok(())
    }

    /// An answer of our own; whether the client's connection is kept.
    pub(super) async fn reply(&mut self, answer: &Answer, close: bool) -> Result<bool> {
        let kept = !close
            && !answer.close
            && !self.close
            && self.upload.has_come()
            && !self.express.gateway.draining.load(Ordering::Acquire);
        let seen = Seen { head: &self.request, ends: self.ends, passed: (self.upload.received, 0) };
        let (response, body) = reply::head(&seen, &self.ctx, answer, &self.express.gateway.server)?;
        self.out.clear();
        let ends = body.is_empty() || self.request.method == Method::HEAD;
        self.write_head(response, kept, ends)?;
        if !ends {
            self.out.extend_from_slice(&body);
            self.sent = body.len() as u64;
        }
        self.send(true).await?;
        self.whole = true;
        Ok(kept)
    }

    /// Says that it has failed, to a client that has no answer.
    pub(super) async fn fail(&mut self, error: &Error) -> bool {
        let begun = self.answered.is_some();
        let outcome = self.express.gateway.outcome(&mut self.ctx, error, begun);
        // Its stream only ends.
        let paused = C::STREAMS && outcome.flag == Flag::StreamIdleTimeout;
        if outcome.status > 0 && !begun && !paused {
            let answer = steps::apology(&self.ctx, outcome, &self.request.headers);
            let _ = self.reply(&answer, true).await;
        }
        false
    }
}
