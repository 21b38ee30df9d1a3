//! Connections to upstreams that wait for their next request.
//!
//! They lie in shelves by whom they lead to, the newest on top. What comes unasked on one ends it: it is looked at before it
//! is used again, and each while by who takes away those that are closed, or have waited too long. No clock is asked when one
//! is laid down or taken: time goes in that one's steps. Refused was a pool for each thread, which finds on one what is
//! wanted on another only by luck.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpStream;

/// So many are locked each by itself.
const ROWS: usize = 16;

/// From one look to the next.
const STEP: Duration = Duration::from_millis(250);

/// Where a connection leads: the pool of its cluster (`proxy/peer`), and the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(pub(super) u64, pub(super) SocketAddr);

impl Key {
    /// The pool's number is a hash already, and an address in it is told by little more.
    fn mixed(&self) -> u64 {
        let of_ip = match self.1.ip() {
            IpAddr::V4(ip) => u64::from(u32::from(ip)),
            IpAddr::V6(ip) => u128::from(ip) as u64,
        };
        (self.0 ^ of_ip << 16 ^ u64::from(self.1.port())).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.mixed());
    }
}

/// Takes what is mixed already.
#[derive(Debug, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, mixed: u64) {
        self.0 = mixed;
    }
}

/// A connection to an upstream.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) stream: TcpStream,
    /// When it was opened.
    pub(super) since: Instant,
    /// Requests that it carried, with this one.
    pub(super) used: u32,
    /// Our side of it, once somebody asked.
    local: Option<SocketAddr>,
}

/// The connections that wait.
#[derive(Debug)]
pub(super) struct Pool {
    rows: [Mutex<Row>; ROWS],
    waiting: AtomicUsize,
    most: usize,
    /// Steps so far.
    now: AtomicU64,
    swept: AtomicBool,
}

type Row = HashMap<Key, Vec<Waiting>, BuildHasherDefault<Mixed>>;

#[derive(Debug)]
struct Waiting {
    upstream: Upstream,
    /// The step at which it has waited too long.
    until: u64,
}

impl Upstream {
    /// One that was just opened.
    pub(super) fn new(stream: TcpStream) -> Self {
        // Else a small body may wait for the head to be acknowledged.
        let _ = stream.set_nodelay(true);
        Upstream { stream, since: Instant::now(), used: 0, local: None }
    }

    /// Our side of it.
    pub(super) fn local(&mut self) -> Option<SocketAddr> {
        if self.local.is_none() {
            self.local = self.stream.local_addr().ok();
        }
        self.local
    }

    /// Whether nothing has come on it that nobody asked for, its end among that.
    fn is_quiet(&self) -> bool {
        let mut byte = [0];
        matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

impl Pool {
    /// One that keeps so many at most.
    pub(super) fn new(most: usize) -> Self {
        Pool {
            rows: Default::default(),
            waiting: AtomicUsize::new(0),
            most,
            now: AtomicU64::new(0),
            swept: AtomicBool::new(false),
        }
    }

    fn row(&self, key: &Key) -> &Mutex<Row> {
        &self.rows[key.mixed() as usize % ROWS]
    }

    /// Takes one that leads there, if one is good.
    pub(super) fn take(&self, key: &Key) -> Option<Upstream> {
        let mut row = self.row(key).lock();
        let shelf = row.get_mut(key)?;
        while let Some(Waiting { upstream, until }) = shelf.pop() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            if until > self.now.load(Ordering::Relaxed) && upstream.is_quiet() {
                return Some(upstream);
            }
        }
        None
    }

    /// Lays one down that waits for so long at most, `None` for ever.
    pub(super) fn put(self: &Arc<Self>, key: Key, upstream: Upstream, idle: Option<Duration>) {
        if self.waiting.load(Ordering::Relaxed) >= self.most || !upstream.is_quiet() {
            return;
        }
        let steps = |idle: Duration| u64::try_from(idle.as_millis().div_ceil(STEP.as_millis()));
        let steps = idle.map_or(u64::MAX, |idle| steps(idle).unwrap_or(u64::MAX));
        let until = self.now.load(Ordering::Relaxed).saturating_add(steps);
        self.row(&key).lock().entry(key).or_default().push(Waiting { upstream, until });
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if !self.swept.load(Ordering::Relaxed) && !self.swept.swap(true, Ordering::AcqRel) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Takes away those that are closed, or have waited too long; whether others are left.
    fn sweep(&self) -> bool {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        for row in &self.rows {
            row.lock().retain(|_, shelf| {
                let before = shelf.len();
                shelf.retain(|waiting| waiting.until > now && waiting.upstream.is_quiet());
                self.waiting.fetch_sub(before - shelf.len(), Ordering::Relaxed);
                !shelf.is_empty()
            });
        }
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// Sweeps as long as there is something to sweep.
async fn sweep(pool: std::sync::Weak<Pool>) {
    loop {
        tokio::time::sleep(STEP).await;
        let Some(pool) = pool.upgrade() else { return };
        if pool.sweep() {
            continue;
        }
        pool.swept.store(false, Ordering::Release);
        // Whoever laid one down a moment ago may have taken us for being there.
        let again = pool.waiting.load(Ordering::Acquire) > 0 && !pool.swept.swap(true, Ordering::AcqRel);
        if !again {
            return;
        }
    }
}
