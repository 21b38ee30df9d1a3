//! A fake origin server: HTTP/1.1 with keep-alive on loopback, that counts and remembers what reached it.
//!
//! A thread for each connection; every wait ends when the origin is stopped. No TLS and no HTTP/2 here.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crate::message::{self, Head};

mod answer;

pub use answer::Answer;

/// A request as it reached an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Request line and headers, a line each, ended by `\n`.
    pub head: String,
    /// Decoded from its framing.
    pub body: Vec<u8>,
}

/// A running origin. It stops when dropped.
#[derive(Debug)]
pub struct Origin {
    addr: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    answer: Mutex<Arc<Answer>>,
    accepts: AtomicU64,
    requests: AtomicU64,
    received: Mutex<VecDeque<Received>>,
    live: Mutex<Live>,
    /// Notified when the origin begins to stop and when a thread has ended.
    changed: Condvar,
}

/// What must end before the origin has stopped.
#[derive(Debug, Default)]
struct Live {
    stopping: bool,
    threads: usize,
    /// The open connections, by number, so that they can be shut from outside.
    connections: HashMap<u64, TcpStream>,
}

// === impl Origin ===

impl Origin {
    /// Listens on a loopback port that the kernel picks.
    ///
    /// # Panics
    ///
    /// When none can be bound.
    pub fn start(answer: Answer) -> Origin {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Origin::start_at(anywhere, answer).expect("a loopback port can be bound")
    }

    /// Listens on this address, such as that of an origin which was stopped and now comes back.
    pub fn start_at(addr: SocketAddr, answer: Answer) -> io::Result<Origin> {
        let listener = TcpListener::bind(addr)?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State {
            answer: Mutex::new(Arc::new(answer)),
            accepts: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            received: Mutex::new(VecDeque::new()),
            live: Mutex::new(Live::default()),
            changed: Condvar::new(),
        });
        State::spawn(&state, move |state| state.accept(&listener))?;
        Ok(Origin { addr, state })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections were accepted.
    pub fn accepts(&self) -> u64 {
        self.state.accepts.load(Ordering::SeqCst)
    }

    /// How many requests were read whole, counted before their answer is sent.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        self.state.live().connections.len()
    }

    /// Head of the newest request.
    pub fn last_request(&self) -> Option<String> {
        self.state.received().back().map(|received| received.head.clone())
    }

    /// The newest 256 requests, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.state.received().iter().cloned().collect()
    }

    /// Answers so from the next request on.
    pub fn set_answer(&self, answer: Answer) {
        *self.state.answer.lock().expect(UNPOISONED) = Arc::new(answer);
    }

    /// Closes the listening socket and every connection, at once: a request in flight gets no answer. Returns
    /// when all threads have ended, at most five seconds later.
    pub fn stop(&self) {
        {
            let mut live = self.state.live();
            live.stopping = true;
            for connection in live.connections.values() {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
        self.state.changed.notify_all();
        // `accept` has no time-out of its own: a connection wakes it. If refused, it has ended already.
        let _ = TcpStream::connect_timeout(&self.addr, Duration::from_secs(1));
        let wait =
            self.state.changed.wait_timeout_while(self.state.live(), STOP_WITHIN, |live| live.threads > 0);
        drop(wait.expect(UNPOISONED));
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

// === impl State ===

impl State {
    /// Runs `work` on a thread of its own that `stop` waits for.
    fn spawn(state: &Arc<State>, work: impl FnOnce(&Arc<State>) + Send + 'static) -> io::Result<()> {
        /// Ends the count also if the thread panics.
        struct Ended(Arc<State>);
        impl Drop for Ended {
            fn drop(&mut self) {
                self.0.live().threads -= 1;
                self.0.changed.notify_all();
            }
        }

        state.live().threads += 1;
        let ended = Ended(Arc::clone(state));
        let run = move || {
            // `work`, and the socket that it owns, is gone before the thread counts as ended.
            work(&ended.0);
        };
        thread::Builder::new().name("origin".to_owned()).stack_size(STACK).spawn(run).map(drop)
    }

    fn accept(self: &Arc<State>, listener: &TcpListener) {
        loop {
            let accepted = listener.accept();
            if self.live().stopping {
                return;
            }
            let Ok((stream, _)) = accepted else {
                // Out of descriptors, most likely: they may come back.
                self.pause(Duration::from_millis(10));
                continue;
            };
            let number = self.accepts.fetch_add(1, Ordering::SeqCst);
            let _ = State::spawn(self, move |state| state.serve(number, stream));
        }
    }

    fn serve(&self, number: u64, stream: TcpStream) {
        let Ok(handle) = stream.try_clone() else { return };
        {
            let mut live = self.live();
            if live.stopping {
                return;
            }
            live.connections.insert(number, handle);
        }
        // A broken connection is the peer's affair; the test sees it there, or in the counts.
        let _ = self.converse(stream);
        if let Some(handle) = self.live().connections.remove(&number) {
            let _ = handle.shutdown(Shutdown::Both);
        }
    }

    /// Answers requests until either side closes.
    fn converse(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        while let Some(head) = Head::read(&mut reader)? {
            let framing = head.request_framing();
            if head.lists("expect", "100-continue") {
                reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let body = framing.and_then(|framing| message::read_body(&mut reader, framing));
            self.remember(&head, body.as_ref().map_or(&[][..], Vec::as_slice));
            if let Err(error) = body {
                reader.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")?;
                return Err(error);
            }
            self.requests.fetch_add(1, Ordering::SeqCst);

            let answer = Arc::clone(&self.answer.lock().expect(UNPOISONED));
            if self.pause(answer.pause()) {
                return Ok(());
            }
            let old = head.start.ends_with("HTTP/1.0") && !head.lists("connection", "keep-alive");
            let last = old || head.lists("connection", "close") || answer.closes();
            reader.get_mut().write_all(&answer.to_bytes(head.start.starts_with("HEAD "), last))?;
            if last || answer.is_cut() {
                break;
            }
        }
        Ok(())
    }

    fn remember(&self, head: &Head, body: &[u8]) {
        let mut received = self.received();
        if received.len() == REMEMBERED {
            received.pop_front();
        }
        received.push_back(Received { head: head.text.clone(), body: body.to_vec() });
    }

    /// Waits so long, or until the origin stops; whether it stops.
    fn pause(&self, time: Duration) -> bool {
        if time.is_zero() {
            return false;
        }
        let wait = self.changed.wait_timeout_while(self.live(), time, |live| !live.stopping);
        wait.expect(UNPOISONED).0.stopping
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().expect(UNPOISONED)
    }

    fn received(&self) -> MutexGuard<'_, VecDeque<Received>> {
        self.received.lock().expect(UNPOISONED)
    }
}

const REMEMBERED: usize = 256;
const STACK: usize = 256 << 10;
const STOP_WITHIN: Duration = Duration::from_secs(5);
const UNPOISONED: &str = "no thread panics while it holds the lock";

#[cfg(test)]
mod tests;
