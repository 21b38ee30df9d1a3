//! The ports that clients of a cluster reach us by: our own Service's, which lead to others of the pod.
//!
//! A Gateway names the Service's port, as Istio has it: where a Service in our namespace selects this pod and takes 80 to
//! 8080, the server on port 80 is opened on 8080. The setting `ports` holds over it.

use std::collections::BTreeMap;

use serde_json::Value;
use trysail_kubernetes::{Key, Kind, View};

/// Who we are in a cluster.
pub(super) struct Us<'u> {
    pub(super) namespace: &'u str,
    pub(super) labels: &'u BTreeMap<String, String>,
    /// The pod's name, where it is known.
    pub(super) pod: Option<&'u str>,
}

/// Service's port → pod's port, by the Services of our namespace that select us. Of two that disagree the first, by name,
/// holds. A port that is named as its container names it is what the Service's slices say: of the slice that has our
/// pod, else of the first; without one it is left as it is.
pub(super) fn ports(view: &View, us: &Us<'_>) -> BTreeMap<u16, u16> {
    let mut ports = BTreeMap::new();
    for (name, service) in of_kind(view, us, Kind::Service) {
        let spec = &service["spec"];
        let selects = spec["selector"].as_object().is_some_and(|selector| {
            let has =
                |(key, value): (&String, &Value)| us.labels.get(key).is_some_and(|label| value == label);
            !selector.is_empty() && selector.iter().all(has)
        });
        if !selects {
            continue;
        }
        let mut slices = None;
        for port in spec["ports"].as_array().into_iter().flatten().filter(|port| is_tcp(port)) {
            let to = match &port["targetPort"] {
                Value::String(_) => {
                    let slices = slices.get_or_insert_with(|| slices_of(view, us, name));
                    slices.iter().find_map(|slice| port_of(slice, &port["name"]))
                }
                target => number(target),
            };
            if let (Some(from), Some(to)) = (number(&port["port"]), to) {
                ports.entry(from).or_insert(to);
            }
        }
    }
    ports
}

/// Our namespace's objects of a kind, by name.
fn of_kind<'v>(view: &'v View, us: &Us<'_>, kind: Kind) -> impl Iterator<Item = (&'v str, Value)> {
    let first = Key { kind, namespace: us.namespace.into(), name: "".into() };
    let namespace = first.namespace.clone();
    let entries = view.entries.range(first..);
    let ours = entries.take_while(move |(key, _)| key.kind == kind && key.namespace == namespace);
    ours.filter_map(|(key, entry)| Some((&*key.name, serde_json::from_str(entry.single.text()).ok()?)))
}

/// A Service's slices, the one first that has our pod.
fn slices_of(view: &View, us: &Us<'_>, service: &str) -> Vec<Value> {
    let slices = of_kind(view, us, Kind::EndpointSlice).map(|(_, slice)| slice);
    let mut slices: Vec<Value> =
        slices.filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == service).collect();
    let has_us = |slice: &Value| {
        let mut endpoints = slice["endpoints"].as_array().into_iter().flatten();
        us.pod.is_some_and(|pod| endpoints.any(|endpoint| endpoint["targetRef"]["name"] == pod))
    };
    slices.sort_by_key(|slice| !has_us(slice));
    slices
}

/// Where a slice's endpoints answer on the Service's port of a name; a Service with one port need not name it.
fn port_of(slice: &Value, name: &Value) -> Option<u16> {
    let name = name.as_str().unwrap_or_default();
    let mut ports = slice["ports"].as_array().into_iter().flatten().filter(|port| is_tcp(port));
    number(&ports.find(|port| port["name"].as_str().unwrap_or_default() == name)?["port"])
}

fn is_tcp(port: &Value) -> bool {
    port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP")
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trysail_kubernetes::Entry;
    use trysail_routing::wire::{Limits, Reader};

    use super::*;

    /// The Service's namespace, selector and ports, our Pod's name, and which port leads to which.
    type Row = (&'static str, &'static str, &'static str, Option<&'static str>, Vec<(u16, u16)>);

    #[test]
    fn a_service_that_selects_us_says_which_port_is_meant() {
        let labels = BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]);
        let entry = |title: &str, text: &str| {
            let single = Reader::new("gw", Limits::default()).read_single(title, text);
            let key = Key::of_title(title).expect("a title");
            (key, Entry { single: Arc::new(single), facts: Arc::default() })
        };
        let slice = |name: &str, service: &str, pod: &str, port: u16| {
            let text = format!(
                r#"{{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"name":"{name}",
                   "labels":{{"kubernetes.io/service-name":"{service}"}}}},"addressType":"IPv4",
                   "endpoints":[{{"addresses":["10.0.0.1"],"targetRef":{{"kind":"Pod","name":"{pod}"}}}}],
                   "ports":[{{"name":"dns","port":53,"protocol":"UDP"}},{{"name":"http2","port":{port}}}]}}"#
            );
            entry(&format!("EndpointSlice gw/{name}"), &text)
        };
        let with = |namespace: &str, selector: &str, ports: &str| {
            let text = format!(
                r#"{{"apiVersion":"v1","kind":"Service","spec":{{"selector":{selector},"ports":{ports}}}}}"#
            );
            let all = [
                entry(&format!("Service {namespace}/s"), &text),
                slice("a", "other", "us", 9000),
                slice("b", "s", "them", 9001),
                slice("c", "s", "us", 9002),
            ];
            View { entries: BTreeMap::from(all), ..View::default() }
        };
        let ours = r#"{"istio":"ingressgateway"}"#;
        let by_name = r#"[{"name":"http2","port":80,"targetPort":"http"}]"#;
        let rows: [Row; 9] = [
            (
                "gw",
                ours,
                r#"[{"port":80,"targetPort":8080},{"port":443,"targetPort":8443}]"#,
                None,
                vec![(80, 8080), (443, 8443)],
            ),
            ("gw", ours, r#"[{"port":53,"targetPort":54,"protocol":"UDP"}]"#, None, vec![]),
            ("gw", ours, by_name, Some("us"), vec![(80, 9002)]),
            ("gw", ours, by_name, Some("nobody"), vec![(80, 9001)]),
            ("gw", ours, by_name, None, vec![(80, 9001)]),
            ("gw", ours, r#"[{"name":"https","port":443,"targetPort":"tls"}]"#, Some("us"), vec![]),
            ("other", ours, r#"[{"port":80,"targetPort":8080}]"#, None, vec![]),
            ("gw", r#"{"istio":"other"}"#, r#"[{"port":80,"targetPort":8080}]"#, None, vec![]),
            ("gw", "{}", r#"[{"port":80,"targetPort":8080}]"#, None, vec![]),
        ];
        for (namespace, selector, written, pod, expected) in rows {
            let us = Us { namespace: "gw", labels: &labels, pod };
            let found = ports(&with(namespace, selector, written), &us);
            assert_eq!(found, BTreeMap::from_iter(expected), "{namespace} {selector} {written} {pod:?}");
        }
    }
}
