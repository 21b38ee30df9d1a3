//! A closed loop of requests from several keep-alive clients, and the tally of who answered.
//!
//! It judges; it does not measure: latencies and rates are the business of `load-tests/`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::Client;

/// What to ask, and the bounds of the run.
#[derive(Clone, Debug)]
pub struct Plan {
    addr: SocketAddr,
    host: String,
    path: String,
    headers: Vec<(String, String)>,
    threads: usize,
    expect: u16,
    max_requests: u64,
    max_time: Duration,
}

/// A running load. It ends when stopped, dropped, or at the plan's bounds.
#[derive(Debug)]
pub struct Load {
    run: Arc<Run>,
    threads: Vec<JoinHandle<()>>,
}

/// How the requests of a load went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Good answers by their `x-version`, `-` where there was none.
    pub ok: BTreeMap<String, u64>,
    /// What went wrong, the first twenty.
    pub failures: Vec<String>,
    /// How many requests went wrong: refused, broken off, or answered with a status not expected.
    pub failed: u64,
}

#[derive(Debug)]
struct Run {
    plan: Plan,
    deadline: Instant,
    /// Requests begun, and beyond the maximum one more for each thread that found it reached.
    begun: AtomicU64,
    tally: Mutex<Tally>,
    stopping: Mutex<bool>,
    stop: Condvar,
}

// === impl Plan ===

impl Plan {
    /// GETs by one client that expects 200, at most a million of them and for at most a minute.
    pub fn new(addr: SocketAddr, host: &str, path: &str) -> Plan {
        Plan {
            addr,
            host: host.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            threads: 1,
            expect: 200,
            max_requests: 1_000_000,
            max_time: Duration::from_secs(60),
        }
    }

    /// So many clients at once, a thread and a connection each.
    pub fn threads(mut self, threads: usize) -> Plan {
        self.threads = threads;
        self
    }

    /// One header more in each request.
    pub fn header(mut self, name: &str, value: &str) -> Plan {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another status that counts as good.
    pub fn expect(mut self, status: u16) -> Plan {
        self.expect = status;
        self
    }

    /// Ends after exactly so many requests over all threads, if nothing ends it sooner.
    pub fn max_requests(mut self, requests: u64) -> Plan {
        self.max_requests = requests;
        self
    }

    /// Begins no request later than this.
    pub fn max_time(mut self, time: Duration) -> Plan {
        self.max_time = time;
        self
    }

    /// Begins.
    ///
    /// # Panics
    ///
    /// When no thread can be started.
    pub fn start(self) -> Load {
        let run = Arc::new(Run {
            deadline: Instant::now() + self.max_time,
            begun: AtomicU64::new(0),
            tally: Mutex::default(),
            stopping: Mutex::new(false),
            stop: Condvar::new(),
            plan: self,
        });
        let client = |_| {
            let run = Arc::clone(&run);
            thread::Builder::new()
                .name("load".to_owned())
                .spawn(move || run.work())
                .expect("a thread can be started")
        };
        let threads = (0..run.plan.threads).map(client).collect();
        Load { run, threads }
    }
}

// === impl Load ===

impl Load {
    /// The [`Plan`] that suits most tests, begun.
    pub fn start(addr: SocketAddr, host: &str, path: &str, threads: usize) -> Load {
        Plan::new(addr, host, path).threads(threads).start()
    }

    /// The tally so far.
    pub fn so_far(&self) -> Tally {
        self.run.tally.lock().expect(UNPOISONED).clone()
    }

    /// Begins no further request, waits for those in flight, and tells how all went.
    pub fn stop(mut self) -> Tally {
        self.run.request_stop();
        self.join()
    }

    /// Waits for the plan's own end (`max_requests`, `max_time`), and tells how all went.
    pub fn finish(mut self) -> Tally {
        self.join()
    }

    fn join(&mut self) -> Tally {
        for thread in self.threads.drain(..) {
            thread.join().expect("a load's thread does not panic");
        }
        self.so_far()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.run.request_stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

// === impl Tally ===

impl Tally {
    /// Requests ended, well or not.
    pub fn total(&self) -> u64 {
        self.ok.values().sum::<u64>() + self.failed
    }

    /// Good answers of this version.
    pub fn of(&self, version: &str) -> u64 {
        self.ok.get(version).copied().unwrap_or(0)
    }

    /// # Panics
    ///
    /// When a request failed, or none was sent at all.
    #[track_caller]
    pub fn assert_all_good(&self) {
        assert!(self.failed == 0, "{} of {} failed: {:#?}", self.failed, self.total(), self.failures);
        assert!(self.total() > 0, "no request was sent");
    }

    fn fail(&mut self, text: String) {
        self.failed += 1;
        if self.failures.len() < KEPT_FAILURES {
            self.failures.push(text);
        }
    }
}

// === impl Run ===

impl Run {
    /// One client's life: connects again only where the last answer announced the end, or all went wrong.
    fn work(&self) {
        let headers: Vec<(&str, &str)> =
            self.plan.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut kept: Option<Client> = None;
        while self.takes_turn() {
            let connected = match kept.take() {
                Some(client) => Ok(client),
                None => Client::connect(self.plan.addr),
            };
            let outcome = match connected {
                Err(error) => Err(format!("connect: {error}")),
                Ok(mut client) => match client.get(&self.plan.host, &self.plan.path, &headers) {
                    Err(error) => Err(format!("no answer: {error}")),
                    Ok(reply) => {
                        kept = Some(client).filter(Client::is_open);
                        if reply.status == self.plan.expect {
                            Ok(reply.version().unwrap_or("-").to_owned())
                        } else {
                            Err(format!("status {}: {}", reply.status, reply.text()))
                        }
                    }
                },
            };
            let good = outcome.is_ok();
            {
                let mut tally = self.tally.lock().expect(UNPOISONED);
                match outcome {
                    Ok(version) => *tally.ok.entry(version).or_default() += 1,
                    Err(text) => tally.fail(text),
                }
            }
            if !good {
                // What refuses once refuses for a while; a loop without a pause would fill the tally with it.
                let stopping = self.stopping.lock().expect(UNPOISONED);
                let wait = self.stop.wait_timeout_while(stopping, AFTER_FAILURE, |stopping| !*stopping);
                drop(wait.expect(UNPOISONED));
            }
        }
    }

    fn takes_turn(&self) -> bool {
        let stopping = *self.stopping.lock().expect(UNPOISONED);
        !stopping
            && Instant::now() < self.deadline
            && self.begun.fetch_add(1, Ordering::Relaxed) < self.plan.max_requests
    }

    fn request_stop(&self) {
        *self.stopping.lock().expect(UNPOISONED) = true;
        self.stop.notify_all();
    }
}

const KEPT_FAILURES: usize = 20;
const AFTER_FAILURE: Duration = Duration::from_millis(5);
const UNPOISONED: &str = "no thread panics while it holds the lock";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::{Answer, Origin};
    use crate::wait::eventually;

    #[test]
    fn counts_exactly_and_keeps_its_connections() {
        let origin = Origin::start(Answer::version("v1"));
        let tally = Plan::new(origin.addr(), "shop.test", "/").threads(3).max_requests(100).start().finish();
        tally.assert_all_good();
        assert_eq!((tally.of("v1"), tally.total(), origin.requests()), (100, 100, 100));
        assert!(origin.accepts() <= 3, "{} accepts", origin.accepts());
    }

    #[test]
    fn an_announced_close_is_no_failure() {
        let origin = Origin::start(Answer::version("v1").closing());
        let load = Load::start(origin.addr(), "shop.test", "/", 2);
        eventually(Duration::from_secs(10), "20 answers", || load.so_far().total() >= 20);
        let tally = load.stop();
        tally.assert_all_good();
        assert_eq!(origin.accepts(), tally.total());
    }

    #[test]
    fn what_counts_as_failure() {
        let rows = [
            (Answer::version("v1").status(503).body("full"), "status 503: full"),
            (Answer::version("v1").cut_after(0), "no answer: the peer closed before a reply"),
            (Answer::version("v1").body("0123456789").cut_after(60), "no answer: the peer closed after"),
        ];
        for (answer, expected) in rows {
            let origin = Origin::start(answer);
            let tally = Plan::new(origin.addr(), "shop.test", "/").max_requests(25).start().finish();
            assert_eq!((tally.failed, tally.failures.len(), tally.ok.len()), (25, 20, 0));
            assert!(tally.failures[0].starts_with(expected), "{} is not {expected}", tally.failures[0]);
        }
        let gone = Origin::start(Answer::version("v1"));
        gone.stop();
        let tally = Plan::new(gone.addr(), "shop.test", "/").max_requests(1).start().finish();
        assert!(tally.failures[0].starts_with("connect: "), "{}", tally.failures[0]);
    }

    #[test]
    fn ends_at_its_time() {
        let origin = Origin::start(Answer::version("v1").status(404));
        let plan = Plan::new(origin.addr(), "shop.test", "/").expect(404).max_time(Duration::from_millis(20));
        plan.start().finish().assert_all_good();
    }
}
