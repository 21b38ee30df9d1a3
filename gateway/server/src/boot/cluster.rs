//! A cluster as the source: the way to it, who this gateway is in it, and the wait until all of it is known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use tokio::runtime::Runtime;
use trysail_kubernetes::{Cluster, Connection, Options, Whence};
use trysail_routing::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use trysail_routing::wire::Reader;

use super::NotStarted;
use super::signals::Signals;
use crate::control::{Reloader, Watched};
use crate::settings::Settings;

/// So often it is said what is waited for …
const WORD: Duration = Duration::from_secs(5);

/// … and looked.
const LOOK: Duration = Duration::from_millis(100);

/// Joins a cluster: gives the settings as they are there, and the cluster, which is followed from now on.
pub(super) fn join(
    runtime: &Runtime,
    signals: &mut Signals,
    settings: Settings,
    whence: &Whence,
) -> Result<(Settings, Arc<Cluster>), NotStarted> {
    let connection = runtime.block_on(Connection::open(whence)).map_err(|error| {
        let finding = Diagnostic::new(Code::UNREADABLE, Severity::Error, None, error.message);
        NotStarted::Process(super::findings(finding.hint(error.hint)))
    })?;
    let (namespace, pod) = Settings::pod();
    let namespace = namespace.unwrap_or_else(|| connection.namespace.clone());
    let mut labels = settings.pod_labels();
    if let (None, Some(pod)) = (&labels, pod) {
        let asked = connection.labels_of(&namespace, &pod, settings.kubernetes.timing());
        labels = match runtime.block_on(unless_stopped(signals, asked))? {
            Ok(labels) => Some(labels),
            Err(said) => {
                warn!(
                    "the labels of pod {namespace}/{pod} can't be read: {said}; those of the settings are taken"
                );
                None
            }
        };
    }
    let settings = settings.in_cluster(&namespace, labels);
    let labels: Vec<String> = settings.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    info!(
        "the cluster at {}, as namespace {}, for Gateways that select among {}",
        connection.server,
        settings.namespace,
        labels.join(", ")
    );
    let options = Options {
        namespaces: settings.kubernetes.namespaces.clone(),
        namespace: settings.namespace.clone(),
        timing: settings.kubernetes.timing(),
    };
    let reader = Reader::new(&settings.namespace, settings.reading());
    let cluster = Cluster::start(connection, options, reader, runtime.handle().clone());
    Ok((settings, Arc::new(cluster)))
}

/// Puts the cluster's first state in force: what it says, when all of it is known that may be; or, where its API server
/// says nothing for a while, the last good state that was kept on disk.
pub(super) fn begin(
    runtime: &Runtime,
    signals: &mut Signals,
    watched: &mut Watched,
    reloader: &mut Reloader,
    (settings, began): (&Settings, Instant),
) -> Result<(), NotStarted> {
    let cluster = watched.cluster.clone();
    let most = reloader.has_kept().then_some(settings.kubernetes.kept_after.0);
    if !runtime.block_on(unless_stopped(signals, known(&cluster, most)))? {
        if reloader.begin_with_kept(watched, began) {
            return Ok(());
        }
        runtime.block_on(unless_stopped(signals, known(&cluster, None)))?;
    }
    reloader.begin_with_cluster(watched, began).map_err(NotStarted::of)
}

/// Waits until all of it is known that may be, and says so while it takes long. `false` where a kind is not to be had
/// after `most`: one that only takes long is waited for.
async fn known(cluster: &Cluster, most: Option<Duration>) -> bool {
    let began = Instant::now();
    let mut word = WORD;
    while !cluster.known_within(LOOK).await {
        let lines = cluster.standing().lines();
        let unknown = lines.iter().filter(|(_, line)| !line.settled);
        let (kinds, faults): (Vec<&str>, Vec<Option<&String>>) =
            unknown.map(|(kind, line)| (kind.name(), line.fault.as_ref())).unzip();
        let fault = faults.into_iter().flatten().next();
        if fault.is_some() && most.is_some_and(|most| began.elapsed() >= most) {
            return false;
        }
        let fault = fault.map_or_else(String::new, |fault| format!(": {fault}"));
        if began.elapsed() >= word {
            warn!("not ready: {} not known yet{fault}; the API server is asked again", kinds.join(", "));
            word = began.elapsed() + WORD;
        }
    }
    true
}

async fn unless_stopped<T>(signals: &mut Signals, act: impl Future<Output = T>) -> Result<T, NotStarted> {
    tokio::select! {
        done = act => Ok(done),
        () = signals.end() => Err(NotStarted::Stopped(Diagnostics::default())),
    }
}

/// Has what is found written to the objects, where the settings want it.
pub(super) fn report(settings: &Settings, cluster: &Cluster) {
    if settings.kubernetes.status {
        let name = Settings::pod().1.unwrap_or_else(|| settings.surroundings().hostname);
        // A container that is started anew has its name again, and is another.
        cluster.report(&settings.kubernetes.lease, &format!("{name}_{:08x}", fastrand::u32(..)));
    }
}
