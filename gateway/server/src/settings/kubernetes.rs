//! Settings of a cluster as the source: what of it is followed, who the gateway is there, how patient it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use trysail_kubernetes::Timing;

use super::units::Span;
use super::{DanglingSetting, Settings, ranges};

/// The cluster as the source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Kubernetes {
    /// The namespaces whose objects are read; empty for all. Secrets are read of the gateway's own only.
    pub(crate) namespaces: Vec<String>,
    /// The file with the pod's labels, which Gateways select: the downward API's.
    #[serde(deserialize_with = "ranges::directory")]
    pub(crate) pod_labels: PathBuf,
    /// A change is applied when there was no other for so long.
    #[serde(deserialize_with = "ranges::time")]
    pub(crate) settle: Span,
    /// … or when it is so old.
    #[serde(deserialize_with = "ranges::time")]
    pub(crate) settle_most: Span,
    /// The longest wait before the API server is asked again.
    #[serde(deserialize_with = "ranges::some_time")]
    pub(crate) retry_most: Span,
    /// How long a watch lasts.
    #[serde(deserialize_with = "ranges::some_time")]
    pub(crate) watch: Span,
    /// For how long a start waits for an API server that says nothing, before it serves the last good state from disk.
    #[serde(deserialize_with = "ranges::time")]
    pub(crate) kept_after: Span,
    /// Whether what is found is written to the objects' status.
    pub(crate) status: bool,
    /// The Lease by which several gateways agree on who writes it.
    pub(crate) lease: String,
}

impl Default for Kubernetes {
    fn default() -> Self {
        let timing = Timing::default();
        Kubernetes {
            namespaces: Vec::new(),
            pod_labels: PathBuf::from("/etc/podinfo/labels"),
            settle: Span(timing.settle),
            settle_most: Span(timing.ceiling),
            retry_most: Span(timing.longest_wait),
            watch: Span(timing.watch),
            kept_after: Span(Duration::from_secs(5)),
            status: true,
            lease: "trysail".to_owned(),
        }
    }
}

impl Kubernetes {
    /// Which is wrong, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let is_label = |name: &str| {
            let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (1..=63).contains(&name.len()) && name.bytes().all(inner)
        };
        if let Some(name) = self.namespaces.iter().find(|name| !is_label(name)) {
            return Err((
                "namespaces",
                format!("kubernetes.namespaces: {name:?} is not the name of a namespace"),
            ));
        }
        if !is_label(&self.lease) {
            return Err(("lease", format!("kubernetes.lease: {:?} is not the name of a Lease", self.lease)));
        }
        Ok(())
    }

    /// How long things take, by these settings.
    pub(crate) fn timing(&self) -> Timing {
        let usual = Timing::default();
        let most = self.retry_most.0;
        Timing {
            settle: self.settle.0,
            ceiling: self.settle_most.0.max(self.settle.0),
            first_wait: usual.first_wait.min(most),
            longest_wait: most,
            rare_wait: usual.rare_wait.min(most),
            spread: usual.spread.min(most),
            watch: self.watch.0.max(Duration::from_secs(1)),
            silence: usual.silence.min(self.watch.0.max(Duration::from_secs(1))),
            gone_after: usual.gone_after.min(most),
        }
    }
}

impl Settings {
    /// The same in a cluster: who the gateway is there, where the file does not say it; and a route to what does not
    /// exist is no error, as nobody applies all objects at once.
    pub(crate) fn in_cluster(mut self, namespace: &str, labels: Option<BTreeMap<String, String>>) -> Self {
        if !self.written.sets("namespace") {
            namespace.clone_into(&mut self.namespace);
        }
        if let Some(labels) = labels.filter(|_| !self.written.sets("labels")) {
            self.labels = labels;
        }
        if !self.written.sets("dangling") {
            self.dangling = DanglingSetting::Serve;
        }
        // The API server says what there is; a cluster whose last object was deleted has none.
        self.allow_empty = true;
        self
    }

    /// The labels of the pod that this is, as the downward API wrote them; `None` where it did not.
    pub(crate) fn pod_labels(&self) -> Option<BTreeMap<String, String>> {
        std::fs::read_to_string(&self.kubernetes.pod_labels).ok().map(|text| labels(&text))
    }

    /// The pod that this is, by the environment: its namespace and its name, each where it is told.
    pub(crate) fn pod() -> (Option<String>, Option<String>) {
        let told = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        (told("POD_NAMESPACE"), told("POD_NAME"))
    }

    /// The kubeconfig that is meant where none is named, as kubectl has it; `None` in a pod.
    pub(crate) fn usual_kubeconfig() -> Option<PathBuf> {
        let told = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(files) = told("KUBECONFIG") {
            return std::env::split_paths(&files).find(|path| !path.as_os_str().is_empty());
        }
        if told("KUBERNETES_SERVICE_HOST").is_some() {
            return None;
        }
        told("HOME").map(|home| Path::new(&home).join(".kube/config")).filter(|path| path.is_file())
    }
}

/// The downward API's text: a line for each label, `key="value"`, with the value escaped as Go does.
fn labels(text: &str) -> BTreeMap<String, String> {
    let label = |line: &str| {
        let (key, value) = line.split_once('=')?;
        let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
        Some((key.trim().to_owned(), value.replace("\\\"", "\"").replace("\\\\", "\\")))
    };
    text.lines().filter_map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_as_the_downward_api_writes_them() {
        let read = labels("app=\"trysail\"\nistio=\"ingressgateway\"\n\nbroken\npod-template-hash=\"5d\"");
        let pairs: Vec<String> = read.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        assert_eq!(pairs, ["app:trysail", "istio:ingressgateway", "pod-template-hash:5d"]);
    }

    #[test]
    fn what_the_file_says_holds_in_a_cluster_too() {
        let pod = || Some(BTreeMap::from([("istio".to_owned(), "edge".to_owned())]));
        for (text, namespace, label, dangling) in [
            ("", "gw", "edge", DanglingSetting::Serve),
            ("namespace: mine\n", "mine", "edge", DanglingSetting::Serve),
            ("labels: {istio: x}\ndangling: refuse\n", "gw", "x", DanglingSetting::Refuse),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("s.yaml");
            std::fs::write(&path, text).unwrap();
            let settings = Settings::load(Some(&path), &[]).unwrap().in_cluster("gw", pod());
            assert_eq!(
                (&*settings.namespace, &*settings.labels["istio"], settings.dangling),
                (namespace, label, dangling),
                "{text}"
            );
        }
    }

    #[test]
    fn times_stand_in_order() {
        let kubernetes = Kubernetes {
            settle: Span(Duration::from_secs(1)),
            retry_most: Span(Duration::from_millis(100)),
            ..Kubernetes::default()
        };
        let timing = kubernetes.timing();
        assert!(timing.ceiling >= timing.settle && timing.first_wait <= timing.longest_wait);
        assert_eq!(timing.gone_after, Duration::from_millis(100));
    }
}
