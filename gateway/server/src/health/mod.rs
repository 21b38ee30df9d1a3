//! Active health checks: asks what WorkloadGroups' probes ask, and tells the endpoints' state what was answered.
//!
//! A task for each distinct address and probe, started and stopped by difference after a swap; which answers make an
//! endpoint ready is decided in `trysail_upstream::health`. Nothing here goes through the request path, counts as
//! traffic or uses its connections.

mod ask;
mod grpc;
mod told;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use log::{info, warn};
use parking_lot::Mutex;
use pingora_core::connectors::http::Connector;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use trysail_upstream::Health;
use trysail_upstream::health::{Question, first_wait, wait};

use crate::metrics::Checks;
use crate::proxy::ActiveCell;
use crate::resolver::Resolver;

/// Questions that are under way at once; the others wait for their turn. Each has a socket.
const AT_ONCE: usize = 256;

/// After this a process is ready even if some have not been asked yet.
const SETTLES: Duration = Duration::from_secs(10);

/// Who asks, for as long as the process runs.
#[derive(Clone)]
pub(crate) struct Prober(Arc<Shared>);

struct Shared {
    active: ActiveCell,
    resolver: Resolver,
    runtime: Handle,
    /// One for all: each loads the system's authorities anew.
    connector: Connector<()>,
    permits: Semaphore,
    counters: Checks,
    /// What is asked now. An answer is told while this is held, and so is a swap, so that no answer gets lost between
    /// two revisions.
    asked: Mutex<HashMap<Question, Asked>>,
    /// Whether an answer wants the state reconciled anew.
    stale: AtomicBool,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
    began: Instant,
    /// Whether everybody of the first revision was asked once.
    settled: AtomicBool,
}

/// One question that is asked.
struct Asked {
    task: AbortHandle,
    /// Whether there was an answer, or none in time.
    answered: bool,
}

impl Prober {
    /// Nobody is asked until [`Prober::follow`].
    pub(crate) fn new(active: ActiveCell, resolver: Resolver, runtime: Handle, counters: Checks) -> Self {
        Prober(Arc::new(Shared {
            active,
            resolver,
            runtime,
            connector: Connector::new(None),
            permits: Semaphore::new(AT_ONCE),
            counters,
            asked: Mutex::default(),
            stale: AtomicBool::new(false),
            began: Instant::now(),
            settled: AtomicBool::new(false),
            wake: OnceLock::new(),
        }))
    }

    /// What to call when [`Prober::is_stale`] becomes true.
    pub(crate) fn wake_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.wake.set(Box::new(wake));
        if self.0.stale.load(Ordering::Acquire) {
            self.0.stale();
        }
    }

    /// Whether the state is to be reconciled anew over the same snapshot; says so once.
    pub(crate) fn is_stale(&self) -> bool {
        self.0.stale.swap(false, Ordering::AcqRel)
    }

    /// Whether everybody was asked once since the process began: until then a gateway that was started anew would answer
    /// for endpoints of which it only does not know yet that they are healthy. Nobody is waited for too long.
    pub(crate) fn is_settled(&self) -> bool {
        let shared = &self.0;
        let settled = || {
            shared.began.elapsed() > SETTLES || shared.asked.lock().values().all(|question| question.answered)
        };
        let is_settled = shared.settled.load(Ordering::Relaxed) || settled();
        shared.settled.store(is_settled, Ordering::Relaxed);
        is_settled
    }

    /// Asks what the revision wants that was just swapped in, and nothing else any more. What was asked before is asked
    /// on, in its own time.
    pub(crate) fn follow(&self) {
        let shared = &self.0;
        let mut asked = shared.asked.lock();
        let active = shared.active.load();
        if active.upstreams.settle(Instant::now()) {
            shared.stale();
        }
        let wanted: HashSet<&Question> = active.upstreams.questions().collect();
        asked.retain(|question, one| {
            let stays = wanted.contains(question);
            if !stays {
                one.task.abort();
            }
            stays
        });
        for question in wanted {
            if !asked.contains_key(question) {
                let task = shared.runtime.spawn(shared.clone().ask(question.clone())).abort_handle();
                asked.insert(question.clone(), Asked { task, answered: false });
            }
        }
    }
}

impl Shared {
    /// Asks again and again, until it is aborted.
    async fn ask(self: Arc<Self>, question: Question) {
        let probe = &*question.probe;
        tokio::time::sleep(first_wait(probe, fastrand::u64(..))).await;
        loop {
            let Ok(permit) = self.permits.acquire().await else { return };
            let next = tokio::time::Instant::now() + wait(probe, fastrand::u64(..));
            let asked =
                tokio::time::timeout(probe.timeout, ask::once(&question, &self.connector, &self.resolver));
            let answer = asked.await.unwrap_or(Err(ask::Fault::TimedOut(probe.timeout)));
            drop(permit);
            self.counters.count(&probe.kind, answer.is_ok());
            self.tell(&question, answer);
            tokio::time::sleep_until(next).await;
        }
    }

    fn tell(&self, question: &Question, answer: Result<(), ask::Fault>) {
        let mut asked = self.asked.lock();
        let Some(one) = asked.get_mut(question) else { return };
        one.answered = true;
        let active = self.active.load();
        let Some(answered) = active.upstreams.answered(question, answer.is_ok(), Instant::now()) else {
            return;
        };
        match answered.turned {
            Some((Health::Healthy, in_a_row)) => {
                info!("{}", told::healthy(&active, question, &answered, in_a_row));
            }
            Some((_, in_a_row)) => {
                let last = answer.err().map(|fault| fault.to_string()).unwrap_or_default();
                warn!("{}", told::unhealthy(&active, question, &answered, in_a_row, &last));
            }
            None => {}
        }
        if !answered.returned.is_empty() {
            info!("{}", told::returned(&active, question, &answered));
        }
        if answered.reconcile {
            self.stale();
        }
    }

    fn stale(&self) {
        self.stale.store(true, Ordering::Release);
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }
}
