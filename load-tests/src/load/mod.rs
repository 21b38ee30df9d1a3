//! The client: closed loop, one task for each connection or stream, every answer checked.
//!
//! Closed loop means that a connection asks again as soon as it was answered: the proxy is kept busy, which is
//! what CPU per request wants. Its latencies tell how long 64 waiting clients wait, not how fast the proxy is.

mod h2;
pub(crate) mod http1;
mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use rustls::ClientConfig;
use tokio::task::JoinSet;

use self::h2::Slot;
use self::http1::{Line, Stream};
use self::websocket::Socket;
use crate::scenario::Scenario;
use crate::tls;
use crate::wire::Wire;

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
    connections: Vec<Place>,
}

impl Clients {
    /// Opens connections to `address` until `connections` requests can be asked at a time, and asks once in each place, so
    /// that a run finds them in use. Fails if one of those answers is wrong.
    pub async fn open(scenario: &Scenario, address: SocketAddr, connections: usize) -> anyhow::Result<Self> {
        let mut clients =
            Clients { scenario: *scenario, request: scenario.request().into(), connections: Vec::new() };
        let tls = scenario.wire.is_tls().then(|| tls::client(scenario.wire.is_h2())).transpose()?;
        while clients.connections.len() < connections {
            let mut conversation = Conversation::open(scenario, address, tls.as_ref()).await?;
            // Streams share a connection.
            for _ in 1..scenario.streams.min(connections - clients.connections.len()) {
                let Conversation::Http2(slot) = &mut conversation else { break };
                let beside = Conversation::Http2(slot.clone());
                clients.connections.push(Place { address, tls: tls.clone(), conversation: beside });
            }
            clients.connections.push(Place { address, tls: tls.clone(), conversation });
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

/// A place that asks, one request at a time: a connection, or a stream among others on one.
#[derive(Debug)]
struct Place {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    conversation: Conversation,
}

#[derive(Debug)]
enum Conversation {
    Http1(Line),
    Http2(Slot),
    WebSocket(Socket),
}

impl Conversation {
    async fn open(
        scenario: &Scenario,
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
    ) -> anyhow::Result<Self> {
        let stream = Stream::open(scenario, address, tls).await?;
        Ok(match scenario.wire {
            Wire::Http1 | Wire::Tls => Conversation::Http1(Line::new(stream)),
            Wire::H2c | Wire::H2 | Wire::Grpc => Conversation::Http2(Slot::new(scenario, stream).await?),
            Wire::WebSocket => Conversation::WebSocket(Socket::new(scenario, stream).await?),
        })
    }

    async fn ask(&mut self, scenario: &Scenario, request: &[u8]) -> anyhow::Result<usize> {
        match self {
            Conversation::Http1(line) => line.ask(scenario, request).await,
            Conversation::Http2(slot) => slot.ask(scenario).await,
            Conversation::WebSocket(socket) => socket.ask().await,
        }
    }
}

impl Place {
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
                self.conversation.ask(&scenario, &request).await
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
                    match Conversation::open(&scenario, self.address, self.tls.as_ref()).await {
                        Ok(fresh) => self.conversation = fresh,
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
        let tls = self.tls.as_ref();
        match &mut self.conversation {
            // Its buffer stays.
            Conversation::Http1(line) => line.stream = Stream::open(scenario, self.address, tls).await?,
            other => *other = Conversation::open(scenario, self.address, tls).await?,
        }
        self.conversation.ask(scenario, request).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::http1::BUFFER;
    use super::*;
    use crate::origin::grpc::Reply;
    use crate::origin::{self, grpc, websocket};
    use crate::scenario::SMALL_KEEPALIVE;
    use crate::wire;

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

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    #[tokio::test]
    async fn calls_end_with_their_status() {
        for (body, status, said) in [
            (100, "0", "right"),
            (100, "14", "grpc-status \"14\""),
            (99, "0", "a body of 104 bytes instead of 105"),
        ] {
            let (listener, address) = listen().await;
            tokio::spawn(grpc::serve(listener, Reply { version: "v2".to_owned(), body, status }));
            let mut answers = Answers::default();
            let asked = async {
                let mut clients = Clients::open(&wire::GRPC, address, 12).await?;
                anyhow::Ok(clients.run(Until::Requests(20)).await?)
            };
            let heard = match asked.await {
                Ok(all) => {
                    answers = all;
                    "right".to_owned()
                }
                Err(error) => error.to_string(),
            };
            assert_eq!(heard, said);
            assert_eq!(answers.requests(), if said == "right" { 240 } else { 0 });
        }
    }

    #[tokio::test]
    async fn messages_come_back() {
        let (listener, address) = listen().await;
        tokio::spawn(websocket::serve(listener, "v1".to_owned(), 100));
        let mut clients = Clients::open(&wire::WEBSOCKET, address, 3).await.expect("upgraded");
        assert_eq!(clients.run(Until::Requests(50)).await.expect("echoed").versions, [150, 0]);

        // As many connections as messages.
        let each = Scenario { fresh: true, ..wire::WEBSOCKET };
        let mut clients = Clients::open(&each, address, 1).await.expect("upgraded");
        assert_eq!(clients.run(Until::Requests(9)).await.expect("echoed").versions, [9, 0]);
    }
}
