//! The cluster on the command line: which one is meant, and all of it read once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use trysail_kubernetes::{Cluster, Connection, Kind, Line, Options, View, Whence};
use trysail_routing::diagnostic::{Code, Diagnostic, Severity};
use trysail_routing::wire::{ConfigSet, Reader};

use crate::settings::Settings;

/// How long an API server may take until all of a cluster is known.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Flags {
    /// Take the objects from a cluster: the one that the pod is in, else that of the kubeconfig.
    #[arg(long, conflicts_with = "config")]
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

/// All that a cluster says at one moment.
pub(super) struct Read {
    /// The settings as they are there.
    pub(super) settings: Settings,
    pub(super) set: ConfigSet,
    pub(super) view: View,
    /// Its name, for people.
    pub(super) name: String,
}

/// Reads a cluster once. The error is why it can't be.
pub(super) fn read(flags: &Flags, settings: Settings) -> Result<Read, Box<Diagnostic>> {
    let refuse = |message: String, hint: &str| {
        let finding = Diagnostic::new(Code::UNREADABLE, Severity::Error, None, message);
        Box::new(if hint.is_empty() { finding } else { finding.hint(hint) })
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| refuse(format!("threads can't be started: {error}"), ""))?;
    let connection = runtime
        .block_on(Connection::open(&flags.whence()))
        .map_err(|error| refuse(error.message.clone(), error.hint))?;
    let namespace = Settings::pod().0.unwrap_or_else(|| connection.namespace.clone());
    let labels = settings.pod_labels();
    let settings = settings.in_cluster(&namespace, labels);
    let options = Options {
        namespaces: settings.kubernetes.namespaces.clone(),
        namespace: settings.namespace.clone(),
        timing: settings.kubernetes.timing(),
    };
    let name = connection.server.clone();
    let reader = Reader::new(&settings.namespace, settings.reading());
    let cluster = Arc::new(Cluster::start(connection, options, reader, runtime.handle().clone()));
    let known = runtime.block_on(cluster.known_within(PATIENCE));
    let lines = cluster.standing().lines();
    let faulty = |(kind, line): &(Kind, Line)| line.fault.clone().map(|fault| (*kind, fault));
    let mut faults = lines.iter().filter_map(faulty);
    if !known {
        let fault = faults.next().map_or_else(String::new, |(_, fault)| format!(": {fault}"));
        let message = format!("{name} is not known after {} s{fault}", PATIENCE.as_secs());
        return Err(refuse(message, "see whether kubectl get gateways.networking.istio.io -A answers"));
    }
    let view = cluster.view();
    let mut set = ConfigSet::of_singles(view.entries.values().map(|entry| &*entry.single));
    for (kind, fault) in faults {
        let finding = Diagnostic::new(Code::UNREADABLE, Severity::Warning, None, format!("{kind}: {fault}"));
        set.findings.push(finding);
    }
    Ok(Read { settings, set, view, name })
}
