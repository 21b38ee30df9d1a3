//! The counts of a cluster, and the queue of those who wait for a slot: first come, first served.
//!
//! A slot that falls free is handed to whoever waits longest, under the lock of the queue; where nobody waits, no lock
//! is taken. Whoever enters the queue counts itself before it looks at the slots once more, and whoever leaves a slot
//! frees it before it looks whether somebody waits, both in one order of all: so one of them sees the other.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::Overflow;

/// The counts of one cluster, over all revisions.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Slots that are held.
    busy: AtomicU32,
    /// How long the queue is.
    waiting: AtomicU32,
    requests: AtomicU32,
    pub(super) retries: AtomicU32,
    queue: Mutex<VecDeque<Arc<Turn>>>,
}

/// What somebody in the queue waits for.
#[derive(Debug, Default)]
struct Turn(Mutex<State>);

#[derive(Debug)]
enum State {
    /// Not its turn yet; whom to tell.
    Queued(Option<Waker>),
    /// A slot was handed to it.
    Granted,
}

impl Default for State {
    fn default() -> Self {
        State::Queued(None)
    }
}

/// Adds one to a count that is below a ceiling.
pub(super) fn take_below(count: &AtomicU32, most: u32) -> bool {
    let next = |held: u32| (held < most).then(|| held + 1);
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok()
}

/// Whoever panicked with a lock of ours had not begun to change anything.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Counts ===

impl Counts {
    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Gives a slot back, and as many as there may be to those who wait.
    fn release(&self, slots: u32) {
        self.busy.fetch_sub(1, Ordering::SeqCst);
        if self.waiting() > 0 {
            self.serve(slots);
        }
    }

    fn serve(&self, slots: u32) {
        let mut queue = lock(&self.queue);
        while !queue.is_empty() && take_below(&self.busy, slots) {
            let Some(turn) = queue.pop_front() else { return };
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            let before = std::mem::replace(&mut *lock(&turn.0), State::Granted);
            if let State::Queued(Some(waker)) = before {
                waker.wake();
            }
        }
    }
}

/// What a request holds of its cluster's ceilings. Dropping it is the only way to give it back.
#[derive(Debug)]
pub struct Held {
    counts: Arc<Counts>,
    /// The ceiling under which its slot is given back; `None` where it has none.
    slots: Option<u32>,
    request: bool,
}

impl Held {
    /// Nothing yet.
    pub(super) fn new(counts: &Arc<Counts>) -> Self {
        Held { counts: counts.clone(), slots: None, request: false }
    }

    /// A slot that was taken for it.
    fn granted(counts: &Arc<Counts>, slots: u32) -> Self {
        Held { counts: counts.clone(), slots: Some(slots), request: false }
    }

    /// A slot, where one is free and nobody waits for it, or whoever asks may go over the ceiling.
    pub(super) fn slot(counts: &Arc<Counts>, slots: u32, over: bool) -> Option<Self> {
        let free = counts.waiting() == 0 && take_below(&counts.busy, slots);
        if !free && !over {
            return None;
        }
        if !free {
            counts.busy.fetch_add(1, Ordering::SeqCst);
        }
        Some(Held::granted(counts, slots))
    }

    /// Counts it among the requests.
    pub(super) fn with_request(mut self, most: Option<u32>) -> Result<Self, Overflow> {
        self.request = match most {
            None => false,
            Some(most) if take_below(&self.counts.requests, most) => true,
            Some(_) => return Err(Overflow::Requests),
        };
        Ok(self)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.request {
            self.counts.requests.fetch_sub(1, Ordering::SeqCst);
        }
        if let Some(slots) = self.slots {
            self.counts.release(slots);
        }
    }
}

/// A pending request: ready once it may begin, or is refused all the same. Dropping it leaves the queue.
#[derive(Debug)]
pub struct Waiting {
    counts: Arc<Counts>,
    turn: Arc<Turn>,
    slots: u32,
    requests: Option<u32>,
    done: bool,
}

impl Waiting {
    /// Joins the queue; `None` where it is full.
    pub(super) fn enter(
        counts: &Arc<Counts>,
        slots: u32,
        pending: Option<u32>,
        requests: Option<u32>,
    ) -> Option<Self> {
        let turn = Arc::new(Turn::default());
        {
            let mut queue = lock(&counts.queue);
            if pending.is_some_and(|most| queue.len() >= most as usize) {
                return None;
            }
            queue.push_back(turn.clone());
            counts.waiting.fetch_add(1, Ordering::SeqCst);
        }
        // One may have fallen free meanwhile.
        counts.serve(slots);
        Some(Waiting { counts: counts.clone(), turn, slots, requests, done: false })
    }
}

impl Future for Waiting {
    type Output = Result<Held, Overflow>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *lock(&self.turn.0) {
            State::Queued(waker) => {
                *waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            State::Granted => {}
        }
        self.done = true;
        let held = Held::granted(&self.counts, self.slots);
        Poll::Ready(held.with_request(self.requests))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut queue = lock(&self.counts.queue);
        let place = queue.iter().position(|turn| Arc::ptr_eq(turn, &self.turn));
        let left = place.and_then(|place| queue.remove(place));
        drop(queue);
        match left {
            Some(_) => {
                self.counts.waiting.fetch_sub(1, Ordering::SeqCst);
            }
            // It was its turn already.
            None => self.counts.release(self.slots),
        }
    }
}
