//! What a connection's client is held to while it speaks HTTP: that it takes what it is sent, and, in HTTP/2, that heads
//! come to an end and frames do some good. A timer is there only while something is waited for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::bounds::Bounds;
use super::frames::Frames;
use crate::metrics::Cut;
use crate::proxy::flow::Flow;

/// The score of frames is one of this time.
const MINUTE: Duration = Duration::from_secs(60);

/// One connection's.
pub(super) struct Guard {
    bounds: Arc<Bounds>,
    /// There while it does not take what it is sent.
    untaken: Option<Box<Untaken>>,
    /// There where it speaks HTTP/2.
    heads: Option<Box<Heads>>,
}

/// What is waited for that the client does not take.
struct Untaken {
    timer: Pin<Box<Sleep>>,
    /// How much it has taken since the timer began.
    taken: usize,
}

/// What is waited for that the client does not send.
struct Heads {
    frames: Frames,
    flow: Arc<Flow>,
    began: Instant,
    /// Since when the score counts.
    since: Instant,
    late: Option<Late>,
}

/// When something is late.
struct Late {
    /// What was the newest request at that time, and whether something had begun: for anything else there is another.
    of: (u32, bool),
    timer: Pin<Box<Sleep>>,
}

impl Guard {
    pub(super) fn new(bounds: Arc<Bounds>, flow: Option<Arc<Flow>>) -> Self {
        let heads = |flow| {
            let now = Instant::now();
            Box::new(Heads { frames: Frames::new(), flow, began: now, since: now, late: None })
        };
        Guard { bounds, untaken: None, heads: flow.map(heads) }
    }

    /// The client has taken some of what it was to get, which was `all`.
    pub(super) fn taken(&mut self, some: usize, all: usize) {
        if let Some(heads) = &mut self.heads {
            heads.frames.gave(some);
            heads.flow.sent(some);
        }
        match &mut self.untaken {
            Some(_) if some == all => self.untaken = None,
            Some(untaken) => untaken.taken += some,
            None => {}
        }
    }

    /// The client takes nothing now: an error, once it has taken too little for too long.
    pub(super) fn poll_untaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let limit = self.bounds.send;
        let untaken = self.untaken.get_or_insert_with(|| {
            Box::new(Untaken { timer: Box::pin(tokio::time::sleep(limit)), taken: 0 })
        });
        loop {
            ready!(untaken.timer.as_mut().poll(cx));
            if untaken.taken < self.bounds.send_minimum {
                self.bounds.edge.cut(Cut::SendTime);
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            untaken.taken = 0;
            untaken.timer.as_mut().reset(tokio::time::Instant::now() + limit);
        }
    }

    /// Bytes have come: an error where there is no good in them.
    pub(super) fn read(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(heads) = &mut self.heads else { return Ok(()) };
        heads.frames.take(bytes, &*heads.flow);
        if heads.late.is_some() && !heads.frames.is_open() {
            heads.late = None;
        }
        if heads.frames.score() <= self.bounds.frames {
            return Ok(());
        }
        // The clock is asked only here: what took long was no flood.
        if heads.since.elapsed() >= MINUTE {
            heads.since = Instant::now();
            heads.frames.forgive();
            return Ok(());
        }
        self.bounds.edge.cut(Cut::Frames);
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// No bytes are there: an error, once what they were to bring is late.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(heads) = &mut self.heads else { return Poll::Pending };
        let open = heads.frames.is_open();
        if !open && heads.frames.newest() > 0 {
            heads.late = None;
            return Poll::Pending;
        }
        let of = (heads.frames.newest(), open);
        let end = if open { Instant::now() + self.bounds.head.time } else { heads.began + self.bounds.first };
        let new = || Late { of, timer: Box::pin(tokio::time::sleep_until(end.into())) };
        let late = match &mut heads.late {
            Some(late) if late.of == of => late,
            other => other.insert(new()),
        };
        ready!(late.timer.as_mut().poll(cx));
        if open {
            self.bounds.edge.cut(Cut::HeadTime);
        }
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// What is said to a client of HTTP/2 whose connection is ended.
    pub(super) fn go_away(&self) -> Option<[u8; 17]> {
        self.heads.as_ref().map(|heads| heads.frames.go_away())
    }
}
