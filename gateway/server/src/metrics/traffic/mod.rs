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
use std::sync::{Arc, OnceLock};
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
pub(crate) struct Handles {
    clusters: Vec<Arc<ClusterHandles>>,
    /// Requests for which no cluster was chosen.
    nowhere: Arc<Account>,
    book: Arc<Book>,
}

/// The accounts of one cluster, each looked up with its first request and kept: of a hundred thousand endpoints few are asked.
struct ClusterHandles {
    cluster: Arc<Cluster>,
    /// Requests for which no endpoint was chosen.
    nobody: OnceLock<Arc<Account>>,
    endpoints: Box<[OnceLock<Arc<Account>>]>,
}

impl ClusterHandles {
    /// With the accounts that are there already, so that they stay.
    fn new(cluster: &Arc<Cluster>, book: &Book) -> Self {
        let known = |endpoint: Option<&Endpoint>| {
            let workload = endpoint.map(|endpoint| &endpoint.workload);
            book.known(cluster.service.as_ref(), workload).map_or_else(OnceLock::new, OnceLock::from)
        };
        ClusterHandles {
            cluster: cluster.clone(),
            nobody: known(None),
            endpoints: cluster.endpoints.iter().map(|endpoint| known(Some(endpoint))).collect(),
        }
    }
}

impl Handles {
    /// The account of a request that was to go to a cluster and, there, to an endpoint.
    pub(crate) fn of(&self, cluster: Option<ClusterId>, endpoint: Option<usize>) -> &Account {
        let Some(cluster) = cluster else { return &self.nowhere };
        let ClusterHandles { cluster, nobody, endpoints } = &*self.clusters[cluster.index()];
        let account = |endpoint: Option<&Endpoint>| {
            self.book.account(cluster.service.as_ref(), endpoint.map(|endpoint| &endpoint.workload))
        };
        match endpoint {
            None => nobody.get_or_init(|| account(None)),
            Some(index) => endpoints[index].get_or_init(|| account(cluster.endpoints.get(index))),
        }
    }
}

/// All accounts, over all snapshots.
pub(crate) struct Traffic {
    source: Source,
    book: Arc<Book>,
}

/// The accounts by whom they are for: of those that were ever asked.
struct Book {
    nobody: Arc<Workload>,
    series: Mutex<HashMap<Key, Series>>,
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
        let book = Book { nobody: Arc::new(nobody), series: Mutex::default() };
        Traffic { source, book: Arc::new(book) }
    }

    /// The handles for a snapshot: accounts that are there already, by whom they are for, else new ones.
    pub(crate) fn bind(&self, snapshot: &Snapshot, now: Instant) -> Handles {
        self.bind_after(None, snapshot, now)
    }

    /// The same after the handles in force, which those clusters keep that are the same and stand where they stood.
    pub(crate) fn bind_after(&self, before: Option<&Handles>, snapshot: &Snapshot, now: Instant) -> Handles {
        self.book.sweep(now);
        let bind = |(index, cluster): (usize, &Arc<Cluster>)| {
            let was = before.and_then(|before| before.clusters.get(index));
            match was.filter(|was| Arc::ptr_eq(&was.cluster, cluster)) {
                Some(kept) => kept.clone(),
                None => Arc::new(ClusterHandles::new(cluster, &self.book)),
            }
        };
        Handles {
            clusters: snapshot.clusters.iter().enumerate().map(bind).collect(),
            nowhere: self.book.account(None, None),
            book: self.book.clone(),
        }
    }

    /// Everything as text, piece by piece. The accounts are looked up now, and their counts when they are written.
    pub(super) fn scrape(&self, now: Instant) -> Scrape {
        self.book.sweep(now);
        let accounts = self.book.series.lock().values().map(|one| one.account.clone()).collect();
        Scrape::new(&self.source, accounts)
    }
}

impl Book {
    /// The account of a service's workload.
    fn account(&self, service: Option<&Arc<Service>>, workload: Option<&Arc<Workload>>) -> Arc<Account> {
        let key = self.key(service, workload);
        let mut series = self.series.lock();
        let one = series
            .entry(key)
            .or_insert_with_key(|key| Series { account: Arc::new(Account::new(key.clone())), gone: None });
        one.gone = None;
        one.account.clone()
    }

    /// The same if it is there.
    fn known(
        &self,
        service: Option<&Arc<Service>>,
        workload: Option<&Arc<Workload>>,
    ) -> Option<Arc<Account>> {
        let mut series = self.series.lock();
        // At a start there is but that of requests that go nowhere.
        if series.len() <= 1 {
            return None;
        }
        let one = series.get_mut(&self.key(service, workload))?;
        one.gone = None;
        Some(one.account.clone())
    }

    /// Notes which accounts no snapshot has any more, and lets go of those that none has had for the grace.
    fn sweep(&self, now: Instant) {
        self.series.lock().retain(|_, one| {
            if one.gone.is_none() && Arc::strong_count(&one.account) == 1 {
                one.gone = Some(now);
            }
            one.gone.is_none_or(|gone| now.duration_since(gone) < GRACE)
        });
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
}

#[cfg(test)]
mod tests;
