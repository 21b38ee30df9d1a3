//! What a real kube-apiserver was asked, asked here: the same status, headers and body must come back.
//!
//! Numbers that a server gives (versions, ids, times, tokens, addresses) are compared by being there.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::ApiServer;
use crate::client::{Client, Reply};
use crate::wait::eventually;

#[test]
fn every_recording_is_answered_as_it_was() {
    let api = ApiServer::start_at(305);
    api.require_tokens();
    let mut faults = Vec::new();
    let recordings = recordings();
    assert_eq!(recordings.len(), 55);
    for (name, recording) in recordings {
        let meanwhile = prepare(&api, &name);
        let reply = thread::scope(|scope| {
            let asking = scope.spawn(|| ask(&api, &name, &recording["request"]));
            meanwhile(&api);
            asking.join().unwrap()
        });
        let (expected, actual) = (expected(&recording["response"]), told(&reply));
        if expected != actual {
            faults.push(format!("{name}\nexpected {expected:#}\nactual {actual:#}"));
        }
    }
    assert!(faults.is_empty(), "{} of 55 differ:\n{}", faults.len(), faults.join("\n\n"));
}

/// What was done before a request, and gives what was done while it was answered.
fn prepare(api: &ApiServer, name: &str) -> fn(&ApiServer) {
    match name {
        "29-watch" => |api| {
            watched(api, "virtualservices");
            api.edit("virtualservices", "default", "a", |object| {
                object["spec"]["hosts"] = json!(["c.example"]);
            });
            api.delete("virtualservices", "default", "e");
            let route = json!([{"route": [{"destination": {"host": "a"}, "weight": 100}]}]);
            api.put(json!({
                "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "f"},
                "spec": {"hosts": ["a.example"], "http": route},
            }));
        },
        "36-list-continue-expired" => {
            api.forget_events();
            |_| {}
        }
        "50-delete-with-finalizer" => {
            api.edit("virtualservices", "default", "a", |object| {
                object["metadata"]["labels"]["x"] = "z".into();
                object["metadata"]["finalizers"] = json!(["example.com/f"]);
            });
            |_| {}
        }
        "54-watch-crd-removed" => |api| {
            watched(api, "proxyconfigs");
            api.uninstall("proxyconfigs");
        },
        _ => |_| {},
    }
}

fn watched(api: &ApiServer, kind: &str) {
    eventually(Duration::from_secs(10), "the watch is open", || api.open_watches(kind) == 1);
}

/// Sends a recorded request. Where the real server took its time, less is asked for.
fn ask(api: &ApiServer, name: &str, request: &Value) -> Reply {
    let text = |field: &str| request[field].as_str().unwrap_or_default().to_owned();
    let path = match name {
        "29-watch" => text("path").replace("timeoutSeconds=8", "timeoutSeconds=3"),
        "54-watch-crd-removed" => text("path").replace("=265", &current(api)),
        _ => text("path").replace("timeoutSeconds=2", "timeoutSeconds=1"),
    };
    let (accept, kind, token) = (text("accept"), text("content-type"), format!("Bearer {}", text("user")));
    let mut headers = vec![("accept", accept.as_str())];
    if !kind.is_empty() {
        headers.push(("content-type", &kind));
    }
    if text("user") != "(no token)" {
        headers.push(("authorization", &token));
    }
    let body = match &request["body"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        body => Some(body.to_string()),
    };
    let mut client = Client::connect(api.addr()).unwrap();
    let body = body.as_ref().map(String::as_bytes);
    client.request(&text("method"), "test", &path, &headers, body).unwrap()
}

fn current(api: &ApiServer) -> String {
    format!("={}", api.shared.lock().cluster.store.version())
}

fn told(reply: &Reply) -> Value {
    let headers = ["content-type", "warning", "retry-after", "cache-control"].into_iter();
    let headers: Value = headers
        .filter_map(|name| Some((name.to_owned(), Value::from(reply.header(name)?))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let text = reply.text();
    let body = if reply.header("transfer-encoding").is_some() {
        let mut events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        events.push("(the server closed the stream)".into());
        events.into()
    } else {
        serde_json::from_str(&text).unwrap_or_else(|_| text.as_str().into())
    };
    json!({"status": reply.status, "headers": headers, "body": normal(body)})
}

fn expected(response: &Value) -> Value {
    let body = if response["stream"].is_array() { &response["stream"] } else { &response["body"] };
    json!({"status": response["status"], "headers": response["headers"], "body": normal(body.clone())})
}

/// With what differs from server to server made the same.
fn normal(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut normal = serde_json::Map::new();
            for (name, value) in fields {
                let value = match (name.as_str(), value) {
                    ("managedFields" | "storageVersionHash", _) => continue,
                    (
                        "resourceVersion" | "uid" | "creationTimestamp" | "deletionTimestamp",
                        Value::String(_),
                    )
                    | ("serverAddress" | "clusterIP", Value::String(_)) => format!("some {name}").into(),
                    ("clusterIPs", Value::Array(_)) => "some".into(),
                    ("continue", Value::String(text)) if !text.is_empty() => "some token".into(),
                    ("message", Value::String(text)) if text.contains("resource version") => {
                        text.replace(|letter: char| letter.is_ascii_digit(), "").into()
                    }
                    ("resources", Value::Array(mut items)) => {
                        items.sort_by_key(|item| item["name"].to_string());
                        normal_all(items)
                    }
                    (_, value) => self::normal(value),
                };
                normal.insert(name, value);
            }
            Value::Object(normal)
        }
        Value::Array(items) => normal_all(items),
        value => value,
    }
}

fn normal_all(items: Vec<Value>) -> Value {
    items.into_iter().map(normal).collect()
}

/// By name, in the order in which they were recorded.
fn recordings() -> Vec<(String, Value)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/kubernetes/recordings");
    let mut recordings: Vec<(String, Value)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
        })
        .collect();
    recordings.sort_by(|one, other| one.0.cmp(&other.0));
    recordings
}
