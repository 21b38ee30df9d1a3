//! Objects, and the log of what became of them: one version counts all changes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::kinds::KindId;

/// Where an object is. The namespace is empty for kinds of the cluster's scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: KindId,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// What became of one object.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) version: u64,
    pub(super) key: Key,
    pub(super) before: Option<Arc<Value>>,
    /// As it is from then on, or as it was last: with this event's version either way.
    pub(super) object: Arc<Value>,
    pub(super) is_deletion: bool,
}

/// All objects, and as much of their past as is kept.
#[derive(Debug)]
pub(super) struct Store {
    version: u64,
    /// What happened up to and with it is forgotten; a watch from it on is possible, one from before is not.
    oldest: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    log: VecDeque<Event>,
}

impl Store {
    /// An empty one whose first write has the version after `version`.
    pub(super) fn new(version: u64) -> Store {
        Store { version, oldest: version, objects: BTreeMap::new(), log: VecDeque::new() }
    }

    /// The version of the last change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The oldest version that a watch may begin from.
    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Forgets what happened until now.
    pub(super) fn compact(&mut self) {
        self.oldest = self.version;
        self.log.clear();
    }

    /// Forgets what happened, so that what anyone has seen is too old.
    pub(super) fn forget(&mut self) {
        self.version += 1;
        self.compact();
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// Creates or replaces; the object gets the next version.
    pub(super) fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = Arc::new(object);
        let before = self.objects.insert(key.clone(), object.clone());
        self.note(key, before, object.clone(), false);
        object
    }

    /// Removes; what is given back is as it was, with the version of its end.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let before = self.objects.remove(key)?;
        self.version += 1;
        let mut object = Value::clone(&before);
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = Arc::new(object);
        self.note(key.clone(), Some(before), object.clone(), true);
        Some(object)
    }

    /// Removes all of a kind without a word, as they go with their CRD.
    pub(super) fn vanish(&mut self, kind: KindId) {
        self.objects.retain(|key, _| key.kind != kind);
        self.log.retain(|event| event.key.kind != kind);
        self.version += 1;
    }

    /// Objects of a kind in key order, in one namespace or all.
    pub(super) fn list(&self, kind: KindId, namespace: Option<&str>) -> Vec<(&Key, &Arc<Value>)> {
        let within = namespace.unwrap_or_default().to_owned();
        let first = Key { kind, namespace: within, name: String::new() };
        self.objects.range(first..).take_while(|(key, _)| is_within(key, kind, namespace)).collect()
    }

    /// The same as it was at an earlier version; `None` where that is forgotten.
    pub(super) fn list_at(
        &self,
        kind: KindId,
        namespace: Option<&str>,
        version: u64,
    ) -> Option<Vec<(&Key, &Arc<Value>)>> {
        if version < self.oldest {
            return None;
        }
        let mut newer = self.since(version).filter(|event| is_within(&event.key, kind, namespace)).peekable();
        if newer.peek().is_none() {
            return Some(self.list(kind, namespace));
        }
        let mut then: BTreeMap<&Key, &Arc<Value>> = self.list(kind, namespace).into_iter().collect();
        for event in newer.rev() {
            match &event.before {
                Some(before) => then.insert(&event.key, before),
                None => then.remove(&event.key),
            };
        }
        Some(then.into_iter().collect())
    }

    /// What happened after a version, oldest first.
    pub(super) fn since(&self, version: u64) -> impl DoubleEndedIterator<Item = &Event> {
        let first = self.log.partition_point(|event| event.version <= version);
        self.log.range(first..)
    }

    fn note(&mut self, key: Key, before: Option<Arc<Value>>, object: Arc<Value>, is_deletion: bool) {
        self.log.push_back(Event { version: self.version, key, before, object, is_deletion });
        if self.log.len() > KEPT
            && let Some(event) = self.log.pop_front()
        {
            self.oldest = event.version;
        }
    }
}

fn is_within(key: &Key, kind: KindId, namespace: Option<&str>) -> bool {
    key.kind == kind && namespace.is_none_or(|namespace| key.namespace == namespace)
}

const KEPT: usize = 10_000;
