//! Connections, requests and their answers: from the socket to the cluster and back.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use super::answer::Answer;
use super::cluster::{Cluster, Part, Unknown, Write, Written};
use super::kinds::KindId;
use super::lists;
use super::refusal::Refusal;
use super::request::{self, Asked, Target};
use super::store::Key;
use super::trouble::{self, Reach, Seen, Trouble};
use super::users::{ADMIN, Deed, Users};
use super::{discovery, patch, yaml};

/// What connections and the test share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) address: SocketAddr,
    state: Mutex<State>,
    /// Notified at every change of anything.
    moved: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) cluster: Cluster,
    pub(super) trouble: Trouble,
    pub(super) seen: Seen,
    pub(super) users: Users,
    pub(super) stopping: bool,
    /// Whether somebody listens.
    pub(super) listening: bool,
    /// Watches of an epoch that is over end.
    pub(super) epoch: u64,
    /// How often the test has asked for bookmarks.
    pub(super) bookmarks: u64,
    /// Connections that are open.
    connections: BTreeMap<u64, TcpStream>,
    accepted: u64,
}

impl State {
    /// Closes every connection as it is.
    pub(super) fn cut(&self) {
        for connection in self.connections.values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn is_served(&self, kind: KindId, version: &str) -> bool {
        !self.trouble.missing.contains(&kind) && !self.trouble.unserved.contains(&(kind, version.to_owned()))
    }
}

impl Shared {
    pub(super) fn new(address: SocketAddr, version: u64) -> Shared {
        let state = State {
            cluster: Cluster::new(version),
            trouble: Trouble::default(),
            seen: Seen::default(),
            users: Users::default(),
            stopping: false,
            listening: true,
            epoch: 0,
            bookmarks: 0,
            connections: BTreeMap::new(),
            accepted: 0,
        };
        Shared { address, state: Mutex::new(state), moved: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }

    /// Changes something, and wakes whoever waits for a change.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.moved.notify_all();
        changed
    }

    /// Waits, at most so long, for something to change.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>, most: Duration) -> MutexGuard<'a, State> {
        self.moved.wait_timeout(state, most).expect(UNPOISONED).0
    }

    /// Waits while something holds, at most so long; the server's end ends it too.
    pub(super) fn wait_while(
        &self,
        most: Duration,
        mut holds: impl FnMut(&State) -> bool,
    ) -> MutexGuard<'_, State> {
        let waits = |state: &mut State| !state.stopping && holds(state);
        self.moved.wait_timeout_while(self.lock(), most, waits).expect(UNPOISONED).0
    }

    /// Answers what comes over one connection.
    pub(super) fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let kept = stream.try_clone()?;
        let id = self.change(|state| {
            state.accepted += 1;
            state.connections.insert(state.accepted, kept);
            state.accepted
        });
        let served = self.converse(stream);
        self.change(|state| state.connections.remove(&id));
        served
    }

    fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(asked) = Asked::read(&mut reader)? {
            if self.lock().trouble.reach != Reach::Answers {
                return Ok(());
            }
            drop(self.wait_while(FOREVER, |state| state.trouble.hangs));
            let target = request::target(&asked.path(), &self.lock().cluster.kinds);
            match target {
                Some(target) => self.answer(&mut stream, &asked, &target)?,
                None => self.answer_of_no_object(&asked).write(&mut stream)?,
            }
        }
        Ok(())
    }

    /// Takes that long. Only the server's end shortens it.
    pub(super) fn pause(&self, time: Duration) {
        if !time.is_zero() {
            drop(self.wait_while(time, |_| true));
        }
    }

    fn answer_of_no_object(&self, asked: &Asked) -> Answer {
        let state = self.lock();
        if let Err(refusal) = state.users.know(asked.token()) {
            return refusal.into();
        }
        let accept = asked.header("accept").unwrap_or_default();
        let address = self.address.to_string();
        let is_served = |kind: KindId, version: &str| state.is_served(kind, version);
        discovery::answer(&asked.path(), accept, &address, &state.cluster.kinds, &is_served)
            .unwrap_or_else(Answer::nothing_there)
    }

    fn answer(&self, stream: &mut TcpStream, asked: &Asked, target: &Target) -> io::Result<()> {
        let verb = asked.verb(target);
        let resource = self.change(|state| {
            let resource = state.cluster.kinds[target.kind].resource();
            state.seen.begin(verb, &resource, format!("{} {}", asked.method, asked.target));
            resource
        });
        let answered = match self.admit(asked, target, verb) {
            Err(answer) => answer.write(stream),
            Ok(()) if verb == "watch" => self.watch(stream, asked, target),
            Ok(()) => self.execute(asked, target, verb).unwrap_or_else(Answer::from).write(stream),
        };
        self.change(|state| state.seen.end(verb, &resource));
        answered
    }

    /// Whether a request gets as far as to objects.
    fn admit(&self, asked: &Asked, target: &Target, verb: &'static str) -> Result<(), Answer> {
        let deed = |kind| Deed {
            verb,
            kind,
            namespace: target.namespace.as_deref(),
            name: target.name.as_deref(),
            below: target.below.as_deref(),
        };
        let mut state = self.lock();
        let kinds = state.cluster.kinds.clone();
        let deed = deed(&kinds[target.kind]);
        state.users.check(asked.token(), &deed)?;
        if !state.is_served(target.kind, &target.version) {
            return Err(Answer::nothing_there());
        }
        match state.trouble.answer(target.kind, verb) {
            Some((403, _)) => return Err(deed.forbidden(asked.token().unwrap_or(ADMIN)).into()),
            Some((code, retry_after)) => return Err(trouble::scripted(code, retry_after).into()),
            None => {}
        }
        Ok(())
    }

    fn execute(&self, asked: &Asked, target: &Target, verb: &str) -> Result<Answer, Refusal> {
        if target.below.as_ref().is_some_and(|below| below != "status") {
            return Ok(Answer::nothing_there());
        }
        if matches!(verb, "list" | "get") {
            let wanted = lists::version(asked)?;
            // A version that has not been yet is waited for, as the real server does.
            let state = self.wait_while(PATIENCE, |state| state.cluster.store.version() < wanted);
            if wanted > state.cluster.store.version() {
                return Err(lists::too_large(wanted, state.cluster.store.version()));
            }
            return read(&state.cluster, asked, target);
        }
        self.change(|state| write(&mut state.cluster, asked, target, verb))
    }
}

fn key(target: &Target) -> Key {
    Key {
        kind: target.kind,
        namespace: target.namespace.clone().unwrap_or_default(),
        name: target.name.clone().unwrap_or_default(),
    }
}

fn read(cluster: &Cluster, asked: &Asked, target: &Target) -> Result<Answer, Refusal> {
    if target.name.is_none() {
        return Ok(Answer::json(200, &lists::list(cluster, asked, target)?));
    }
    let object = cluster.find(&key(target))?;
    let kind = &cluster.kinds[target.kind];
    Ok(Answer::json(200, &lists::show(kind, &target.version, object, asked.wants_metadata_only())))
}

fn write(cluster: &mut Cluster, asked: &Asked, target: &Target, verb: &str) -> Result<Answer, Refusal> {
    let kinds = cluster.kinds.clone();
    let kind = &kinds[target.kind];
    let is_status = target.below.is_some();
    let part = if is_status { Part::Status } else { Part::Main };
    let write = meant(asked, target);
    let key = key(target);
    let written = match verb {
        "create" if target.name.is_none() => {
            let namespace = target.namespace.clone().unwrap_or_default();
            cluster.create(target.kind, &namespace, body(asked)?, &write)?
        }
        "update" => cluster.replace(&key, part, body(asked)?, &write)?,
        "patch" if asked.media_type().starts_with("application/apply-patch") => {
            let wanted = body(asked)?;
            cluster.apply(&key, is_status, &wanted, asked.flag("force"), &write)?
        }
        "patch" => {
            let before = cluster.find(&key)?;
            let mut object = lists::show(kind, &target.version, before, false);
            patched(asked, kind.is_custom, &mut object)?;
            cluster.replace(&key, part, object, &write)?
        }
        "delete" => return delete(cluster, asked, &key, &target.version),
        "deletecollection" => {
            let list = lists::list(cluster, asked, target)?;
            for item in list["items"].as_array().into_iter().flatten() {
                let text = |field: &str| item["metadata"][field].as_str().unwrap_or_default().to_owned();
                let key = Key { kind: target.kind, namespace: text("namespace"), name: text("name") };
                cluster.delete(&key, &Value::Null, write.is_dry)?;
            }
            return Ok(Answer::json(200, &list));
        }
        _ => return Err(Refusal::method_not_allowed()),
    };
    let Written { object, warnings, is_new } = written;
    let object = lists::show(kind, &target.version, &object, asked.wants_metadata_only());
    Ok(Answer::json(if is_new { 201 } else { 200 }, &object).warning(&warnings))
}

fn delete(cluster: &mut Cluster, asked: &Asked, key: &Key, version: &str) -> Result<Answer, Refusal> {
    let options = if asked.body.is_empty() { Value::Null } else { body(asked)? };
    let is_dry = asked.parameter("dryRun").is_some() || !options["dryRun"].is_null();
    let uid = cluster.find(key)?["metadata"]["uid"].clone();
    let held = cluster.delete(key, &options, is_dry)?;
    let kind = &cluster.kinds[key.kind];
    if let Some(object) = held {
        return Ok(Answer::json(200, &lists::show(kind, version, &object, false)));
    }
    let mut details = json!({"name": key.name, "kind": kind.plural, "uid": uid});
    if !kind.group.is_empty() {
        details["group"] = kind.group.as_str().into();
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    Ok(Answer::json(200, &status))
}

fn meant(asked: &Asked, target: &Target) -> Write {
    let agent = asked.header("user-agent").unwrap_or("unknown");
    let agent = agent.split('/').next().unwrap_or_default();
    Write {
        version: target.version.clone(),
        manager: asked.parameter("fieldManager").unwrap_or(agent).to_owned(),
        unknown: match asked.parameter("fieldValidation") {
            Some("Strict") => Unknown::Refuse,
            Some("Ignore") => Unknown::Ignore,
            _ => Unknown::Warn,
        },
        is_dry: asked.parameter("dryRun").is_some(),
        is_trusted: false,
    }
}

/// The body as one object, from JSON or YAML.
fn body(asked: &Asked) -> Result<Value, Refusal> {
    let text = String::from_utf8_lossy(&asked.body);
    match asked.media_type() {
        "application/yaml" | "application/apply-patch+yaml" => {
            yaml::read(&text).map_err(|error| Refusal::bad_request(format!("error decoding YAML: {error}")))
        }
        "application/vnd.kubernetes.protobuf" => {
            let message = "the body of the request was in an unknown format - accepted media types include: \
                           application/json, application/yaml";
            Err(Refusal::new(415, "UnsupportedMediaType", message))
        }
        _ => serde_json::from_str(&text).map_err(|error| {
            Refusal::bad_request(format!("couldn't get version/kind; json parse error: {error}"))
        }),
    }
}

fn patched(asked: &Asked, is_custom: bool, object: &mut Value) -> Result<(), Refusal> {
    let change = body(asked)?;
    match asked.media_type() {
        "application/merge-patch+json" => patch::merge(object, &change),
        "application/strategic-merge-patch+json" if !is_custom => patch::strategic(object, &change, ""),
        "application/json-patch+json" => patch::json(object, &change).map_err(|error| {
            Refusal::new(422, "Invalid", format!("the server rejected our request: {error}"))
        })?,
        _ => {
            let message = "the body of the request was in an unknown format - accepted media types include: \
                           application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
            return Err(Refusal::new(415, "UnsupportedMediaType", message));
        }
    }
    Ok(())
}

/// How long a version that has not been yet is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longer than any test takes.
const FOREVER: Duration = Duration::from_secs(600);
const UNPOISONED: &str = "no thread panics while it holds the lock";
