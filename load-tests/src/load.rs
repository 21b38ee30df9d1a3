//! The client: closed loop, HTTP/1.1 keep-alive, one task for each connection, every answer checked.
//!
//! Closed loop means that a connection asks again as soon as it was answered: the proxy is kept busy, which is
//! what CPU per request wants. Its latencies tell how long 64 waiting clients wait, not how fast the proxy is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::origin::find;
use crate::scenario::Scenario;

/// Room for a head and a small body; a larger body is read through it in pieces.
const BUFFER: usize = 16 * 1024;
/// A connection that fails this often in one run stays away.
const MOST_ERRORS: u64 = 100;
/// A run may last this much longer than asked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Limit of a run that is told by a number of requests: callgrind answers some hundred per second.
const COUNTED_LIMIT: Duration = Duration::from_secs(300);

/// When a connection stops asking.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After this long; what is in flight is still awaited.
    Elapsed(Duration),
    /// After so many requests on each connection.
    Requests(u64),
}

/// What came back in one run.
#[derive(Debug, Default)]
pub struct Answers {
    /// Right answers by version, in the order of the scenario.
    pub versions: Vec<u64>,
    /// Wrong answers, broken connections.
    pub errors: u64,
    /// The first of them in words.
    pub first_error: Option<String>,
    /// Microseconds of each right answer, in no order.
    pub latencies: Vec<u32>,
    /// From the first request to the last answer, over the runs that were added up.
    pub elapsed: Duration,
}

impl Answers {
    /// Right answers of all versions.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.versions.iter().sum()
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: Answers) {
        self.versions.resize(self.versions.len().max(other.versions.len()), 0);
        self.versions.iter_mut().zip(&other.versions).for_each(|(sum, count)| *sum += count);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.latencies.extend(other.latencies);
        self.elapsed += other.elapsed;
    }
}

/// Connections to one peer, kept over several runs.
#[derive(Debug)]
pub struct Clients {
    scenario: Scenario,
    request: Arc<[u8]>,
    connections: Vec<Connection>,
}

impl Clients {
    /// Opens `connections` to `address` and asks once on each, so that a run finds them in use. Fails if one of
    /// those answers is wrong.
    pub async fn open(scenario: &Scenario, address: SocketAddr, connections: usize) -> anyhow::Result<Self> {
        let mut clients =
            Clients { scenario: *scenario, request: scenario.request().into(), connections: Vec::new() };
        for _ in 0..connections {
            clients.connections.push(Connection::open(address).await?);
        }
        let first = clients.run(Until::Requests(1)).await?;
        if let Some(error) = first.first_error {
            bail!("{error}");
        }
        Ok(clients)
    }

    /// Asks on all connections at once. Fails if answers stop coming.
    pub async fn run(&mut self, until: Until) -> anyhow::Result<Answers> {
        let started = Instant::now();
        let limit = match until {
            Until::Elapsed(duration) => duration + PATIENCE,
            Until::Requests(_) => COUNTED_LIMIT,
        };
        let mut asking = JoinSet::new();
        for connection in self.connections.drain(..) {
            asking.spawn(connection.ask_until(self.scenario, Arc::clone(&self.request), until, started));
        }
        let mut sum = Answers { versions: vec![0; self.scenario.split.len()], ..Answers::default() };
        let all = async {
            while let Some(ended) = asking.join_next().await {
                let (connection, answers) = ended.expect("the asking task does not panic");
                self.connections.push(connection);
                sum.add(answers);
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            bail!("{} connections still wait for an answer after {} s", asking.len(), limit.as_secs());
        }
        sum.elapsed = started.elapsed();
        Ok(sum)
    }
}

#[derive(Debug)]
struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Box<[u8]>,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Connection { address, stream, buffer: vec![0; BUFFER].into() })
    }

    async fn ask_until(
        mut self,
        scenario: Scenario,
        request: Arc<[u8]>,
        until: Until,
        started: Instant,
    ) -> (Self, Answers) {
        let mut answers = Answers { versions: vec![0; scenario.split.len()], ..Answers::default() };
        let mut asked = 0;
        let mut before = Instant::now();
        while answers.errors < MOST_ERRORS
            && match until {
                Until::Elapsed(duration) => before - started < duration,
                Until::Requests(requests) => asked < requests,
            }
        {
            asked += 1;
            let answer = if scenario.fresh {
                self.ask_anew(&scenario, &request).await
            } else {
                self.ask(&scenario, &request).await
            };
            let now = Instant::now();
            match answer {
                Ok(version) => {
                    answers.versions[version] += 1;
                    answers.latencies.push(u32::try_from((now - before).as_micros()).unwrap_or(u32::MAX));
                }
                Err(error) => {
                    answers.errors += 1;
                    answers.first_error.get_or_insert_with(|| format!("{error:#}"));
                    match Connection::open(self.address).await {
                        Ok(fresh) => self = fresh,
                        Err(_) => break,
                    }
                }
            }
            before = now;
        }
        (self, answers)
    }

    /// One request on a connection of its own, in the place of the one that was there.
    async fn ask_anew(&mut self, scenario: &Scenario, request: &[u8]) -> anyhow::Result<usize> {
        self.stream = TcpStream::connect(self.address).await?;
        self.stream.set_nodelay(true)?;
        self.ask(scenario, request).await
    }

    /// One request; gives the index of the version that answered.
    async fn ask(&mut self, scenario: &Scenario, request: &[u8]) -> anyhow::Result<usize> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        let head = loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            ensure!(read > 0, "closed after {filled} bytes of an answer");
            filled += read;
            if let Some(end) = find(&self.buffer[..filled], b"\r\n\r\n") {
                break Head::read(&self.buffer[..end], end)?;
            }
        };
        ensure!(head.status == *b"200", "status {}", String::from_utf8_lossy(&head.status));
        ensure!(head.body == scenario.body, "a body of {} bytes instead of {}", head.body, scenario.body);
        let version = scenario.split.iter().position(|(version, _)| version.as_bytes() == head.version);
        let version = version.context("an answer of no version of the scenario")?;
        let mut left = (head.end + head.body).checked_sub(filled).context("more bytes than announced")?;
        while left > 0 {
            let read = self.stream.read(&mut self.buffer).await?;
            ensure!(read > 0, "closed {left} bytes before the end of an answer");
            left = left.checked_sub(read).context("more bytes than announced")?;
        }
        Ok(version)
    }
}

/// What the client looks at in the head of an answer.
pub(crate) struct Head<'a> {
    pub(crate) status: [u8; 3],
    pub(crate) body: usize,
    version: &'a [u8],
    /// Offset of the body.
    end: usize,
}

impl<'a> Head<'a> {
    pub(crate) fn read(head: &'a [u8], end: usize) -> anyhow::Result<Self> {
        let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end());
        let status = lines.next().and_then(|line| line.strip_prefix(b"HTTP/1.1 ")?.first_chunk());
        let status = *status.context("no HTTP/1.1 status line")?;
        let (mut body, mut version): (Option<usize>, &[u8]) = (None, b"");
        for line in lines {
            if let Some(value) = field(line, b"x-version:") {
                version = value;
            } else if let Some(value) = field(line, b"content-length:") {
                body = std::str::from_utf8(value)?.parse().ok();
            }
        }
        Ok(Head { status, body: body.context("no content-length")?, version, end })
    }
}

/// The value of the line if it is that field.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::origin;
    use crate::scenario::SMALL_KEEPALIVE;

    async fn run(version: &str, body: usize) -> anyhow::Result<Answers> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(origin::serve(listener, origin::answer(version, body)));
        Clients::open(&SMALL_KEEPALIVE, address, 3).await?.run(Until::Requests(50)).await
    }

    #[tokio::test]
    async fn right_answers_are_counted_by_version() {
        let answers = run("v2", 100).await.expect("all right");
        assert_eq!((answers.versions, answers.errors, answers.latencies.len()), (vec![0, 150], 0, 150));
    }

    #[tokio::test]
    async fn wrong_answers_are_named() {
        let said = |error: anyhow::Result<Answers>| error.expect_err("wrong").to_string();
        assert_eq!(said(run("v3", 100).await), "an answer of no version of the scenario");
        assert_eq!(said(run("v1", 99).await), "a body of 99 bytes instead of 100");
    }

    #[tokio::test]
    async fn an_answer_larger_than_the_buffer_is_read_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(origin::serve(listener, origin::answer("v1", 5 * BUFFER)));
        let scenario = Scenario { body: 5 * BUFFER, ..SMALL_KEEPALIVE };
        let mut clients = Clients::open(&scenario, address, 1).await.expect("answered");
        assert_eq!(clients.run(Until::Requests(9)).await.expect("answered").versions, [9, 0]);
    }
}
