//! Values that the chart takes, and those that it refuses.

use crate::helm::{self, path, template};

#[test]
fn the_chart_has_no_warning() {
    let chart = path("chart");
    let Some(said) = helm::run(&["lint", "--strict", chart.to_str().expect("UTF-8")]) else { return };
    assert!(said.as_ref().is_ok_and(|said| !said.contains("WARNING")), "{said:?}");
}

#[test]
fn values_make_what_they_name() {
    // What is set, the kinds that are there, and those that are not.
    let table: &[(&[&str], &[&str], &[&str])] = &[
        (
            &[],
            &["Deployment", "Service", "ServiceAccount", "ConfigMap", "PodDisruptionBudget", "ClusterRole"],
            &["DaemonSet", "HorizontalPodAutoscaler", "NetworkPolicy", "ServiceMonitor"],
        ),
        (&["source=files"], &["Deployment"], &["ClusterRole", "Role", "RoleBinding"]),
        (&["kind=DaemonSet"], &["DaemonSet", "PodDisruptionBudget"], &["Deployment"]),
        (&["replicas=1"], &["Deployment"], &["PodDisruptionBudget"]),
        (&["podDisruptionBudget.enabled=false"], &["Deployment"], &["PodDisruptionBudget"]),
        (
            &["autoscaling.enabled=true", "replicas=1"],
            &["HorizontalPodAutoscaler", "PodDisruptionBudget"],
            &[],
        ),
        (&["autoscaling.enabled=true", "kind=DaemonSet"], &["DaemonSet"], &["HorizontalPodAutoscaler"]),
        (&["networkPolicy.enabled=true"], &["NetworkPolicy"], &[]),
        (&["serviceMonitor.enabled=true"], &["ServiceMonitor"], &[]),
    ];
    for (values, there, missing) in table {
        let Some(rendered) = template(&set(values)) else { return };
        let rendered = rendered.unwrap_or_else(|said| panic!("{values:?}: {said}"));
        for kind in *there {
            assert!(rendered.has(kind), "{values:?}: no {kind}");
        }
        for kind in *missing {
            assert!(!rendered.has(kind), "{values:?}: a {kind}");
        }
    }
}

#[test]
fn values_that_are_none_are_refused() {
    // And the words that say which.
    let table = [
        ("replicas=0", "replicas"),
        ("kind=StatefulSet", "kind"),
        ("source=consul", "source"),
        ("settings.kubernetes.lease=x", "settings"),
        ("servcie.type=ClusterIP", "servcie"),
        ("service.type=ExternalName", "type"),
        ("ports[0].name=http,ports[0].port=80,ports[0].targetPort=80", "targetPort"),
        ("ports[0].name=Http,ports[0].port=80,ports[0].targetPort=8080", "name"),
        ("ports=", "ports"),
        // What the chart says itself.
        ("settings.drain=5s", "settings"),
        ("settings.ports.80=8081", "settings"),
        ("drainSeconds=-1", "drainSeconds"),
    ];
    for (value, words) in table {
        let Some(rendered) = template(&["--set", value]) else { return };
        let said = rendered.err().unwrap_or_else(|| panic!("{value} is taken"));
        assert!(said.contains(words), "{value}: {said}");
    }
}

fn set<'v>(values: &[&'v str]) -> Vec<&'v str> {
    values.iter().flat_map(|value| ["--set", value]).collect()
}
