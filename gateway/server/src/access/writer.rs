//! Lines on their way to the file: a queue of bytes that never makes anyone wait, and the one thread that empties it.
//!
//! A request's thread holds the lock for the time of a copy. The writer wakes with the first line, gathers more for a
//! moment, and takes all of them by exchanging the buffer for an empty one; so each line costs a copy, and a batch costs
//! one call. A channel was refused: it costs an allocation for each line, and wakes for each.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};
use parking_lot::{Condvar, Mutex};

use super::file::Target;
use crate::metrics::Lines;

/// Lines are gathered for this long before they are written; sooner where they fill half of the room.
const GATHER: Duration = Duration::from_millis(200);

/// A fault that lasts is not said again, and that lines are dropped no more often than this.
const SILENCE: Duration = Duration::from_secs(60);

/// The way to the file.
pub(super) struct Writer {
    queue: Arc<Queue>,
}

struct Queue {
    /// Bytes that may wait.
    room: usize,
    state: Mutex<State>,
    /// There is something to do.
    work: Condvar,
    /// All is done.
    done: Condvar,
    lines: Lines,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    /// Lines that found no room since the last batch.
    dropped: u64,
    reopen: bool,
    closing: bool,
    closed: bool,
}

impl Writer {
    /// Starts the thread, which opens the file at once, so that a wrong one is told of before it is needed.
    pub(super) fn start(target: Target, room: usize, lines: Lines) -> std::io::Result<Self> {
        let state = Mutex::new(State { reopen: true, ..State::default() });
        let (work, done) = (Condvar::new(), Condvar::new());
        let queue = Arc::new(Queue { room, state, work, done, lines });
        let theirs = queue.clone();
        thread::Builder::new().name("access log".to_owned()).spawn(move || theirs.write(target))?;
        Ok(Writer { queue })
    }

    /// Takes a line, if there is room for it.
    pub(super) fn push(&self, line: &[u8]) {
        let queue = &*self.queue;
        let mut state = queue.state.lock();
        let before = state.bytes.len();
        let after = before + line.len();
        if after > queue.room || state.closed {
            state.dropped += 1;
            drop(state);
            queue.lines.dropped.inc();
            return;
        }
        state.bytes.extend_from_slice(line);
        drop(state);
        let half = queue.room / 2;
        if before == 0 || (before < half && after >= half) {
            queue.work.notify_one();
        }
    }

    /// Has the file opened anew.
    pub(super) fn reopen(&self) {
        self.queue.state.lock().reopen = true;
        self.queue.work.notify_one();
    }

    /// Has the rest written, and waits for that as long as it may take.
    pub(super) fn close(&self, grace: Duration) {
        let mut state = self.queue.state.lock();
        state.closing = true;
        self.queue.work.notify_one();
        let end = Instant::now() + grace;
        while !state.closed && !self.queue.done.wait_until(&mut state, end).timed_out() {}
        // Nobody will write what comes now.
        state.closed = true;
    }
}

/// What one turn of the thread is about.
struct Batch {
    reopen: bool,
    dropped: u64,
    last: bool,
}

impl Queue {
    fn write(&self, mut target: Target) {
        let mut batch = Vec::new();
        let mut said = Said::default();
        loop {
            batch.clear();
            let Batch { reopen, dropped, last } = self.take(&mut batch);
            if reopen {
                target.reopen();
            }
            if !batch.is_empty() || reopen {
                let all = count(&batch);
                let (taken, result) = target.write(&batch);
                let written = count(batch.get(..taken).unwrap_or_default());
                self.lines.written.inc_by(written);
                self.lines.failed.inc_by(all - written);
                said.file(&target, result, all - written);
            }
            said.dropped(dropped);
            if last {
                self.state.lock().closed = true;
                self.done.notify_all();
                return;
            }
        }
    }

    /// Waits until there is something to do, and takes it.
    fn take(&self, batch: &mut Vec<u8>) -> Batch {
        let mut state = self.state.lock();
        while state.bytes.is_empty() && !state.reopen && !state.closing {
            self.work.wait(&mut state);
        }
        let end = Instant::now() + GATHER;
        while state.bytes.len() < self.room / 2 && !state.reopen && !state.closing {
            if self.work.wait_until(&mut state, end).timed_out() {
                break;
            }
        }
        std::mem::swap(&mut state.bytes, batch);
        Batch {
            reopen: std::mem::take(&mut state.reopen),
            dropped: std::mem::take(&mut state.dropped),
            last: state.closing,
        }
    }
}

/// Each line ends with a line feed, and has no other.
fn count(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// What was said in the process's own log.
#[derive(Default)]
struct Said {
    /// Lines that were lost since it was said that the file fails.
    failing: Option<u64>,
    /// When it was said that lines were dropped, and how many were since.
    slow: Option<Instant>,
    dropped: u64,
}

impl Said {
    fn file(&mut self, target: &Target, result: std::io::Result<()>, lost: u64) {
        match (result, &mut self.failing) {
            (Ok(()), None) => {}
            (Ok(()), Some(all)) => {
                info!("access log: {target} is written again; lines that were lost: {all}");
                self.failing = None;
            }
            (Err(_), Some(all)) => *all += lost,
            (Err(error), None) => {
                let error = reason(&error);
                warn!(
                    "access log: {target} can't be written: {error}; lines are lost until it can \
                     (trysail_access_log_lines_total), requests go on"
                );
                self.failing = Some(lost);
            }
        }
    }

    fn dropped(&mut self, dropped: u64) {
        self.dropped += dropped;
        if self.dropped > 0 && self.slow.is_none_or(|at| at.elapsed() >= SILENCE) {
            warn!(
                "access log: lines that were dropped, as they come faster than they are written: {} \
                 (see accessLog.buffer, accessLog.sample)",
                self.dropped
            );
            (self.slow, self.dropped) = (Some(Instant::now()), 0);
        }
    }
}

/// What the system says, without the number that it appends.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
