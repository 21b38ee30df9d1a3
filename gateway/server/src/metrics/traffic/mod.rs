//! Istio's own series: one account for each workload that may answer, reached by index.
//!
//! A request adds to a few atomics; which is known from its cluster, its endpoint and its status. Labels are strings only
//! at scrape time (`text`). Accounts are kept by whom they are for, so a reload goes on counting where the last one
//! stopped; those of what is gone go after a grace, in which scrapers can see their end.
//!
//! Both of Istio's reporters tell from one account: without sidecars nobody else would speak for the destination, and
//! half of the boards and all of Flagger's checks ask for it.

mod account;
mod histogram;
mod source;
mod text;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use trysail_routing::snapshot::{Cluster, ClusterId, Endpoint, Service, Snapshot, Workload};

use account::Key;
pub(crate) use account::{Account, OpenStream};
pub(crate) use source::{Reporter, Source};
pub(super) use text::Scrape;

/// How long the series of a workload that is gone are still exported.
const GRACE: Duration = Duration::from_secs(600);

/// What a label says of what is not known.
const UNKNOWN: &str = "unknown";

/// The handles of one snapshot, indexed by its ids.
#[derive(Debug)]
pub(crate) struct Handles {
    clusters: Vec<Arc<ClusterHandles>>,
    /// Requests for which no cluster was chosen.
    nowhere: Arc<Account>,
}

#[derive(Debug)]
struct ClusterHandles {
    /// Requests for which no endpoint was chosen.
    nobody: Arc<Account>,
    endpoints: Vec<Arc<Account>>,
}

impl Handles {
    /// The account of a request that was to go to a cluster and, there, to an endpoint.
    pub(crate) fn of(&self, cluster: Option<ClusterId>, endpoint: Option<usize>) -> &Account {
        let Some(cluster) = cluster else { return &self.nowhere };
        let cluster = &self.clusters[cluster.index()];
        endpoint.map_or(&cluster.nobody, |endpoint| &cluster.endpoints[endpoint])
    }
}

/// All accounts, over all snapshots.
pub(crate) struct Traffic {
    source: Source,
    nobody: Arc<Workload>,
    series: Mutex<HashMap<Key, Series>>,
    /// How often handles were bound.
    turns: AtomicU64,
}

struct Series {
    account: Arc<Account>,
    /// Since when no snapshot has had it.
    gone: Option<Instant>,
}

impl Traffic {
    pub(super) fn new(source: Source) -> Self {
        let unknown: Arc<str> = UNKNOWN.into();
        let nobody = Workload {
            name: unknown.clone(),
            namespace: unknown.clone(),
            app: unknown.clone(),
            version: unknown.clone(),
            canonical_service: unknown,
            canonical_revision: "latest".into(),
        };
        Traffic { source, nobody: Arc::new(nobody), series: Mutex::default(), turns: AtomicU64::new(0) }
    }

    /// The handles for a snapshot: accounts that are there already, by whom they are for, else new ones.
    pub(crate) fn bind(&self, snapshot: &Snapshot, now: Instant) -> Handles {
        self.bind_after((&Snapshot::default(), None), snapshot, now)
    }

    /// The same after the snapshot in force, whose handles those clusters keep that are the same and stand where they
    /// stood.
    pub(crate) fn bind_after(
        &self,
        (before, handles): (&Snapshot, Option<&Handles>),
        snapshot: &Snapshot,
        now: Instant,
    ) -> Handles {
        let mut series = self.series.lock();
        series.retain(|_, one| one.gone.is_none_or(|gone| now.duration_since(gone) < GRACE));
        let turn = self.turns.fetch_add(1, Ordering::Relaxed) + 1;
        let mut handle = |service: Option<&Arc<Service>>, workload: Option<&Arc<Workload>>| {
            let key = self.key(service, workload);
            let one = series.entry(key).or_insert_with_key(|key| Series {
                account: Arc::new(Account::new(key.clone())),
                gone: None,
            });
            one.account.mark(turn);
            one.account.clone()
        };
        let nowhere = handle(None, None);
        let bind = |(index, cluster): (usize, &Arc<Cluster>)| {
            let same = before.clusters.get(index).filter(|was| Arc::ptr_eq(was, cluster));
            if let Some(kept) = same.and_then(|_| handles?.clusters.get(index)) {
                kept.endpoints.iter().chain([&kept.nobody]).for_each(|account| account.mark(turn));
                return kept.clone();
            }
            let service = cluster.service.as_ref();
            let nobody = handle(service, None);
            let of = |endpoint: &Endpoint| handle(service, Some(&endpoint.workload));
            Arc::new(ClusterHandles { nobody, endpoints: cluster.endpoints.iter().map(of).collect() })
        };
        let handles = Handles { clusters: snapshot.clusters.iter().enumerate().map(bind).collect(), nowhere };
        for one in series.values_mut() {
            one.gone = if one.account.is_marked(turn) { None } else { one.gone.or(Some(now)) };
        }
        handles
    }

    fn key(&self, service: Option<&Arc<Service>>, workload: Option<&Arc<Workload>>) -> Key {
        let unknown = &self.nobody.name;
        let (host, namespace) = service.map_or((unknown, unknown), |it| (&it.host, &it.namespace));
        let workload = workload.map_or_else(|| self.nobody.clone(), |workload| self.named(workload));
        Key { host: host.clone(), namespace: namespace.clone(), workload }
    }

    /// A workload of which nothing is empty.
    fn named(&self, workload: &Arc<Workload>) -> Arc<Workload> {
        let Workload { name, namespace, app, version, canonical_service, canonical_revision } = &**workload;
        let all = [name, namespace, app, version, canonical_service, canonical_revision];
        if all.into_iter().all(|value| !value.is_empty()) {
            return workload.clone();
        }
        let or = |value: &Arc<str>, other: &Arc<str>| if value.is_empty() { other } else { value }.clone();
        let nobody = &self.nobody;
        Arc::new(Workload {
            name: or(name, &nobody.name),
            namespace: or(namespace, &nobody.namespace),
            app: or(app, &nobody.app),
            version: or(version, &nobody.version),
            canonical_service: or(canonical_service, &nobody.canonical_service),
            canonical_revision: or(canonical_revision, &nobody.canonical_revision),
        })
    }

    /// Everything as text, piece by piece. The accounts are looked up now, and their counts when they are written.
    pub(super) fn scrape(&self) -> Scrape {
        let accounts = self.series.lock().values().map(|one| one.account.clone()).collect();
        Scrape::new(&self.source, accounts)
    }
}

#[cfg(test)]
mod tests;
