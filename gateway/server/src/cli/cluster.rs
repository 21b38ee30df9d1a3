//! The cluster on the command line: which one is meant, and all of it read once.

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Runtime;
use trysail_kubernetes::{Cluster, Connection, Kind, Line, Options, Whence};
use trysail_routing::compile::{Compiled, Compiler};
use trysail_routing::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use trysail_routing::snapshot::Snapshot;
use trysail_routing::wire::{ConfigSet, Reader};

use crate::control;
use crate::settings::Settings;
use crate::tls::Store;

/// How long an API server may take until all of a cluster is known.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Flags {
    /// Take the objects from a cluster: the one that the pod is in, else that of the kubeconfig.
    #[arg(long)]
    pub(super) kubernetes: bool,
    /// The kubeconfig; else KUBECONFIG, the pod's service account, or ~/.kube/config.
    #[arg(long, value_name = "FILE", requires = "kubernetes")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; else its current one.
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    context: Option<String>,
}

impl Flags {
    /// Where it stands how to reach the cluster.
    pub(super) fn whence(&self) -> Whence {
        match self.kubeconfig.clone().or_else(Settings::usual_kubeconfig) {
            Some(path) => Whence::Kubeconfig { path, context: self.context.clone() },
            None => Whence::Pod,
        }
    }
}

/// All that a cluster says at one moment, compiled.
pub(super) struct Read {
    /// The settings as they are there.
    pub(super) settings: Settings,
    pub(super) set: ConfigSet,
    pub(super) snapshot: Snapshot,
    /// Also of its credentials.
    pub(super) findings: Diagnostics,
    /// The API server.
    pub(super) server: String,
}

/// Reads a cluster once. The error is why it can't be.
pub(super) fn read(flags: &Flags, settings: Settings) -> Result<Read, Box<Diagnostic>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| refuse(format!("threads can't be started: {error}")))?;
    let connection = runtime
        .block_on(Connection::open(&flags.whence()))
        .map_err(|error| Box::new(refuse(error.message.clone()).hint(error.hint)))?;
    let namespace = Settings::pod().0.unwrap_or_else(|| connection.namespace.clone());
    let labels = settings.pod_labels();
    let settings = settings.in_cluster(&namespace, labels);
    let options = Options {
        namespaces: settings.kubernetes.namespaces.clone(),
        namespace: settings.namespace.clone(),
        timing: settings.kubernetes.timing(),
    };
    let server = connection.server.clone();
    let reader = Reader::new(&settings.namespace, settings.reading());
    let cluster = Cluster::start(connection, options, reader, runtime.handle().clone());
    let faults = known(&runtime, &cluster)?;
    let view = cluster.view();
    let mut set = ConfigSet::of_singles(view.entries.values().map(|entry| &*entry.single));
    for (kind, line) in faults {
        let (severity, message) = match line.fault {
            // Who has none of a kind need not install it.
            _ if line.absent => (Severity::Note, format!("the cluster has no kind {kind}")),
            fault => (Severity::Warning, format!("{kind} is not read: {}", fault.unwrap_or_default())),
        };
        set.findings.push(Diagnostic::new(Code::UNREADABLE, severity, None, message));
    }
    let Compiled { snapshot, mut findings, .. } = Compiler::new(0).compile(&set, &settings.surroundings());
    // Now it is known which Secrets are named.
    cluster.want_secrets(&control::wanted(&snapshot));
    known(&runtime, &cluster)?;
    let (directory, files) = control::secrets(&cluster.view(), &settings.namespace);
    let mut store = Store::new(settings.certificates.clone());
    store.take_from(directory, files);
    store.read(&snapshot, &mut findings);
    findings.sort();
    Ok(Read { settings, set, snapshot, findings, server })
}

/// Waits until all of a cluster is known that may be; gives what may not.
fn known(runtime: &Runtime, cluster: &Cluster) -> Result<Vec<(Kind, Line)>, Box<Diagnostic>> {
    let known = runtime.block_on(cluster.known_within(PATIENCE));
    let lines = cluster.standing().lines();
    let mut faults = lines.into_iter().filter(|(_, line)| line.fault.is_some());
    if known {
        return Ok(faults.collect());
    }
    let fault = faults.next().and_then(|(_, line)| line.fault);
    let fault = fault.map_or_else(String::new, |fault| format!(": {fault}"));
    let server = &cluster.connection().server;
    let finding = refuse(format!("{server} is not known after {} s{fault}", PATIENCE.as_secs()));
    Err(Box::new(finding.hint("see whether kubectl get gateways.networking.istio.io -A answers")))
}

fn refuse(message: String) -> Diagnostic {
    Diagnostic::new(Code::UNREADABLE, Severity::Error, None, message)
}
