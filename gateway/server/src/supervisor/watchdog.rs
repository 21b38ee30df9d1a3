//! The proof that the process answers, told to the service manager as often as it wants to hear it.
//!
//! A timer that ticks proves a timer. What must not hang are the runtime's threads, so a thread of its own asks them:
//! a task is to be run, through the queue that requests go through, and a timer of the runtime's to go off; and no
//! worker may be within one and the same poll since it was asked before. Where that fails nothing is told, and the
//! service manager ends the process and starts another. Refused: one task for each worker, as nothing keeps a free
//! worker from running them all while another hangs.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use log::error;
use tokio::runtime::{Handle, RuntimeMetrics};

use super::Supervisor;

/// Asks until it is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    _end: mpsc::Sender<()>,
}

impl Watchdog {
    /// Starts one, where the service manager has a watchdog. Errs when no thread can be had.
    pub(crate) fn start(supervisor: Supervisor, runtime: Handle) -> std::io::Result<Option<Self>> {
        let Some(limit) = sd_notify::watchdog_enabled() else { return Ok(None) };
        let (end, ended) = mpsc::channel();
        // Three times within the limit, so that one late answer on a crowded machine is not the end.
        let interval = (limit / 3).max(Duration::from_millis(1));
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            let mut workers = Workers::look(&runtime.metrics());
            let mut hung = false;
            loop {
                let began = Instant::now();
                let answers = answers(&runtime, interval);
                let now = Workers::look(&runtime.metrics());
                let fault = match (answers, now.hung_since(&workers)) {
                    (false, _) => Some("no thread runs a task".to_owned()),
                    (true, Some(worker)) => Some(format!("thread {worker} is held up by one task")),
                    (true, None) => None,
                };
                match &fault {
                    None => supervisor.alive(),
                    Some(fault) if !hung => {
                        error!(
                            "the process does not answer its watchdog: {fault}, for {} ms",
                            interval.as_millis()
                        );
                    }
                    Some(_) => {}
                }
                (workers, hung) = (now, fault.is_some());
                let rest = interval.saturating_sub(began.elapsed());
                if ended.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Some(Watchdog { _end: end }))
    }
}

/// Whether the runtime runs a task, and a timer within it, in this time.
fn answers(runtime: &Handle, within: Duration) -> bool {
    let (answer, answered) = mpsc::sync_channel(1);
    runtime.spawn(async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let _ = answer.try_send(());
    });
    answered.recv_timeout(within).is_ok()
}

/// How far each worker has come: how often it went to sleep and woke, and how long it has worked in all.
#[derive(Debug, PartialEq)]
struct Workers(Vec<(u64, Duration)>);

impl Workers {
    fn look(metrics: &RuntimeMetrics) -> Self {
        let one =
            |worker| (metrics.worker_park_unpark_count(worker), metrics.worker_total_busy_duration(worker));
        Workers((0..metrics.num_workers()).map(one).collect())
    }

    /// A worker that was awake then and has come no further. One that sleeps has nothing to do.
    fn hung_since(&self, before: &Workers) -> Option<usize> {
        let mut pairs = self.0.iter().zip(&before.0);
        pairs.position(|(now, then)| now == then && now.0.is_multiple_of(2))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;

    /// Long enough for a worker to come further, however busy the machine is.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    }

    /// Whether a worker seems to hang at every look within this time, or at none.
    fn hangs(runtime: &Handle, within: Duration) -> bool {
        let before = Workers::look(&runtime.metrics());
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            assert!(answers(runtime, PATIENCE));
            if Workers::look(&runtime.metrics()).hung_since(&before).is_none() {
                return false;
            }
        }
        true
    }

    #[test]
    fn idle_and_busy_workers_answer() {
        let runtime = runtime();
        assert!(answers(runtime.handle(), PATIENCE));
        assert!(!hangs(runtime.handle(), PATIENCE));
        for _ in 0..8 {
            runtime.spawn(async {
                loop {
                    tokio::task::yield_now().await;
                }
            });
        }
        assert!(answers(runtime.handle(), PATIENCE));
        assert!(!hangs(runtime.handle(), PATIENCE));
        runtime.shutdown_background();
    }

    #[test]
    fn one_worker_that_hangs_is_seen_though_the_other_answers() {
        let runtime = runtime();
        let gate = Arc::new(Barrier::new(2));
        let (begun, has_begun) = mpsc::channel();
        let held = gate.clone();
        runtime.spawn(async move {
            let _ = begun.send(());
            held.wait();
        });
        has_begun.recv_timeout(PATIENCE).unwrap();
        assert!(hangs(runtime.handle(), Duration::from_millis(300)));
        gate.wait();
        assert!(!hangs(runtime.handle(), PATIENCE));
    }

    #[test]
    fn no_worker_left_is_no_answer() {
        let runtime = runtime();
        let gate = Arc::new(Barrier::new(3));
        let (begun, has_begun) = mpsc::channel();
        for _ in 0..2 {
            let (held, begun) = (gate.clone(), begun.clone());
            runtime.spawn(async move {
                let _ = begun.send(());
                held.wait();
            });
        }
        (0..2).for_each(|_| has_begun.recv_timeout(PATIENCE).unwrap());
        assert!(!answers(runtime.handle(), Duration::from_millis(200)));
        gate.wait();
        assert!(answers(runtime.handle(), PATIENCE));
    }
}
