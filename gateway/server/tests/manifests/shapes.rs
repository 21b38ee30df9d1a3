//! What is applied has the shape that Kubernetes gives it: fields are known and of their type, and kubectl applies all of it.
//!
//! Shapes are those of k8s-openapi's types, for the oldest Kubernetes that it knows. What those do not say is not asked:
//! values, names, what has to be there, and what belongs together. A ServiceMonitor is the Prometheus operator's, and known by its kind alone.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use trysail_testkit::kubernetes::{ApiServer, Kubectl};

use crate::helm::{self, Manifests, path};

/// Kinds, their `apiVersion`, and what is wrong with one.
type Shape = (&'static str, &'static str, fn(&Value) -> Result<(), String>);

const SHAPES: [Shape; 13] = [
    ("Namespace", "v1", fits::<Namespace>),
    ("ServiceAccount", "v1", fits::<ServiceAccount>),
    ("ConfigMap", "v1", fits::<ConfigMap>),
    ("Service", "v1", fits::<Service>),
    ("Deployment", "apps/v1", fits::<Deployment>),
    ("DaemonSet", "apps/v1", fits::<DaemonSet>),
    ("HorizontalPodAutoscaler", "autoscaling/v2", fits::<HorizontalPodAutoscaler>),
    ("PodDisruptionBudget", "policy/v1", fits::<PodDisruptionBudget>),
    ("NetworkPolicy", "networking.k8s.io/v1", fits::<NetworkPolicy>),
    ("ClusterRole", "rbac.authorization.k8s.io/v1", fits::<ClusterRole>),
    ("ClusterRoleBinding", "rbac.authorization.k8s.io/v1", fits::<ClusterRoleBinding>),
    ("Role", "rbac.authorization.k8s.io/v1", fits::<Role>),
    ("RoleBinding", "rbac.authorization.k8s.io/v1", fits::<RoleBinding>),
];

/// Kinds whose shape nobody here knows.
const UNKNOWN: [&str; 1] = ["ServiceMonitor"];

/// Whether an object is read whole: what a type does not know is not there any more when it is written again.
fn fits<T: DeserializeOwned + Serialize>(object: &Value) -> Result<(), String> {
    let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let written = serde_json::to_value(typed).map_err(|error| error.to_string())?;
    lost(object, &written, "").map_or(Ok(()), |path| Err(format!("unknown field {path}")))
}

/// The first field that is in `before` and not in `after`.
fn lost(before: &Value, after: &Value, path: &str) -> Option<String> {
    match (before, after) {
        (Value::Object(fields), _) => fields.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match after.get(name) {
                Some(after) => lost(value, after, &path),
                None if value.is_null() => None,
                None => Some(path),
            }
        }),
        (Value::Array(items), Value::Array(others)) => items
            .iter()
            .zip(others)
            .enumerate()
            .find_map(|(at, (item, other))| lost(item, other, &format!("{path}[{at}]"))),
        _ => None,
    }
}

/// What is wrong with a text of objects.
fn judge(text: &str) -> Vec<String> {
    let judge_one = |object: &serde_yaml::Value| {
        let object = serde_json::to_value(object).map_err(|error| error.to_string())?;
        let (kind, version) = (&object["kind"], &object["apiVersion"]);
        if UNKNOWN.iter().any(|known| kind == known) {
            return Ok(());
        }
        let shape = SHAPES.iter().find(|(known, of, _)| kind == known && version == of);
        let (.., fits) = shape.ok_or_else(|| format!("no shape of {version} {kind} is known"))?;
        fits(&object).map_err(|error| format!("{kind} {}: {error}", object["metadata"]["name"]))
    };
    Manifests::read(text).0.iter().filter_map(|object| judge_one(object).err()).collect()
}

#[test]
fn plain_manifests_have_their_shape() {
    for name in
        ["cluster/namespace.yaml", "cluster/trysail.yaml", "files/namespace.yaml", "files/trysail.yaml"]
    {
        let text = std::fs::read_to_string(path("plain").join(name)).expect("it can be read");
        assert_eq!(judge(&text), Vec::<String>::new(), "{name}");
    }
}

/// Values that together make every kind and every part of one.
const VALUES: [&str; 6] = [
    "source=kubernetes",
    "source=files,replicas=1",
    "kind=DaemonSet,networkPolicy.enabled=true,serviceMonitor.enabled=true",
    "autoscaling.enabled=true,networkPolicy.enabled=true",
    "namespaces={shop,pay}",
    "writeStatus=false",
];

fn render(values: &str) -> Option<String> {
    let chart = path("chart");
    let chart = chart.to_str().expect("UTF-8");
    let rendered = helm::run(&["template", "edge", chart, "--namespace", "edge", "--set", values])?;
    Some(rendered.unwrap_or_else(|said| panic!("{values}: {said}")))
}

#[test]
fn the_chart_renders_their_shape() {
    for values in VALUES {
        let Some(text) = render(values) else { return };
        assert_eq!(judge(&text), Vec::<String>::new(), "{values}");
    }
}

#[test]
fn kubectl_applies_all_of_it() {
    let start = |namespace: &str| {
        let api = ApiServer::start();
        let kubectl = Kubectl::find(&api.kubeconfig(namespace))?;
        Some((api, kubectl))
    };
    let apply = |kubectl: &Kubectl, arguments: &[&str], text: &str| {
        let told = kubectl.feed(&[&["apply"], arguments].concat(), text);
        told.unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    };
    for folder in ["cluster", "files"] {
        let Some((_api, kubectl)) = start("default") else { return };
        let folder = path("plain").join(folder);
        let folder = folder.to_str().expect("UTF-8");
        apply(&kubectl, &["-k", folder], "");
        // What is there is what is wanted: nothing is filled in that the next apply would take out.
        let again = apply(&kubectl, &["--dry-run=server", "-k", folder], "");
        // kubectl sends a PodDisruptionBudget's selector whatever is there, since it is replaced as a whole.
        let is_same = |line: &str| line.contains("unchanged") || line.starts_with("poddisruptionbudget");
        assert!(again.lines().all(is_same), "{again}");
    }
    let Some((api, kubectl)) = start("edge") else { return };
    for name in ["edge", "shop", "pay"] {
        api.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"));
    }
    for values in VALUES {
        let Some(text) = render(values) else { return };
        let (monitors, text): (Vec<&str>, Vec<&str>) =
            text.split("\n---\n").partition(|document| document.contains("kind: ServiceMonitor"));
        assert!(monitors.len() <= 1, "{values}");
        // Not by -n, which wants all of it in that namespace: rights may be for several.
        apply(&kubectl, &["--dry-run=server", "-f", "-"], &text.join("\n---\n"));
    }
}

#[test]
fn slips_are_found() {
    let rows = [
        ("spec: {selector: {}, template: {}}", ""),
        ("spec: {selector: {}, template: {}, replica: 2}", "unknown field .spec.replica"),
        ("spec: {selector: {}, template: {}, replicas: two}", "invalid type: string \"two\", expected i32"),
        (
            "spec: {selector: {}, template: {spec: {containers: [{name: a, port: []}]}}}",
            "unknown field .spec.template.spec.containers[0].port",
        ),
    ];
    for (spec, expected) in rows {
        let found = judge(&format!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a}}\n{spec}\n"));
        let is_as_expected = match expected {
            "" => found.is_empty(),
            words => found.iter().any(|fault| fault.contains(words)),
        };
        assert!(is_as_expected, "{spec}: {found:?}, expected {expected:?}");
    }
    assert_eq!(judge("apiVersion: apps/v1beta1\nkind: Deployment\n").len(), 1);
}
