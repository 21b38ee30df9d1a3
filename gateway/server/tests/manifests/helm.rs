//! helm as a program, and what it renders.

use std::env;
use std::io::{Write, stderr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_yaml::Value;

/// Documents of Kubernetes' objects.
pub(crate) struct Manifests(pub(crate) Vec<Value>);

/// A path in `kubernetes/`.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../kubernetes").join(name)
}

/// Renders the chart as release `shop` in namespace `edge`, with more arguments; else what helm said. `None`, said aloud, where
/// there is no helm.
pub(crate) fn template(arguments: &[&str]) -> Option<Result<Manifests, String>> {
    let chart = path("chart");
    let chart = chart.to_str().expect("UTF-8");
    let rendered = run(&[&["template", "shop", chart, "--namespace", "edge"], arguments].concat())?;
    Some(rendered.map(|text| Manifests::read(&text)))
}

/// What helm wrote, or what it found wrong. `None`, said aloud, where there is no helm.
pub(crate) fn run(arguments: &[&str]) -> Option<Result<String, String>> {
    let helm = env::var_os("TRYSAIL_HELM").filter(|helm| !helm.is_empty()).unwrap_or("helm".into());
    let asked = Command::new(helm).args(arguments).stdin(Stdio::null()).output();
    let Ok(output) = asked else {
        let words = "no helm: make test fetches it";
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{words}");
        // Around the harness, which keeps back what a test prints that passes.
        let _ = writeln!(stderr(), "skipped: {words}");
        return None;
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Some(if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) })
}

// === impl Manifests ===

impl Manifests {
    pub(crate) fn read(text: &str) -> Manifests {
        let document = |document| Value::deserialize(document).expect("a document of YAML");
        let documents = serde_yaml::Deserializer::from_str(text).map(document);
        Manifests(documents.filter(|document: &Value| !document.is_null()).collect())
    }

    /// The only one of its kind whose name ends so.
    pub(crate) fn one(&self, kind: &str, end: &str) -> &Value {
        let fits = |value: &&Value| {
            value["kind"] == kind
                && value["metadata"]["name"].as_str().is_some_and(|name| name.ends_with(end))
        };
        let found: Vec<&Value> = self.0.iter().filter(fits).collect();
        assert_eq!(found.len(), 1, "{kind} …{end}");
        found[0]
    }

    pub(crate) fn has(&self, kind: &str) -> bool {
        self.0.iter().any(|value| value["kind"] == kind)
    }

    /// The pod that the Deployment or DaemonSet makes.
    pub(crate) fn pod(&self) -> &Value {
        let kind = if self.has("Deployment") { "Deployment" } else { "DaemonSet" };
        &self.one(kind, "")["spec"]["template"]
    }

    pub(crate) fn container(&self) -> &Value {
        &self.pod()["spec"]["containers"][0]
    }

    /// The text of a key of a ConfigMap.
    pub(crate) fn file(&self, map: &str, key: &str) -> &str {
        self.one("ConfigMap", map)["data"][key].as_str().expect("a text")
    }
}
