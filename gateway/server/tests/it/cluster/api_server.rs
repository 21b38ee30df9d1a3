//! As much of an API server as a gateway asks for, and everything that may be wrong with one: plain HTTP on loopback, objects in
//! memory, one log of what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// The plurals that it knows, with their kinds and groups.
const KINDS: [(&str, &str, &str); 12] = [
    ("gateways", "Gateway", "networking.istio.io"),
    ("virtualservices", "VirtualService", "networking.istio.io"),
    ("destinationrules", "DestinationRule", "networking.istio.io"),
    ("serviceentries", "ServiceEntry", "networking.istio.io"),
    ("workloadentries", "WorkloadEntry", "networking.istio.io"),
    ("workloadgroups", "WorkloadGroup", "networking.istio.io"),
    ("services", "Service", ""),
    ("pods", "Pod", ""),
    ("secrets", "Secret", ""),
    ("events", "Event", ""),
    ("endpointslices", "EndpointSlice", "discovery.k8s.io"),
    ("leases", "Lease", "coordination.k8s.io"),
];

/// An API server.
pub(crate) struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    moved: Condvar,
}

/// Namespace and name within a plural.
type Key = (String, String, String);

/// What it is, and what is wrong with it.
#[derive(Default)]
pub(crate) struct State {
    version: u64,
    /// Watches from before are too old.
    oldest: u64,
    /// Watches of an epoch that is over end.
    epoch: u64,
    objects: BTreeMap<Key, Value>,
    log: Vec<(u64, String, Value)>,
    /// Nobody answers at all.
    pub(crate) down: bool,
    /// A status for each question about a plural.
    pub(crate) answers: BTreeMap<&'static str, u16>,
    /// Kinds that are not installed.
    pub(crate) missing: BTreeSet<&'static str>,
    /// Groups' versions that are served; all where there is none.
    pub(crate) versions: Vec<&'static str>,
    /// Questions are taken and never answered.
    pub(crate) hangs: bool,
    lists: BTreeMap<String, u64>,
    watches: u64,
    /// Watches are kept open and nothing is told.
    pub(crate) silent: bool,
    writes: Vec<String>,
}

impl ApiServer {
    pub(crate) fn start() -> ApiServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        shared.lock().version = 100;
        let serving = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = serving.clone();
                thread::spawn(move || {
                    let _ = shared.serve(stream);
                });
            }
        });
        ApiServer { address, shared }
    }

    /// A kubeconfig for it.
    pub(crate) fn kubeconfig(&self, namespace: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters: [{{name: c, cluster: {{server: \"http://{}\"}}}}]\n\
             users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: test, context: {{cluster: c, user: u, namespace: {namespace}}}}}]\n",
            self.address
        )
    }

    /// Has something be wrong with it, or nothing any more; every watch ends.
    pub(crate) fn set(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.shared.lock();
        change(&mut state);
        state.epoch += 1;
        self.shared.moved.notify_all();
    }

    /// Forgets what happened: watches from before are answered 410.
    pub(crate) fn forget(&self) {
        self.set(|state| {
            // What a watcher has seen last is older than anything.
            state.version += 1;
            state.oldest = state.version;
        });
    }

    /// Creates or changes every object of a YAML text, of the kinds that it knows. Those without a namespace are in
    /// `default`.
    pub(crate) fn apply(&self, text: &str) {
        for document in text.split("\n---\n") {
            let object: Value = serde_yaml::from_str(document).expect("YAML");
            if KINDS.iter().any(|(_, kind, _)| object["kind"] == *kind) {
                self.put(object);
            }
        }
    }

    pub(crate) fn put(&self, mut object: Value) {
        let kind = object["kind"].as_str().expect("a kind").to_owned();
        let (plural, ..) = KINDS.iter().find(|(_, known, _)| *known == kind).expect("a kind that is known");
        if object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = "default".into();
        }
        let mut state = self.shared.lock();
        state.put(plural, object, true);
        self.shared.moved.notify_all();
    }

    /// Changes one object as controllers do: read, edit, write.
    pub(crate) fn edit(&self, plural: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut object = self.get(plural, namespace, name).expect("the object is there");
        edit(&mut object);
        self.put(object);
    }

    pub(crate) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.shared.lock().objects.get(&key).cloned()
    }

    pub(crate) fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let mut state = self.shared.lock();
        if let Some(mut object) = state.objects.remove(&key) {
            state.version += 1;
            let version = state.version;
            object["metadata"]["resourceVersion"] = version.to_string().into();
            state.log.push((version, plural.to_owned(), json!({"type": "DELETED", "object": object})));
        }
        self.shared.moved.notify_all();
    }

    /// All objects of a plural.
    pub(crate) fn all(&self, plural: &str) -> Vec<Value> {
        let state = self.shared.lock();
        state.objects.iter().filter(|((of, ..), _)| of == plural).map(|(_, object)| object.clone()).collect()
    }

    /// How often all objects of a plural were asked for.
    pub(crate) fn lists(&self, plural: &str) -> u64 {
        self.shared.lock().lists.get(plural).copied().unwrap_or_default()
    }

    /// How many watches were begun.
    pub(crate) fn watches(&self) -> u64 {
        self.shared.lock().watches
    }

    /// What was written, as `PATCH /path`.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.shared.lock().writes.clone()
    }

    /// The condition that a gateway wrote to an object: status, reason and message.
    pub(crate) fn condition(&self, plural: &str, name: &str) -> Option<(String, String, String)> {
        let object = self.get(plural, "default", name)?;
        let conditions = object["status"]["conditions"].as_array()?;
        let ours = conditions.iter().find(|condition| condition["type"] == "trysail.dev/Applied")?;
        let text = |field: &str| ours[field].as_str().unwrap_or_default().to_owned();
        Some((text("status"), text("reason"), text("message")))
    }
}

impl State {
    /// Every question about a plural is answered so.
    pub(crate) fn answer(&mut self, plural: &'static str, code: u16) {
        self.answers.insert(plural, code);
    }

    /// A kind is not installed any more.
    pub(crate) fn miss(&mut self, plural: &'static str) {
        self.missing.insert(plural);
    }

    fn put(&mut self, plural: &str, mut object: Value, is_spec: bool) -> Value {
        self.version += 1;
        let metadata = &mut object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        let key = (plural.to_owned(), text("namespace"), text("name"));
        let before = self.objects.get(&key);
        metadata["resourceVersion"] = self.version.to_string().into();
        metadata["managedFields"] = json!([{"manager": "test", "time": self.version}]);
        match before {
            None => {
                metadata["uid"] = format!("uid-{}", self.version).into();
                // Seconds of one minute, so that what came first is older.
                metadata["creationTimestamp"] = format!("2026-01-01T00:00:{:02}Z", self.version % 60).into();
                metadata["generation"] = 1.into();
            }
            Some(before) => {
                for field in ["uid", "creationTimestamp"] {
                    metadata[field] = before["metadata"][field].clone();
                }
                let generation = before["metadata"]["generation"].as_u64().unwrap_or(1);
                let moved = is_spec && before["spec"] != object["spec"];
                object["metadata"]["generation"] = (generation + u64::from(moved)).into();
                if is_spec {
                    object["status"] = before["status"].clone();
                }
            }
        }
        let what = if before.is_none() { "ADDED" } else { "MODIFIED" };
        self.log.push((self.version, plural.to_owned(), json!({"type": what, "object": object})));
        self.objects.insert(key, object.clone());
        object
    }
}

/// What a path leads to: plural, namespace, name, and whether it is the status.
type Found = (&'static str, Option<String>, Option<String>, bool);

/// One question.
struct Asked {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    body: Value,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    /// Answers what comes over one connection.
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        while let Some(asked) = read(&mut reader)? {
            if self.lock().down {
                return Ok(());
            }
            self.wait_while_hanging();
            if asked.method == "GET" && asked.query.get("watch").is_some_and(|watch| watch == "true") {
                return self.watch(&asked, stream);
            }
            let (code, body) = self.answer(&asked);
            let body = body.to_string();
            write!(
                stream,
                "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )?;
        }
        Ok(())
    }

    fn wait_while_hanging(&self) {
        let state = self.lock();
        let (state, patience) = (state, Duration::from_secs(120));
        drop(self.moved.wait_timeout_while(state, patience, |state| state.hangs));
    }

    /// Plural, namespace, name and what is below, of a path; or the answer that it is not there.
    fn find(&self, path: &str) -> Result<Found, (u16, Value)> {
        let words: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match words.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err((404, json!("404 page not found"))),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let state = self.lock();
        let plural = rest.first().copied().unwrap_or_default();
        let known = KINDS.iter().find(|(known, _, of)| *known == plural && *of == group);
        let Some((plural, kind, group)) = known.filter(|(known, ..)| !state.missing.contains(known)) else {
            return Err((404, json!("404 page not found")));
        };
        let is_served = match *group {
            "networking.istio.io" => state.versions.is_empty() || state.versions.contains(&version),
            _ => version == "v1",
        };
        if !is_served {
            return Err((404, json!("404 page not found")));
        }
        if let Some(code) = state.answers.get(plural) {
            return Err((*code, status(*code, &format!("{kind} says {code}"))));
        }
        let (name, below) = (rest.get(1).map(|name| (*name).to_owned()), rest.get(2) == Some(&"status"));
        Ok((plural, namespace, name, below))
    }

    fn answer(&self, asked: &Asked) -> (u16, Value) {
        let (plural, namespace, name, is_status) = match self.find(&asked.path) {
            Ok(found) => found,
            Err(answer) => return answer,
        };
        let mut state = self.lock();
        let key = |name: &str| (plural.to_owned(), namespace.clone().unwrap_or_default(), name.to_owned());
        if asked.method != "GET" {
            state.writes.push(format!("{} {}", asked.method, asked.path));
        }
        let answer = match (asked.method.as_str(), &name) {
            ("GET", None) => {
                *state.lists.entry(plural.to_owned()).or_default() += 1;
                let items: Vec<Value> = (state.objects.iter())
                    .filter(|((of, within, _), object)| {
                        of == plural
                            && namespace.as_ref().is_none_or(|namespace| namespace == within)
                            && is_selected(object, asked.query.get("fieldSelector"))
                    })
                    .map(|(_, object)| object.clone())
                    .collect();
                (200, json!({"metadata": {"resourceVersion": state.version.to_string()}, "items": items}))
            }
            ("GET", Some(name)) => match state.objects.get(&key(name)) {
                Some(object) => (200, object.clone()),
                None => (404, status(404, "not found")),
            },
            ("POST", _) => {
                let mut object = asked.body.clone();
                object["metadata"]["namespace"] = namespace.clone().into();
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                match state.objects.contains_key(&key(&name)) {
                    true => (409, status(409, "already exists")),
                    false => (201, state.put(plural, object, true)),
                }
            }
            ("PUT" | "PATCH", Some(name)) => match state.objects.get(&key(name)).cloned() {
                None => (404, status(404, "not found")),
                Some(before) => {
                    let version = &asked.body["metadata"]["resourceVersion"];
                    if version.is_string() && *version != before["metadata"]["resourceVersion"] {
                        (409, status(409, "the object has been modified"))
                    } else if asked.method == "PUT" {
                        (200, state.put(plural, asked.body.clone(), true))
                    } else {
                        let mut object = before;
                        for (field, value) in asked.body["status"].as_object().into_iter().flatten() {
                            object["status"][field] = value.clone();
                        }
                        (200, state.put(plural, object, !is_status))
                    }
                }
            },
            _ => (405, status(405, "not here")),
        };
        self.moved.notify_all();
        answer
    }

    fn watch(&self, asked: &Asked, mut stream: TcpStream) -> std::io::Result<()> {
        let found = self.find(&asked.path);
        let (plural, namespace, ..) = match found {
            Ok(found) => found,
            Err((code, body)) => {
                let body = body.to_string();
                return write!(stream, "HTTP/1.1 {code} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
        };
        let mut from: u64 = asked.query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
        stream.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        )?;
        let (epoch, silent) = {
            let mut state = self.lock();
            state.watches += 1;
            (state.epoch, state.silent)
        };
        loop {
            let mut state = self.lock();
            let (told, ends) = loop {
                if from < state.oldest {
                    break (
                        vec![json!({"type": "ERROR", "object": status(410, "too old resource version")})],
                        true,
                    );
                }
                if state.epoch != epoch || state.down {
                    break (Vec::new(), true);
                }
                if !silent && !state.hangs && state.log.last().is_some_and(|(version, ..)| *version > from) {
                    // The log is long where a cluster is large.
                    let seen = state.log.partition_point(|(version, ..)| *version <= from);
                    let new: Vec<Value> = (state.log[seen..].iter())
                        .filter(|(_, of, event)| {
                            let object = &event["object"];
                            of == plural
                                && namespace
                                    .as_ref()
                                    .is_none_or(|within| object["metadata"]["namespace"] == **within)
                                && is_selected(object, asked.query.get("fieldSelector"))
                        })
                        .map(|(_, _, event)| event.clone())
                        .collect();
                    from = state.version;
                    break (new, false);
                }
                state =
                    self.moved.wait_timeout(state, Duration::from_secs(60)).expect("nobody panics with it").0;
            };
            drop(state);
            for event in told {
                let line = format!("{event}\n");
                write!(stream, "{:x}\r\n{line}\r\n", line.len())?;
            }
            if ends {
                return stream.write_all(b"0\r\n\r\n");
            }
        }
    }
}

/// As a field selector has it: by type, or by name.
fn is_selected(object: &Value, selector: Option<&String>) -> bool {
    let Some((field, wanted)) = selector.and_then(|selector| selector.split_once('=')) else { return true };
    let value = if field == "metadata.name" { &object["metadata"]["name"] } else { &object[field] };
    *value == *wanted
}

fn status(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": "Test"})
}

/// The next question; `None` at the end.
fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let (method, target) =
        (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut length = 0;
    loop {
        let mut field = String::new();
        reader.read_line(&mut field)?;
        match field.trim_end().split_once(':') {
            None => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap_or(0);
            }
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pair = |pair: &str| pair.split_once('=').map(|(key, value)| (key.to_owned(), unescaped(value)));
    Ok(Some(Asked {
        method,
        path: path.to_owned(),
        query: query.split('&').filter_map(pair).collect(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }))
}

fn unescaped(text: &str) -> String {
    text.replace("%3D", "=").replace("%2F", "/")
}
