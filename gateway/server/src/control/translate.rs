//! The ports that clients of a cluster reach us by: our own Service's, which lead to others of the pod.
//!
//! A Gateway names the Service's port, as Istio has it: where a Service in our namespace selects this pod and takes 80 to
//! 8080, the server on port 80 is opened on 8080. The setting `ports` holds over it.

use std::collections::BTreeMap;

use serde_json::Value;
use trysail_kubernetes::{Kind, View};

/// Service's port → pod's port, by the Services of this namespace that select these labels. Of two that disagree the
/// first, by name, holds. A port that is named by its container's name is left as it is: the pod's spec is not read.
pub(super) fn ports(view: &View, namespace: &str, labels: &BTreeMap<String, String>) -> BTreeMap<u16, u16> {
    let mut ports = BTreeMap::new();
    let ours =
        |(key, _): &(&trysail_kubernetes::Key, _)| key.kind == Kind::Service && &*key.namespace == namespace;
    for (_, entry) in view.entries.iter().filter(ours) {
        let Ok(service) = serde_json::from_str::<Value>(entry.single.text()) else { continue };
        let spec = &service["spec"];
        let selects = spec["selector"].as_object().is_some_and(|selector| {
            let has = |(key, value): (&String, &Value)| labels.get(key).is_some_and(|label| value == label);
            !selector.is_empty() && selector.iter().all(has)
        });
        if !selects {
            continue;
        }
        for port in spec["ports"].as_array().into_iter().flatten() {
            let number = |field: &str| port[field].as_u64().and_then(|port| u16::try_from(port).ok());
            if let (Some(from), Some(to)) = (number("port"), number("targetPort"))
                && port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP")
            {
                ports.entry(from).or_insert(to);
            }
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trysail_kubernetes::{Entry, Key};
    use trysail_routing::wire::{Limits, Reader};

    use super::*;

    #[test]
    fn a_service_that_selects_us_says_which_port_is_meant() {
        let labels = BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]);
        let with = |namespace: &str, selector: &str, ports: &str| {
            let text = format!(
                r#"{{"apiVersion":"v1","kind":"Service","spec":{{"selector":{selector},"ports":{ports}}}}}"#
            );
            let key = Key { kind: Kind::Service, namespace: namespace.into(), name: "s".into() };
            let single = Reader::new("gw", Limits::default()).read_single("Service", &text);
            let entry = Entry { single: Arc::new(single), facts: Arc::default() };
            View { entries: BTreeMap::from([(key, entry)]), ..View::default() }
        };
        let ours = r#"{"istio":"ingressgateway"}"#;
        for (namespace, selector, written, expected) in [
            (
                "gw",
                ours,
                r#"[{"port":80,"targetPort":8080},{"port":443,"targetPort":8443}]"#,
                vec![(80, 8080), (443, 8443)],
            ),
            (
                "gw",
                ours,
                r#"[{"port":80,"targetPort":"http"},{"port":53,"targetPort":54,"protocol":"UDP"}]"#,
                vec![],
            ),
            ("other", ours, r#"[{"port":80,"targetPort":8080}]"#, vec![]),
            ("gw", r#"{"istio":"other"}"#, r#"[{"port":80,"targetPort":8080}]"#, vec![]),
            ("gw", "{}", r#"[{"port":80,"targetPort":8080}]"#, vec![]),
        ] {
            let found = ports(&with(namespace, selector, written), "gw", &labels);
            assert_eq!(found, BTreeMap::from_iter(expected), "{namespace} {selector} {written}");
        }
    }
}
