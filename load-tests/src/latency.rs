//! Latency at a fixed rate: requests are sent when they are due, whether or not earlier ones were answered, and their time
//! counts from when they were due. A proxy that stalls is then seen with all who waited, which a closed loop would not have
//! sent.
//!
//! One thread waits for the clock and for all connections in one call, as runtimes' timers are a millisecond apart.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::load::http1::Head;
use crate::origin::find;
use crate::scenario::Scenario;

/// Requests that are due and wait for a connection; beyond, the peer has fallen behind for good.
const MOST_WAITING: usize = 20_000;
/// How long after the last request its answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections to one peer.
#[derive(Debug)]
pub struct Lines {
    lines: Vec<Line>,
    request: Vec<u8>,
    body: usize,
}

#[derive(Debug)]
struct Line {
    stream: TcpStream,
    /// When the request was due that is being answered.
    due: Option<Instant>,
    answer: Vec<u8>,
}

impl Lines {
    /// Opens so many.
    pub fn open(scenario: &Scenario, address: SocketAddr, connections: usize) -> anyhow::Result<Self> {
        let open = |_| -> anyhow::Result<Line> {
            let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok(Line { stream, due: None, answer: Vec::new() })
        };
        let lines = (0..connections).map(open).collect::<anyhow::Result<_>>()?;
        Ok(Lines { lines, request: scenario.request(), body: scenario.body })
    }

    /// Sends `rate` requests a second for so long, and gives the microseconds of each from when it was due, in no order.
    pub fn run(&mut self, rate: u32, time: Duration) -> anyhow::Result<Vec<u32>> {
        let begun = Instant::now();
        let apart = Duration::from_secs(1) / rate;
        let wanted = (time.as_secs_f64() * f64::from(rate)) as usize;
        let (mut latencies, mut waiting) = (Vec::with_capacity(wanted), VecDeque::new());
        let mut free: VecDeque<usize> = (0..self.lines.len()).collect();
        let mut made = 0_u32;
        while latencies.len() < wanted {
            let now = Instant::now();
            ensure!(now < begun + time + PATIENCE, "{} answers are missing", wanted - latencies.len());
            while (made as usize) < wanted && begun + apart * made <= now {
                waiting.push_back(begun + apart * made);
                made += 1;
            }
            ensure!(waiting.len() < MOST_WAITING, "it can not keep up with {rate} requests a second");
            while !waiting.is_empty()
                && let Some(at) = free.pop_front()
            {
                let line = &mut self.lines[at];
                line.due = waiting.pop_front();
                line.stream.write_all(&self.request).context("a request was not taken")?;
            }
            let next = ((made as usize) < wanted).then(|| begun + apart * made);
            self.wait(next)?;
            for (at, line) in self.lines.iter_mut().enumerate() {
                if let Some(due) = line.due
                    && line.hear(self.body)?
                {
                    latencies.push(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX));
                    line.due = None;
                    free.push_back(at);
                }
            }
        }
        Ok(latencies)
    }

    /// Until an answer is there, or the next request is due.
    fn wait(&self, next: Option<Instant>) -> anyhow::Result<()> {
        let asked = self.lines.iter().filter(|line| line.due.is_some());
        let mut sockets: Vec<PollFd<'_>> =
            asked.map(|line| PollFd::new(&line.stream, PollFlags::IN)).collect();
        let time = next.map_or(PATIENCE, |next| next.saturating_duration_since(Instant::now()));
        let time = Timespec::try_from(time).context("a time")?;
        match poll(&mut sockets, Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => bail!("wait: {error}"),
        }
    }
}

impl Line {
    /// Takes what is there; whether the answer is whole.
    fn hear(&mut self, body: usize) -> anyhow::Result<bool> {
        let mut space = [0; 16 * 1024];
        match self.stream.read(&mut space) {
            Ok(0) => bail!("closed within an answer"),
            Ok(read) => self.answer.extend_from_slice(&space[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let Some(end) = find(&self.answer, b"\r\n\r\n") else { return Ok(false) };
        let head = Head::read(&self.answer[..end], end)?;
        ensure!(head.status == *b"200", "status {}", String::from_utf8_lossy(&head.status));
        ensure!(head.body == Some(body), "a body of {:?} bytes instead of {body}", head.body);
        let whole = self.answer.len() >= end + body;
        if whole {
            self.answer.clear();
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin;
    use crate::scenario::SMALL_KEEPALIVE;

    /// An origin on a thread of its own.
    fn origin(stall: Option<Duration>) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let answer = origin::answer("v1", SMALL_KEEPALIVE.body);
            // One connection, so that what stalls stalls everybody.
            let (mut stream, _) = listener.accept().expect("accepted");
            let (mut bytes, mut answered) = ([0; 4096], 0);
            while stream.read(&mut bytes).is_ok_and(|read| read > 0) {
                answered += 1;
                if let Some(stall) = stall.filter(|_| answered == 10) {
                    std::thread::sleep(stall);
                }
                if stream.write_all(&answer).is_err() {
                    return;
                }
            }
        });
        address
    }

    #[test]
    fn all_that_were_due_during_a_stall_are_late() {
        let late = |stall: Option<Duration>| {
            let mut lines = Lines::open(&SMALL_KEEPALIVE, origin(stall), 1).expect("open");
            let latencies = lines.run(500, Duration::from_millis(400)).expect("answered");
            assert_eq!(latencies.len(), 200);
            latencies.iter().filter(|latency| **latency > 50_000).count()
        };
        // Of 200 ms, all but the last 50 ms: 75 requests, less or more by what the machine does.
        let stalled = late(Some(Duration::from_millis(200)));
        assert!(stalled > late(None) + 40, "{stalled}");
    }
}
