//! An object as the API server gives it, cut down to what is read of it: `managedFields`, a status that is our own, and
//! heartbeats would else be kept a thousand times, and each would look like a change.

use serde_json::{Map, Value};

use crate::Kind;

/// What is left of an object: the fields that are read, in JSON whose keys are sorted, so that the same object is the same
/// text.
pub(crate) fn text(kind: Kind, version: &str, object: &Value) -> String {
    let mut whole = Map::new();
    // Objects in a list say neither.
    let api =
        if kind.group().is_empty() { version.to_owned() } else { format!("{}/{version}", kind.group()) };
    whole.insert("apiVersion".to_owned(), api.into());
    whole.insert("kind".to_owned(), kind.name().into());
    whole.insert("metadata".to_owned(), metadata(kind, &object["metadata"]));
    match kind {
        Kind::EndpointSlice => {
            keep(object, &["addressType", "ports"], &mut whole);
            let endpoints = list(&object["endpoints"], |endpoint| {
                let mut kept = Map::new();
                keep(endpoint, &["addresses", "conditions", "zone", "deprecatedTopology"], &mut kept);
                if let Some(target) = endpoint.get("targetRef") {
                    kept.insert("targetRef".to_owned(), only(target, &["kind", "name", "namespace"]));
                }
                Value::Object(kept)
            });
            whole.insert("endpoints".to_owned(), endpoints);
        }
        Kind::Pod => {
            let status = &object["status"];
            let mut kept = Map::new();
            keep(status, &["podIP", "phase"], &mut kept);
            let conditions = list(&status["conditions"], |condition| only(condition, &["type", "status"]));
            kept.insert("conditions".to_owned(), conditions);
            whole.insert("status".to_owned(), Value::Object(kept));
        }
        _ => keep(object, &["spec"], &mut whole),
    }
    escaped(Value::Object(whole).to_string())
}

/// JSON that is YAML too: what YAML does not print, or takes for the end of a line, stands only within texts, and is escaped
/// there as JSON may have it.
fn escaped(text: String) -> String {
    let plain = |c: char| {
        matches!(c, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}')
            || matches!(c, '\u{ff00}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
    };
    if text.chars().all(plain) {
        return text;
    }
    let mut all = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match plain(c) {
            true => all.push(c),
            // None of them is beyond the first plane.
            false => all.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    all
}

fn metadata(kind: Kind, written: &Value) -> Value {
    let mut kept = Map::new();
    keep(written, &["name", "namespace", "labels", "creationTimestamp"], &mut kept);
    if kind == Kind::Pod {
        keep(written, &["deletionTimestamp"], &mut kept);
        let owners = list(&written["ownerReferences"], |owner| only(owner, &["kind", "name", "controller"]));
        kept.insert("ownerReferences".to_owned(), owners);
    }
    // Those of Pods and slices are others' notes, and some change with every heartbeat.
    if !matches!(kind, Kind::Pod | Kind::EndpointSlice)
        && let Some(annotations) = written.get("annotations").and_then(Value::as_object)
    {
        let mut annotations = annotations.clone();
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        kept.insert("annotations".to_owned(), Value::Object(annotations));
    }
    Value::Object(kept)
}

fn only(object: &Value, fields: &[&str]) -> Value {
    let mut kept = Map::new();
    keep(object, fields, &mut kept);
    Value::Object(kept)
}

fn keep(object: &Value, fields: &[&str], kept: &mut Map<String, Value>) {
    for field in fields {
        if let Some(value) = object.get(field).filter(|value| !value.is_null()) {
            kept.insert((*field).to_owned(), value.clone());
        }
    }
}

fn list(list: &Value, each: impl Fn(&Value) -> Value) -> Value {
    Value::Array(list.as_array().map(|items| items.iter().map(each).collect()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_read_is_kept_and_no_more() {
        let meta = json!({"name": "a", "namespace": "shop", "uid": "1", "resourceVersion": "7", "managedFields": [{}],
            "annotations": {"x": "y", "kubectl.kubernetes.io/last-applied-configuration": "{}"}});
        let cut_meta = json!({"name": "a", "namespace": "shop", "annotations": {"x": "y"}});
        let bare = json!({"name": "a", "namespace": "shop"});
        for (kind, version, fields, expected) in [
            (
                Kind::VirtualService,
                "v1beta1",
                json!({"spec": {"hosts": ["x"]}, "status": {"conditions": []}}),
                json!({"apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService", "metadata": cut_meta,
                       "spec": {"hosts": ["x"]}}),
            ),
            (
                Kind::Pod,
                "v1",
                json!({"spec": {"containers": []}, "status": {"podIP": "10.0.0.1", "phase": "Running", "hostIP": "x",
                       "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": "now"}]}}),
                json!({"apiVersion": "v1", "kind": "Pod",
                       "metadata": {"name": "a", "namespace": "shop", "ownerReferences": []},
                       "status": {"podIP": "10.0.0.1", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}),
            ),
            (
                Kind::EndpointSlice,
                "v1",
                json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "n", "zone": null,
                       "targetRef": {"kind": "Pod", "name": "p", "uid": "2"}}], "ports": [{"port": 80}]}),
                json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": bare,
                       "addressType": "IPv4", "ports": [{"port": 80}],
                       "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "p"}}]}),
            ),
        ] {
            let mut object = fields;
            object["metadata"] = meta.clone();
            assert_eq!(text(kind, version, &object), expected.to_string(), "{kind}");
        }
    }

    #[test]
    fn every_text_is_json_and_yaml() {
        let odd = "a\u{0}\u{1f}\u{7f}\u{80}\u{85}\u{2028}\u{feff}\u{ffff}\u{1f600}\\ud800\"\n";
        let object =
            json!({"metadata": {"name": "a", "namespace": "b", "annotations": {"x": odd}}, "spec": {}});
        let text = text(Kind::Service, "v1", &object);
        let read: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read["metadata"]["annotations"]["x"], odd);
        let reader = trysail_routing::wire::Reader::new("default", trysail_routing::wire::Limits::default());
        let set = trysail_routing::wire::ConfigSet::of_singles([&reader.read_single("Service b/a", &text)]);
        assert!(set.findings.is_empty() && set.documents.len() == 1, "{:?}", set.findings);
    }

    #[test]
    fn what_is_no_object_is_cut_all_the_same() {
        for nonsense in [json!(null), json!([1]), json!({"metadata": 7, "status": "x", "endpoints": {}})] {
            for kind in Kind::ALL {
                assert!(text(kind, "v1", &nonsense).starts_with('{'));
            }
        }
    }
}
