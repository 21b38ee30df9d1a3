//! How much of its answers a client of HTTP/2 leaves with us, and how many more requests it may begin meanwhile.
//!
//! Each answer that is not taken holds what Pingora has read ahead of it, a hundred KiB or more, and nothing can keep
//! Pingora from reading: a hundred streams with closed windows hold as much as ten thousand that are read. So a request
//! begins only if its answer is likely to go out. It may when the connection's window has room for it, though who says so
//! need not mean it: a socket that is not read takes nothing, however wide its windows. So there are some at first, as with
//! TCP's slow start, and each that ends lets two more begin. Where there is no room, few begin, and each that ends lets one
//! more: whoever takes small answers is soon as free as anybody. A request that has run for two seconds is left out of account, as it may be one that waits
//! for its upstream; but not where the bytes that are left with us say that it is not.
//!
//! Refused: a limit of streams, which would be one for everybody; a pause in reading, for which Pingora has no place.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What an answer needs of a window, to be no concern.
const SHARE: i64 = 64 * 1024;

/// How long a request is taken for one that may be answered at any moment.
const YOUNG: Duration = Duration::from_secs(2);

/// How many times as many may begin at first where the windows have room, and how many times as much be left with us.
const FUNDED: usize = 4;

/// How many more may begin there with each that ends.
const MORE: usize = 2;

/// And where so much is left with us that others are likely to be left too.
const OLD: Duration = Duration::from_secs(10);

/// One connection's.
#[derive(Debug)]
pub(crate) struct Flow {
    state: Mutex<State>,
    /// Told when one more may begin.
    room: Notify,
    /// Requests that may begin without a window for their answers.
    at_first: usize,
    /// Bytes of answers that may be left with us before no other request begins.
    most: i64,
}

#[derive(Debug)]
struct State {
    /// What the connection's window takes, less what was sent; of streams, what each begins with.
    window: i64,
    stream: i64,
    /// What was read of answers, less what was sent.
    held: i64,
    /// When those requests began that have not ended, and are not old. The oldest is the first.
    begun: VecDeque<Instant>,
    /// How many of those that are young there may be without a window.
    allowed: usize,
}

impl Flow {
    /// A new connection's.
    pub(crate) fn new(at_first: usize, most: usize) -> Self {
        let (window, stream) = (65_535, 65_535);
        let state = State { window, stream, held: 0, begun: VecDeque::new(), allowed: at_first };
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        Flow { state: Mutex::new(state), room: Notify::new(), at_first, most }
    }

    /// The client takes more on the connection.
    pub(crate) fn widened(&self, bytes: u32) {
        self.state.lock().window += i64::from(bytes);
        self.room.notify_waiters();
    }

    /// The client has said what streams begin with.
    pub(crate) fn streams_begin_with(&self, bytes: u32) {
        self.state.lock().stream = i64::from(bytes);
        self.room.notify_waiters();
    }

    /// A piece of an answer was read.
    pub(crate) fn read(&self, bytes: usize) {
        self.state.lock().held += i64::try_from(bytes).unwrap_or(i64::MAX);
    }

    /// Bytes were sent. Some were no answer's; that they are taken for it errs on the client's side.
    pub(crate) fn sent(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut state = self.state.lock();
        let full = state.held >= self.most;
        state.window -= bytes;
        state.held = (state.held - bytes).max(0);
        if full && state.held < self.most {
            drop(state);
            self.room.notify_waiters();
        }
    }

    /// Waits until another request may begin.
    pub(crate) async fn begin(self: &Arc<Self>) -> Begun {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            let begun = self.state.lock().begin(Instant::now(), self.at_first, self.most);
            let again = match begun {
                Ok(now) => return Begun(self.clone(), now),
                Err(again) => again,
            };
            tokio::select! {
                () = room => {}
                () = tokio::time::sleep_until(again.into()) => {}
            }
        }
    }
}

impl State {
    /// Begins a request, or says when to ask again at the latest.
    fn begin(&mut self, now: Instant, at_first: usize, most: i64) -> Result<Instant, Instant> {
        while self.begun.front().is_some_and(|since| now.duration_since(*since) >= OLD) {
            self.begun.pop_front();
        }
        let room = if self.stream < SHARE - 1 { 0 } else { self.window.max(0) / SHARE };
        let room_for = usize::try_from(room).unwrap_or(usize::MAX);
        let first = at_first.saturating_mul(FUNDED);
        let ended = self.allowed.saturating_sub(at_first);
        let funded = self.allowed.max(room_for.min(first.saturating_add(ended.saturating_mul(MORE))));
        // One at a time even then: small answers get through where large ones wait.
        let (age, may) = match (room, self.held) {
            (0, held) if held >= most => (OLD, 1),
            (0, held) if held >= SHARE => (OLD, self.allowed),
            (0, _) => (YOUNG, self.allowed),
            // It says that it takes them, and does not.
            (_, held) if held / most.max(1) >= FUNDED as i64 => (OLD, self.allowed.max(first)),
            (_, _) => (YOUNG, funded),
        };
        let old = self.begun.partition_point(|since| now.duration_since(*since) >= age);
        match self.begun.get(old).filter(|_| self.begun.len() - old >= may) {
            Some(oldest) => Err(*oldest + age),
            None => {
                self.begun.push_back(now);
                Ok(now)
            }
        }
    }

    /// One that began then has ended.
    fn end(&mut self, began: Instant, at_first: usize) {
        if let Ok(place) = self.begun.binary_search(&began) {
            self.begun.remove(place);
        }
        // Trust is of one visit: it goes with the last request.
        self.allowed = if self.begun.is_empty() { at_first } else { self.allowed.saturating_add(1) };
    }
}

/// A request that has begun, and when.
#[derive(Debug)]
pub(crate) struct Begun(Arc<Flow>, Instant);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.state.lock().end(self.1, self.0.at_first);
        // In its own place, and in the one that is new.
        self.0.room.notify_one();
        self.0.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many requests begin at once.
    fn burst(flow: &Flow) -> usize {
        let now = Instant::now();
        (0..1000).take_while(|_| flow.state.lock().begin(now, flow.at_first, flow.most).is_ok()).count()
    }

    #[test]
    fn as_many_begin_as_can_be_answered() {
        let flow = || Arc::new(Flow::new(8, 1 << 20));
        assert_eq!(burst(&flow()), 8, "with the windows that HTTP/2 begins with");
        let wide = flow();
        wide.widened(100 << 20);
        assert_eq!(burst(&wide), 32, "with a wide window");
        let first = wide.state.lock().begun[0];
        for _ in 0..4 {
            drop(Begun(wide.clone(), first));
        }
        assert_eq!(burst(&wide), 4 + 4 * 2, "four in their places, and two for each that ended");
        let narrow = flow();
        narrow.widened(SHARE as u32 * 10);
        assert_eq!(burst(&narrow), 10, "as the window has room");
        let closed = flow();
        closed.widened(100 << 20);
        closed.streams_begin_with(0);
        assert_eq!(burst(&closed), 8, "with closed streams");
        let full = flow();
        full.read(1 << 20);
        assert_eq!(burst(&full), 1, "while answers are left with us");
        full.sent(1);
        assert_eq!(burst(&full), 7, "once they are not");
        let unread = flow();
        unread.widened(100 << 20);
        unread.read(10 << 20);
        assert_eq!(burst(&unread), 32, "to a client that says that it takes them");
    }

    #[test]
    fn those_that_end_and_those_that_are_old_let_others_begin() {
        let flow = Arc::new(Flow::new(8, 1 << 20));
        assert_eq!(burst(&flow), 8);
        let first = flow.state.lock().begun[0];
        for _ in 0..4 {
            drop(Begun(flow.clone(), first));
        }
        assert_eq!(burst(&flow), 8, "four in their places, four more");
        let later = Instant::now() + YOUNG;
        assert!(flow.state.lock().begin(later, 8, flow.most).is_ok());
        flow.read(1 << 20);
        assert!(flow.state.lock().begin(later + YOUNG, 8, flow.most).is_err(), "not where answers are left");
        assert!(flow.state.lock().begin(later + OLD, 8, flow.most).is_ok());
    }
}
