//! What a cluster does with objects: create, replace, delete, apply. Who asks, and by which wire, is not known here.

use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::{self, Kind, KindId};
use super::owners::{self, Writer};
use super::refusal::{Cause, Refusal};
use super::store::{Key, Store};
use super::{clock, native, schema};

/// All kinds and objects.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) kinds: Arc<[Kind]>,
    pub(super) store: Store,
    /// How many ids and addresses were given.
    given: u64,
}

/// How a write is meant.
#[derive(Clone, Debug)]
pub(super) struct Write {
    /// In which version of the kind it is written.
    pub(super) version: String,
    /// In whose name.
    pub(super) manager: String,
    pub(super) unknown: Unknown,
    /// Answered as if, and not done.
    pub(super) is_dry: bool,
    /// By the test: ids, times and status are taken as they are.
    pub(super) is_trusted: bool,
}

/// What becomes of fields that the kind does not have. They are dropped, unless that is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    Ignore,
    Warn,
    Refuse,
}

/// Which part of an object is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All but the status, where the kind has one.
    Main,
    Status,
    /// Also ownership of fields: what [`Cluster::apply`] has made of it.
    Applied,
}

/// What was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) object: Arc<Value>,
    pub(super) warnings: Vec<String>,
    pub(super) is_new: bool,
}

impl Cluster {
    /// With the namespaces that every cluster has; the first write gets the version after `version`.
    pub(super) fn new(version: u64) -> Cluster {
        let namespaces = ["default", "kube-node-lease", "kube-public", "kube-system"];
        let before = version.saturating_sub(namespaces.len() as u64 + 1);
        let mut cluster = Cluster { kinds: kinds::all().into(), store: Store::new(before), given: 0 };
        for name in namespaces {
            cluster.ensure_namespace(name);
        }
        cluster.store.forget();
        cluster
    }

    /// A kind by its plural, its kind, or either with the group; `gateways` alone are Istio's.
    pub(super) fn kind(&self, name: &str) -> Option<KindId> {
        self.kinds.iter().position(|kind| kind.is_named(name))
    }

    /// Creates a namespace that is not there.
    pub(super) fn ensure_namespace(&mut self, name: &str) {
        let Some(kind) = self.kind("namespaces") else { return };
        let write = Write {
            version: "v1".to_owned(),
            manager: "kube-apiserver".to_owned(),
            unknown: Unknown::Ignore,
            is_dry: false,
            is_trusted: true,
        };
        // One that is there already is what is wanted.
        let _ = self.create(kind, "", json!({"metadata": {"name": name}}), &write);
    }

    pub(super) fn find(&self, key: &Key) -> Result<&Arc<Value>, Refusal> {
        self.store.get(key).ok_or_else(|| Refusal::not_found(&self.kinds[key.kind], &key.name))
    }

    /// Creates an object; the namespace is empty for kinds of the cluster's scope.
    pub(super) fn create(
        &mut self,
        kind_id: KindId,
        namespace: &str,
        mut object: Value,
        write: &Write,
    ) -> Result<Written, Refusal> {
        let kinds = self.kinds.clone();
        let kind = &kinds[kind_id];
        let key = self.place(kind_id, namespace, &mut object, write)?;
        if !object["metadata"]["resourceVersion"].is_null() {
            return Err(Refusal::bad_request("resourceVersion should not be set on objects to be created"));
        }
        if kind.has_status && !write.is_trusted {
            remove(&mut object, "status");
        }
        self.given += 1;
        let metadata = &mut object["metadata"];
        for own in
            ["managedFields", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"]
        {
            remove(metadata, own);
        }
        for (field, value) in [("uid", clock::uid(self.given)), ("creationTimestamp", clock::now())] {
            if !write.is_trusted || metadata[field].is_null() {
                metadata[field] = value.into();
            }
        }
        if kind.has_generation {
            metadata["generation"] = 1.into();
        }
        let warnings = self.fit(kind, &key.name, &mut object, write)?;
        if self.store.get(&key).is_some() {
            return Err(Refusal::already_exists(kind, &key.name));
        }
        owners::note(None, &mut object, &writer(kind, write, Part::Main));
        Ok(Written { object: self.put(key, object, write), warnings, is_new: true })
    }

    /// Replaces a part of an object that is there.
    pub(super) fn replace(
        &mut self,
        key: &Key,
        part: Part,
        mut object: Value,
        write: &Write,
    ) -> Result<Written, Refusal> {
        let kinds = self.kinds.clone();
        let kind = &kinds[key.kind];
        let before = self.find(key)?.clone();
        self.check_is_newest(kind, key, part, &before, &object)?;
        if part == Part::Status {
            let status = object["status"].take();
            object = Value::clone(&before);
            set(&mut object, "status", status);
        } else if kind.has_status && !write.is_trusted && part != Part::Applied {
            set(&mut object, "status", before["status"].clone());
        }
        set(&mut object, "apiVersion", before["apiVersion"].clone());
        set(&mut object, "kind", before["kind"].clone());
        let fixed = ["name", "namespace", "uid", "creationTimestamp", "resourceVersion", "generation"];
        let fixed = fixed.iter().chain(&["deletionTimestamp", "deletionGracePeriodSeconds", "generateName"]);
        for field in fixed.chain((part != Part::Applied).then_some(&"managedFields")) {
            set(&mut object["metadata"], field, before["metadata"][field].clone());
        }
        if kind.resource() == "services" && object["spec"]["clusterIP"].is_null() {
            set(&mut object["spec"], "clusterIP", before["spec"]["clusterIP"].clone());
        }
        let warnings = self.fit(kind, &key.name, &mut object, write)?;
        if kind.has_generation && content(&before) != content(&object) {
            let generation = before["metadata"]["generation"].as_u64().unwrap_or_default();
            object["metadata"]["generation"] = (generation + 1).into();
        }
        if object == *before {
            return Ok(Written { object: before, warnings, is_new: false });
        }
        if part != Part::Applied {
            owners::note(Some(&before), &mut object, &writer(kind, write, part));
        }
        let object = self.put(key.clone(), object, write);
        let is_over = !object["metadata"]["deletionTimestamp"].is_null() && !is_held(&object);
        if is_over && !write.is_dry {
            self.store.remove(key);
        }
        Ok(Written { object, warnings, is_new: false })
    }

    /// Server-side apply, as far as `owners` does it.
    pub(super) fn apply(
        &mut self,
        key: &Key,
        is_status: bool,
        wanted: &Value,
        is_forced: bool,
        write: &Write,
    ) -> Result<Written, Refusal> {
        let kinds = self.kinds.clone();
        let kind = &kinds[key.kind];
        let part = if is_status { Part::Status } else { Part::Main };
        let writer = writer(kind, write, part);
        let mut wanted = wanted.clone();
        if let Some(schema) = &kind.schema {
            schema::prune(schema, &mut wanted);
        }
        match self.store.get(key).cloned() {
            None if is_status => Err(Refusal::not_found(kind, &key.name)),
            None => {
                remove(&mut wanted["metadata"], "managedFields");
                let mut empty = json!({"metadata": {}});
                empty = owners::apply(&empty, &wanted, &writer, true)?;
                set(&mut wanted["metadata"], "name", key.name.as_str().into());
                let mut written =
                    self.create(key.kind, &key.namespace, wanted, &Write { is_dry: true, ..write.clone() })?;
                let mut object = Value::clone(&written.object);
                object["metadata"]["managedFields"] = empty["metadata"]["managedFields"].take();
                written.object = self.put(key.clone(), object, write);
                Ok(written)
            }
            Some(live) => {
                if is_status {
                    let status = wanted["status"].take();
                    wanted = json!({"metadata": {}, "status": status});
                } else if kind.has_status {
                    remove(&mut wanted, "status");
                }
                let mut object = owners::apply(&live, &wanted, &writer, is_forced)?;
                let is_mine = |metadata: &Value| !metadata["resourceVersion"].is_null();
                if is_mine(&wanted["metadata"]) {
                    object["metadata"]["resourceVersion"] = wanted["metadata"]["resourceVersion"].clone();
                }
                self.replace(key, Part::Applied, object, write)
            }
        }
    }

    /// Deletes an object, or marks it where a finalizer holds it: then what it is like is given back.
    pub(super) fn delete(
        &mut self,
        key: &Key,
        options: &Value,
        is_dry: bool,
    ) -> Result<Option<Arc<Value>>, Refusal> {
        let kinds = self.kinds.clone();
        let kind = &kinds[key.kind];
        let before = self.find(key)?.clone();
        for field in ["uid", "resourceVersion"] {
            let wanted = &options["preconditions"][field];
            let is = &before["metadata"][field];
            if !wanted.is_null() && wanted != is {
                let why = format!(
                    "Precondition failed: {field} in precondition: {wanted}, {field} in object meta: {is}"
                );
                return Err(Refusal::conflict(kind, &key.name, &why));
            }
        }
        if is_held(&before) {
            let mut object = Value::clone(&before);
            let metadata = &mut object["metadata"];
            if metadata["deletionTimestamp"].is_null() {
                metadata["deletionTimestamp"] = clock::now().into();
                metadata["deletionGracePeriodSeconds"] = 0.into();
                if let Some(generation) = metadata["generation"].as_u64() {
                    metadata["generation"] = (generation + 1).into();
                }
                let object = if is_dry { Arc::new(object) } else { self.store.put(key.clone(), object) };
                return Ok(Some(object));
            }
            return Ok(Some(before));
        }
        if !is_dry {
            if kind.resource() == "namespaces" {
                self.empty_namespace(&key.name);
            }
            self.store.remove(key);
        }
        Ok(None)
    }

    fn empty_namespace(&mut self, name: &str) {
        for kind in 0..self.kinds.len() {
            let within: Vec<Key> =
                self.store.list(kind, Some(name)).into_iter().map(|(key, _)| key.clone()).collect();
            for key in within.iter().filter(|_| self.kinds[kind].is_namespaced) {
                self.store.remove(key);
            }
        }
    }

    /// Where a new object goes; its `apiVersion`, `kind`, name and namespace are put in.
    fn place(
        &mut self,
        kind_id: KindId,
        namespace: &str,
        object: &mut Value,
        write: &Write,
    ) -> Result<Key, Refusal> {
        let kinds = self.kinds.clone();
        let kind = &kinds[kind_id];
        if !object.is_object() || !(object["metadata"].is_null() || object["metadata"].is_object()) {
            return Err(Refusal::bad_request("the object provided is no object"));
        }
        let api_version = kind.api_version(&write.version);
        for (field, wanted, what) in
            [("apiVersion", &api_version, "API version"), ("kind", &kind.kind, "kind")]
        {
            if let Some(is) = object[field].as_str().filter(|is| is != wanted) {
                let message =
                    format!("the {what} in the data ({is}) does not match the expected {what} ({wanted})");
                return Err(Refusal::bad_request(message));
            }
        }
        // The version of storage; readers are shown theirs.
        object["apiVersion"] = kind.api_version(&kind.versions[0]).into();
        object["kind"] = kind.kind.as_str().into();
        let metadata = &mut object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        let (mut name, prefix, said) = (text("name"), text("generateName"), text("namespace"));
        if name.is_empty() && !prefix.is_empty() {
            self.given += 1;
            name = format!("{prefix}{}", clock::uid(self.given).get(..5).unwrap_or_default());
        }
        if name.is_empty() {
            let says = "Required value: name or generateName is required";
            return Err(Refusal::invalid(
                kind,
                "",
                &[Cause::new("FieldValueRequired", "metadata.name", says)],
            ));
        }
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:".contains(&byte);
        if !name.bytes().all(is_plain) {
            let says = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
                        '.', and must start and end with an alphanumeric character";
            let cause = Cause::invalid("metadata.name", &format!("\"{name}\""), says);
            return Err(Refusal::invalid(kind, &name, &[cause]));
        }
        set(metadata, "name", name.as_str().into());
        if !kind.is_namespaced {
            remove(metadata, "namespace");
            return Ok(Key { kind: kind_id, namespace: String::new(), name });
        }
        if !said.is_empty() && said != namespace {
            let message =
                "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Refusal::bad_request(message));
        }
        set(metadata, "namespace", namespace.into());
        if let Some(of) = self.kind("namespaces") {
            self.find(&Key { kind: of, namespace: String::new(), name: namespace.to_owned() })?;
        }
        Ok(Key { kind: kind_id, namespace: namespace.to_owned(), name })
    }

    /// Drops what is unknown, fills in defaults, and judges what is left.
    fn fit(
        &mut self,
        kind: &Kind,
        name: &str,
        object: &mut Value,
        write: &Write,
    ) -> Result<Vec<String>, Refusal> {
        let mut warnings = Vec::new();
        let mut causes = Vec::new();
        if let Some(schema) = &kind.schema {
            let unknown = schema::prune(schema, object);
            let told: Vec<String> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
            match write.unknown {
                Unknown::Refuse if !told.is_empty() => {
                    let message = format!(
                        "{kind} in version \"{}\" cannot be handled as a {kind}: strict decoding error: {}",
                        write.version,
                        told.join(", "),
                        kind = kind.kind,
                    );
                    return Err(Refusal::bad_request(message));
                }
                Unknown::Warn => warnings = told,
                _ => {}
            }
            causes = schema::judge(schema, object);
        }
        native::complete(kind, object, self.given);
        causes.extend(native::judge(kind, object, write.is_trusted));
        if !causes.is_empty() {
            return Err(Refusal::invalid(kind, name, &causes));
        }
        warnings.extend(native::warnings(kind, object));
        Ok(warnings)
    }

    fn check_is_newest(
        &self,
        kind: &Kind,
        key: &Key,
        part: Part,
        before: &Value,
        object: &Value,
    ) -> Result<(), Refusal> {
        match object["metadata"]["resourceVersion"].as_str().filter(|version| !version.is_empty()) {
            Some(version) if before["metadata"]["resourceVersion"] != version => {
                Err(Refusal::modified(kind, &key.name))
            }
            None if kind.is_custom && part != Part::Status => {
                let says = "must be specified for an update";
                let cause = Cause::invalid("metadata.resourceVersion", "0x0", says);
                Err(Refusal::invalid(kind, &key.name, &[cause]))
            }
            _ => Ok(()),
        }
    }

    fn put(&mut self, key: Key, object: Value, write: &Write) -> Arc<Value> {
        if write.is_dry { Arc::new(object) } else { self.store.put(key, object) }
    }
}

/// What a generation counts: all but metadata and status.
fn content(object: &Value) -> Vec<(&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields
        .filter(|(name, _)| !["metadata", "status", "apiVersion", "kind"].contains(&name.as_str()))
        .collect()
}

fn is_held(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

fn writer(kind: &Kind, write: &Write, part: Part) -> Writer {
    Writer {
        manager: write.manager.clone(),
        api_version: kind.api_version(&write.version),
        is_status: part == Part::Status,
    }
}

fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

/// Sets a field, or takes it out where the value is null.
fn set(object: &mut Value, field: &str, value: Value) {
    if value.is_null() {
        remove(object, field);
    } else {
        object[field] = value;
    }
}
