//! What the real server fills in and refuses of kinds that have no schema here: Kubernetes' own, and of Gateway API.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::kinds::Kind;
use super::refusal::Cause;

/// Fills in defaults of an object that is created or replaced. `number` tells cluster addresses apart.
pub(super) fn complete(kind: &Kind, object: &mut Value, number: u64) {
    match kind.resource().as_str() {
        "namespaces" => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            object["spec"] = json!({"finalizers": ["kubernetes"]});
            object["status"] = json!({"phase": "Active"});
        }
        "services" => complete_service(object, number),
        "pods" => complete_pod(object),
        "secrets" => complete_secret(object),
        "endpointslices.discovery.k8s.io" => {
            for port in items_mut(&mut object["ports"]) {
                fill(port, &json!({"name": "", "protocol": "TCP"}));
            }
        }
        "httproutes.gateway.networking.k8s.io" | "grpcroutes.gateway.networking.k8s.io" => {
            for parent in items_mut(&mut object["spec"]["parentRefs"]) {
                fill(parent, &json!({"group": "gateway.networking.k8s.io", "kind": "Gateway"}));
            }
            for rule in items_mut(&mut object["spec"]["rules"]) {
                for target in items_mut(&mut rule["backendRefs"]) {
                    fill(target, &json!({"group": "", "kind": "Service", "weight": 1}));
                }
                if kind.plural == "httproutes" {
                    fill(rule, &json!({"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}));
                    for condition in items_mut(&mut rule["matches"]) {
                        fill(condition, &json!({"path": {"type": "PathPrefix", "value": "/"}}));
                    }
                }
            }
        }
        "gateways.gateway.networking.k8s.io" => {
            for listener in items_mut(&mut object["spec"]["listeners"]) {
                fill(listener, &json!({"allowedRoutes": {"namespaces": {"from": "Same"}}}));
            }
            fill(object, &json!({"status": {"conditions": [waiting("Accepted"), waiting("Programmed")]}}));
        }
        "gatewayclasses.gateway.networking.k8s.io" => {
            fill(object, &json!({"status": {"conditions": [waiting("Accepted")]}}));
        }
        _ => {}
    }
    // What has a schema may hold nulls that mean something.
    if kind.schema.is_none() {
        trim(object);
    }
}

/// What is wrong with an object. `is_trusted`: the test's own, whose endpoints may be on loopback.
pub(super) fn judge(kind: &Kind, object: &Value, is_trusted: bool) -> Vec<Cause> {
    match kind.resource().as_str() {
        "services" => {
            let is_portless =
                object["spec"]["type"] == "ExternalName" || object["spec"]["clusterIP"] == "None";
            match items(&object["spec"]["ports"]).next() {
                None if !is_portless => vec![Cause::required("spec.ports")],
                _ => Vec::new(),
            }
        }
        "secrets" if object["type"] == "kubernetes.io/tls" => {
            let missing = |field: &&str| object["data"].get(field).is_none();
            let fields = ["tls.crt", "tls.key"].into_iter().filter(missing);
            fields.map(|field| Cause::required(&format!("data[{field}]"))).collect()
        }
        "endpointslices.discovery.k8s.io" => judge_slice(object, is_trusted),
        "gateways.gateway.networking.k8s.io" => judge_gateway(object),
        _ => Vec::new(),
    }
}

/// What is said of an object that is taken all the same.
pub(super) fn warnings(kind: &Kind, object: &Value) -> Vec<String> {
    let is_tls = kind.resource() == "secrets" && object["type"] == "kubernetes.io/tls";
    let certificate = object["data"]["tls.crt"].as_str().and_then(|text| BASE64.decode(text).ok());
    let has_pem = certificate.is_some_and(|bytes| String::from_utf8_lossy(&bytes).contains("-----BEGIN "));
    match is_tls && !has_pem {
        true => vec!["tls: failed to find any PEM data in certificate input".to_owned()],
        false => Vec::new(),
    }
}

fn complete_service(object: &mut Value, number: u64) {
    for port in items_mut(&mut object["spec"]["ports"]) {
        let target = port["port"].clone();
        fill(port, &json!({"protocol": "TCP", "targetPort": target}));
    }
    fill(
        object,
        &json!({"spec": {"type": "ClusterIP", "sessionAffinity": "None"}, "status": {"loadBalancer": {}}}),
    );
    if object["spec"]["type"] != "ExternalName" {
        let address = format!("10.96.{}.{}", number / 250 % 250 + 1, number % 250 + 1);
        fill(&mut object["spec"], &json!({"clusterIP": address}));
        let address = object["spec"]["clusterIP"].clone();
        let families = json!({
            "clusterIPs": [address], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        });
        fill(&mut object["spec"], &families);
    }
}

fn complete_pod(object: &mut Value) {
    for container in items_mut(&mut object["spec"]["containers"]) {
        let defaults = json!({
            "resources": {}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "imagePullPolicy": "Always",
        });
        fill(container, &defaults);
    }
    let toleration = |key: &str| {
        let key = format!("node.kubernetes.io/{key}");
        json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    };
    let defaults = json!({
        "spec": {
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "securityContext": {}, "schedulerName": "default-scheduler", "priority": 0, "enableServiceLinks": true,
            "preemptionPolicy": "PreemptLowerPriority",
            "tolerations": [toleration("not-ready"), toleration("unreachable")],
        },
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    });
    fill(object, &defaults);
}

fn complete_secret(object: &mut Value) {
    let plain = object.as_object_mut().and_then(|fields| fields.remove("stringData"));
    for (name, value) in plain.iter().filter_map(Value::as_object).flatten() {
        object["data"][name] = BASE64.encode(value.as_str().unwrap_or_default()).into();
    }
    fill(object, &json!({"type": "Opaque"}));
}

fn judge_slice(object: &Value, is_trusted: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    match object["addressType"].as_str() {
        Some("IPv4" | "IPv6" | "FQDN") => {}
        Some(other) => {
            let message =
                format!("Unsupported value: \"{other}\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"");
            causes.push(Cause::new("FieldValueNotSupported", "addressType", message));
        }
        None => causes.push(Cause::required("addressType")),
    }
    for (at, endpoint) in items(&object["endpoints"]).enumerate() {
        if items(&endpoint["addresses"]).next().is_none() {
            causes.push(Cause::required(&format!("endpoints[{at}].addresses")));
        }
        for (of, address) in items(&endpoint["addresses"]).filter_map(Value::as_str).enumerate() {
            let field = format!("endpoints[{at}].addresses[{of}]");
            let says = match address.parse::<IpAddr>() {
                _ if object["addressType"] == "FQDN" => None,
                Ok(address) if address.is_loopback() && !is_trusted => {
                    Some("may not be in the loopback range (127.0.0.0/8, ::1/128)")
                }
                Ok(address) if address.is_unspecified() => Some("may not be unspecified (0.0.0.0 or ::)"),
                Ok(_) => None,
                Err(_) => Some("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
            };
            causes.extend(says.map(|says| Cause::invalid(&field, &format!("\"{address}\""), says)));
        }
    }
    causes
}

fn judge_gateway(object: &Value) -> Vec<Cause> {
    let listeners: Vec<&Value> = items(&object["spec"]["listeners"]).collect();
    let is_unique = |fields: &[&str]| {
        let place =
            |listener: &Value| -> Vec<Value> { fields.iter().map(|field| listener[field].clone()).collect() };
        listeners.iter().all(|one| listeners.iter().filter(|other| place(other) == place(one)).count() == 1)
    };
    let mut causes = Vec::new();
    if object["spec"]["gatewayClassName"].is_null() {
        causes.push(Cause::required("spec.gatewayClassName"));
    }
    let mut says = |says: &str| {
        causes.push(Cause::new("FieldValueInvalid", "spec.listeners", format!("Invalid value: {says}")));
    };
    if !is_unique(&["port", "protocol", "hostname"]) {
        says("Combination of port, protocol and hostname must be unique for each listener");
    }
    if !is_unique(&["name"]) {
        says("Listener name must be unique within the Gateway");
    }
    causes
}

/// What stands in a status that no controller has written yet, as the CRD's defaults have it.
fn waiting(what: &str) -> Value {
    json!({
        "lastTransitionTime": "1970-01-01T00:00:00Z", "message": "Waiting for controller", "reason": "Pending",
        "status": "Unknown", "type": what,
    })
}

/// Puts in what is not there.
fn fill(value: &mut Value, defaults: &Value) {
    for (name, default) in defaults.as_object().into_iter().flatten() {
        match &mut value[name] {
            empty @ Value::Null => *empty = default.clone(),
            there if default.is_object() => fill(there, default),
            _ => {}
        }
    }
}

/// Takes out nulls that looking for a field has left.
fn trim(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(trim);
        }
        Value::Array(items) => items.iter_mut().for_each(trim),
        _ => {}
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn items_mut(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
}
