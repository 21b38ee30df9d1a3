//! The addresses of names: which names are wanted, when each is asked for again, and what is known of them.
//!
//! A name is followed by a task of its own from the moment that a revision wants it. A new revision waits for the
//! names that it brings in, but not for long: an address that comes later is one that changed. What is done with a
//! change is for `control`; how DNS is asked, in `lookup`; what an answer means for a name, in `name`.

mod lookup;
mod name;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use log::{info, warn};
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use trysail_routing::compile::Addresses;

use crate::metrics::Lookups;
use crate::settings::Dns;
use lookup::{Answer, Lookup, Part};
use name::{Name, Refresh};

/// How long a revision waits for the names that it brings in.
const PATIENCE: Duration = Duration::from_secs(2);

/// Names that are followed; of more the last are left out.
const MOST_NAMES: usize = 10_000;

/// Names that are asked for at a time.
const MOST_LOOKUPS: usize = 64;

/// One asking, over all servers and tries.
const LONGEST: Duration = Duration::from_secs(10);

/// Follows names; a clone follows the same.
#[derive(Clone)]
pub(crate) struct Resolver(Arc<Shared>);

struct Shared {
    lookup: Lookup,
    refresh: Refresh,
    runtime: Handle,
    slots: Semaphore,
    metrics: Lookups,
    known: Mutex<Known>,
    /// Told of every answer.
    answered: Condvar,
    changed: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct Known {
    names: BTreeMap<Arc<str>, Followed>,
    /// Whether a revision waits, which takes what it learns with it.
    awaited: bool,
    /// Whether somebody has to come for what changed.
    stale: bool,
}

struct Followed {
    name: Name,
    task: AbortHandle,
}

impl Resolver {
    pub(crate) fn new(settings: &Dns, metrics: Lookups, runtime: Handle) -> Self {
        Resolver(Arc::new(Shared {
            lookup: Lookup::new(settings.servers.clone()),
            refresh: Refresh { least: settings.min_refresh.0, most: settings.max_refresh.0 },
            runtime,
            slots: Semaphore::new(MOST_LOOKUPS),
            metrics,
            known: Mutex::default(),
            answered: Condvar::new(),
            changed: OnceLock::new(),
        }))
    }

    /// Who is called when addresses are others than those that were last given out. Only the first counts.
    pub(crate) fn on_change(&self, call: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.changed.set(Box::new(call));
        if self.0.known.lock().stale {
            self.0.call();
        }
    }

    /// What is known now.
    pub(crate) fn addresses(&self) -> Addresses {
        self.0.known.lock().take()
    }

    /// Follows these names too, and waits until each of them was asked for once, or for [`PATIENCE`].
    pub(crate) fn learn(&self, wanted: &BTreeSet<Arc<str>>) -> Addresses {
        let until = Instant::now() + PATIENCE;
        let shared = &self.0;
        let mut known = shared.known.lock();
        let mut new = Vec::new();
        let mut left_out = 0;
        for name in wanted {
            if known.names.contains_key(name) {
                continue;
            }
            if known.names.len() >= MOST_NAMES {
                left_out += 1;
                continue;
            }
            let task = shared.runtime.spawn(follow(shared.clone(), name.clone())).abort_handle();
            known.names.insert(name.clone(), Followed { name: Name::default(), task });
            new.push(name);
        }
        if left_out > 0 {
            warn!("{left_out} names are not looked up, as {MOST_NAMES} are already; they have no address");
        }
        known.awaited = true;
        let is_slow =
            |known: &Known, name: &str| known.names.get(name).is_some_and(|it| !it.name.was_asked());
        let waiting = |known: &mut Known| new.iter().any(|name| is_slow(known, name));
        shared.answered.wait_while_until(&mut known, waiting, until);
        known.awaited = false;
        let slow: Vec<&Arc<str>> = new.into_iter().filter(|name| is_slow(&known, name)).collect();
        if let Some((first, others)) = slow.split_first() {
            let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
            warn!(
                "no answer for {first}{more} within {} s, and no longer waited for: 503 where it is the only endpoint",
                PATIENCE.as_secs()
            );
        }
        known.take()
    }

    /// An address of a name, asked for once and followed by nobody. How long that may take is the caller's affair.
    pub(crate) async fn find_address(&self, name: &str) -> Result<IpAddr, String> {
        let shared = &self.0;
        let Ok(_slot) = shared.slots.acquire().await else { return Err("the process ends".to_owned()) };
        let answer = shared.lookup.ask(name).await;
        shared.metrics.counted(answer.result());
        match (answer.four, answer.six) {
            (Part::Found(found, _), _) | (_, Part::Found(found, _)) => {
                found.first().copied().ok_or_else(|| "it has no address".to_owned())
            }
            (Part::Failed(why), _) | (_, Part::Failed(why)) => Err(why),
            (Part::Nothing, Part::Nothing) => Err("it has no address".to_owned()),
        }
    }

    /// Follows no other names than these any more.
    pub(crate) fn keep(&self, wanted: &BTreeSet<Arc<str>>) {
        let mut known = self.0.known.lock();
        known.names.retain(|name, followed| {
            let keep = wanted.contains(name);
            if !keep {
                followed.task.abort();
            }
            keep
        });
        self.0.count(&known);
    }
}

impl Known {
    /// Everything that is known, which from now on is known to whoever takes it.
    fn take(&mut self) -> Addresses {
        self.stale = false;
        let names = self.names.iter();
        names.map(|(name, followed)| (name.clone(), followed.name.addresses().into())).collect()
    }
}

impl Shared {
    fn call(&self) {
        if let Some(changed) = self.changed.get() {
            changed();
        }
    }

    fn count(&self, known: &Known) {
        let failing = known.names.values().filter(|followed| followed.name.is_failing()).count();
        self.metrics.known(known.names.len(), failing);
    }

    /// Notes an answer; gives the time until the name is asked for again, `None` where nobody wants it any more.
    fn note(&self, name: &str, answer: Answer) -> Option<Duration> {
        self.metrics.counted(answer.result());
        let mut known = self.known.lock();
        let followed = known.names.get_mut(name)?;
        let news = followed.name.take(answer, &self.refresh, lookup::has_route);
        if let Some(told) = news.told {
            let line = format!("{name} {told}");
            if news.is_trouble { warn!("{line}") } else { info!("{line}") }
        }
        let calls = news.changed && !known.awaited && !std::mem::replace(&mut known.stale, true);
        self.count(&known);
        drop(known);
        self.answered.notify_all();
        if calls {
            self.call();
        }
        Some(news.next)
    }
}

/// Asks for a name again and again.
async fn follow(shared: Arc<Shared>, name: Arc<str>) {
    loop {
        let answer = {
            let Ok(_slot) = shared.slots.acquire().await else { return };
            let asked = tokio::time::timeout(LONGEST, shared.lookup.ask(&name)).await;
            asked.unwrap_or_else(|_| Answer::failed(format!("no answer within {} s", LONGEST.as_secs())))
        };
        let Some(next) = shared.note(&name, answer) else { return };
        tokio::time::sleep(next).await;
    }
}
