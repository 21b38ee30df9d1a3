//! The cluster as one thing: every kind followed, and what is known of all of them at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use trysail_routing::wire::Reader;

use crate::follow::Follow;
use crate::held::{Entry, Held, Teller, View};
use crate::lease::Candidate;
use crate::pace::Pace;
use crate::report::{Judgements, Reporter};
use crate::standing::{Seat, Standing};
use crate::{Connection, Judgement, Key, Kind};

/// What of a cluster is followed.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespaces whose objects are read; empty for all.
    pub namespaces: Vec<String>,
    /// The gateway's own namespace, whose Secrets are read.
    pub namespace: String,
    /// How long things take.
    pub timing: Timing,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Changes are told when there was none for so long …
    pub settle: Duration,
    /// … or the first of them is so long ago.
    pub ceiling: Duration,
    /// The first wait after something went wrong.
    pub first_wait: Duration,
    /// The longest one.
    pub longest_wait: Duration,
    /// The wait for what may never come: a kind that is not there, or not allowed.
    pub rare_wait: Duration,
    /// Lists that everyone has to make at once are spread over so long.
    pub spread: Duration,
    /// How long a watch lasts.
    pub watch: Duration,
    /// How long a watch may say nothing at all.
    pub silence: Duration,
    /// For how long a kind has to be absent until its objects are taken as gone.
    pub gone_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            settle: Duration::from_millis(20),
            ceiling: Duration::from_millis(200),
            first_wait: Duration::from_millis(250),
            longest_wait: Duration::from_secs(30),
            rare_wait: Duration::from_secs(30),
            spread: Duration::from_secs(2),
            watch: Duration::from_secs(300),
            silence: Duration::from_secs(90),
            gone_after: Duration::from_secs(10),
        }
    }
}

impl Timing {
    /// The pace of what may never come.
    pub(crate) fn rare(&self) -> Pace {
        Pace::new(self.rare_wait, self.rare_wait)
    }
}

/// A cluster that is followed.
pub struct Cluster {
    connection: Connection,
    options: Options,
    held: Arc<Held>,
    standing: Arc<Standing>,
    runtime: Handle,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Secrets that are followed by name, since their type is not that of certificates.
    named: Mutex<BTreeMap<String, Named>>,
    last_id: AtomicU64,
    judged: watch::Sender<Judgements>,
}

struct Named {
    task: JoinHandle<()>,
    teller: Teller,
    seat: Arc<Seat>,
}

impl Cluster {
    /// Begins to follow. `reader` reads what objects say.
    pub fn start(connection: Connection, options: Options, reader: Reader, runtime: Handle) -> Self {
        let cluster = Cluster {
            connection,
            options,
            held: Arc::new(Held::new(reader)),
            standing: Arc::default(),
            runtime,
            tasks: Mutex::default(),
            named: Mutex::default(),
            last_id: AtomicU64::new(0),
            judged: watch::Sender::new(Judgements::default()),
        };
        for kind in Kind::ALL {
            let namespaces = match kind {
                // Istio reads those of the gateway's namespace, whoever names them.
                Kind::Secret => vec![Some(cluster.options.namespace.as_str())],
                _ if cluster.options.namespaces.is_empty() => vec![None],
                _ => cluster.options.namespaces.iter().map(|namespace| Some(namespace.as_str())).collect(),
            };
            for namespace in namespaces {
                let selector = if kind == Kind::Secret { "type=kubernetes.io/tls" } else { "" };
                let (follow, _, _) = cluster.follower(kind, namespace, selector);
                let task = cluster.runtime.spawn(follow.run());
                cluster.tasks.lock().push(task);
            }
        }
        cluster
    }

    fn follower(&self, kind: Kind, namespace: Option<&str>, selector: &str) -> (Follow, Teller, Arc<Seat>) {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed);
        let scope = namespace.map_or_else(String::new, |namespace| format!(" in {namespace}"));
        let seat = self.standing.open(kind, scope);
        let teller = Teller { id, kind, namespace: namespace.map(Into::into) };
        let follow = Follow {
            api: self.connection.api.clone(),
            held: self.held.clone(),
            standing: self.standing.clone(),
            seat: seat.clone(),
            teller: teller.clone(),
            selector: selector.to_owned(),
            timing: self.options.timing,
        };
        (follow, teller, seat)
    }

    /// The way to its API server.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What of it is followed.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// How each kind is heard.
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.clone()
    }

    /// All that is known now.
    pub fn view(&self) -> View {
        self.held.view()
    }

    /// Brings a view up to date that was empty, or was brought up to date before, and gives what was another. There may be
    /// one such view.
    pub fn catch_up(&self, view: &mut View) -> BTreeMap<Key, Option<Entry>> {
        self.held.catch_up(view)
    }

    /// What objects said that were kept elsewhere, by their titles; `None` where something is no object of a cluster.
    pub fn view_of<'t>(&self, texts: impl IntoIterator<Item = (&'t str, &'t str)>) -> Option<View> {
        self.held.view_of(texts)
    }

    /// Calls `act` whenever a kind is known that was not, until all are told of.
    pub fn on_told(&self, act: impl Fn() + Send + 'static) {
        let (standing, mut settles) = (self.standing.clone(), self.standing.settles());
        let task = self.runtime.spawn(async move {
            loop {
                settles.borrow_and_update();
                act();
                if standing.untold().is_empty() || settles.changed().await.is_err() {
                    return;
                }
            }
        });
        self.tasks.lock().push(task);
    }

    /// Waits until every kind is known, or known not to be had; `false` where `most` is over before.
    pub async fn known_within(&self, most: Duration) -> bool {
        timeout(most, self.standing.all_settled()).await.is_ok()
    }

    /// Calls `act` after changes, when they have settled.
    pub fn on_change(&self, act: impl Fn() + Send + 'static) {
        let (mut changes, timing) = (self.held.changes(), self.options.timing);
        let task = self.runtime.spawn(async move {
            while changes.changed().await.is_ok() {
                let ceiling = Instant::now() + timing.ceiling;
                loop {
                    let until = (Instant::now() + timing.settle).min(ceiling);
                    match timeout_at(until, changes.changed()).await {
                        Ok(Ok(())) if Instant::now() < ceiling => {}
                        _ => break,
                    }
                }
                act();
            }
        });
        self.tasks.lock().push(task);
    }

    /// Has findings written to the objects' status from now on, by the one of all gateways with this Lease that holds it.
    pub fn report(&self, lease: &str, identity: &str) {
        let leads = Arc::new(watch::Sender::new(false));
        let api = self.connection.api.clone();
        let reporter = Reporter {
            api: api.clone(),
            held: self.held.clone(),
            judged: self.judged.subscribe(),
            leads: leads.subscribe(),
            identity: identity.to_owned(),
        };
        let candidate = Candidate {
            api,
            namespace: self.options.namespace.clone(),
            lease: lease.to_owned(),
            identity: identity.to_owned(),
            leads,
        };
        let tasks = [self.runtime.spawn(candidate.run()), self.runtime.spawn(reporter.run())];
        self.tasks.lock().extend(tasks);
    }

    /// Notes what is to be said of the objects from now on.
    pub fn judge(&self, judgements: BTreeMap<Key, Judgement>) {
        self.judged.send_if_modified(|before| {
            let is_news = **before != judgements;
            if is_news {
                *before = Arc::new(judgements);
            }
            is_news
        });
    }

    /// Follows these Secrets too, whatever their type, and no others by name. What can be no name is passed over.
    pub fn want_secrets(&self, names: &BTreeSet<String>) {
        let mut named = self.named.lock();
        let by_name: BTreeSet<u64> = named.values().map(|follower| follower.teller.id).collect();
        let by_type = self.held.secrets_but_of(&by_name);
        let plain = |name: &String| {
            name.len() <= 253
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        };
        let names: BTreeSet<&String> =
            names.iter().filter(|name| plain(name) && !by_type.contains(*name)).collect();
        named.retain(|name, follower| {
            let wanted = names.contains(&name);
            if !wanted {
                follower.task.abort();
                self.standing.close(&follower.seat);
                self.held.forget(&follower.teller);
            }
            wanted
        });
        for name in names {
            if !named.contains_key(name) {
                let namespace = Some(self.options.namespace.as_str());
                let (follow, teller, seat) =
                    self.follower(Kind::Secret, namespace, &format!("metadata.name={name}"));
                let task = self.runtime.spawn(follow.run());
                named.insert(name.clone(), Named { task, teller, seat });
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.lock().iter().for_each(JoinHandle::abort);
        self.named.lock().values().for_each(|follower| follower.task.abort());
    }
}
