//! What is known of the cluster: every object that was heard of, read, until it is heard to be gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use trysail_routing::wire::{Reader, Single};

use crate::{Kind, cut};

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// `VirtualService default/reviews`: how messages name it, and the file of findings about it.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl Key {
    /// The object that is named so: `VirtualService default/reviews`.
    pub fn of_title(title: &str) -> Option<Key> {
        let (kind, name) = title.split_once(' ')?;
        let (namespace, name) = name.split_once('/')?;
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
        Some(Key { kind, namespace: namespace.into(), name: name.into() })
    }
}

/// An object as it is known.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it says.
    pub single: Arc<Single>,
    /// What the API server says of it.
    pub facts: Arc<Facts>,
}

/// What the API server says of an object, beside what it says itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The version of the API that it was read by.
    pub api: String,
    /// Which object of this name it is.
    pub uid: String,
    /// Which version of it.
    pub resource_version: String,
    /// Which version of its spec.
    pub generation: i64,
    /// Its status, of Istio's kinds.
    pub status: Value,
}

/// What a Secret holds of certificates and keys, by the names of its files.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// File's name → content.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// A key is nobody's to read in a log.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}

/// All that is known at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The objects.
    pub entries: BTreeMap<Key, Entry>,
    /// The Secrets of the gateway's namespace, by name.
    pub secrets: BTreeMap<String, Arc<Secret>>,
}

/// What is known.
pub(crate) struct Held {
    reader: Reader,
    known: Mutex<Known>,
    /// Grows with every change of what the objects say.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    entries: BTreeMap<Key, Entry>,
    /// What is another than when somebody last caught up.
    news: BTreeSet<Key>,
    /// By who follows it: a Secret may be known by its type and by its name.
    secrets: BTreeMap<(u64, String), Arc<Secret>>,
}

/// Who tells, and of what: what is not in its list is not there.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    /// `None` for all namespaces.
    pub(crate) namespace: Option<Arc<str>>,
}

/// What a list has said so far.
#[derive(Default)]
pub(crate) struct Listed {
    there: BTreeSet<Key>,
    moved: bool,
    /// Where the next page begins; empty at the end.
    pub(crate) next: String,
    /// The moment that it is of: what is watched from.
    pub(crate) version: String,
}

/// Files of Secrets that are certificates, keys, authorities or lists of what is revoked.
const FILES: [&str; 8] = ["tls.crt", "tls.key", "cert", "key", "ca.crt", "cacert", "ca.crl", "crl"];

impl Held {
    pub(crate) fn new(reader: Reader) -> Self {
        Held { reader, known: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// Whoever wants to know of changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// All that is known now.
    pub(crate) fn view(&self) -> View {
        let known = self.known.lock();
        let secrets = known.secrets.iter().map(|((_, name), secret)| (name.clone(), secret.clone()));
        View { entries: known.entries.clone(), secrets: secrets.collect() }
    }

    /// Brings a view up to date that was empty, or was brought up to date before, by what is another since: among tens of
    /// thousands of objects that is one or two. Gives what these were. There may be one such view.
    pub(crate) fn catch_up(&self, view: &mut View) -> BTreeMap<Key, Option<Entry>> {
        let mut known = self.known.lock();
        let news = std::mem::take(&mut known.news).into_iter();
        let news: Vec<(Key, Option<Entry>)> =
            news.map(|key| (key.clone(), known.entries.get(&key).cloned())).collect();
        let secrets = known.secrets.iter().map(|((_, name), secret)| (name.clone(), secret.clone()));
        view.secrets = secrets.collect();
        drop(known);
        let changed = news.into_iter().map(|(key, entry)| {
            let before = match entry {
                Some(entry) => view.entries.insert(key.clone(), entry),
                None => view.entries.remove(&key),
            };
            (key, before)
        });
        changed.collect()
    }

    /// What objects said that were kept elsewhere, by their titles; `None` where something is no object of a cluster.
    pub(crate) fn view_of<'t>(&self, texts: impl IntoIterator<Item = (&'t str, &'t str)>) -> Option<View> {
        let entry = |(title, text): (&str, &str)| {
            let single = Arc::new(self.reader.read_single(title, text));
            Some((Key::of_title(title)?, Entry { single, facts: Arc::default() }))
        };
        let entries = texts.into_iter().map(entry).collect::<Option<_>>()?;
        Some(View { entries, ..View::default() })
    }

    /// What the API server says of an object.
    pub(crate) fn facts(&self, key: &Key) -> Option<Arc<Facts>> {
        self.known.lock().entries.get(key).map(|entry| entry.facts.clone())
    }

    /// The names of the Secrets that others tell of than these.
    pub(crate) fn secrets_but_of(&self, tellers: &BTreeSet<u64>) -> BTreeSet<String> {
        let known = self.known.lock();
        let others = known.secrets.keys().filter(|(id, _)| !tellers.contains(id));
        others.map(|(_, name)| name.clone()).collect()
    }

    /// Reads a page of a list; `false` for what is none. Objects are known as they are read; what is gone is known at the
    /// list's end.
    pub(crate) fn read_page(&self, teller: &Teller, version: &str, text: &str, listed: &mut Listed) -> bool {
        let Ok(page) = serde_json::from_str::<Value>(text) else { return false };
        let said = |field: &str| page["metadata"][field].as_str().unwrap_or_default().to_owned();
        (listed.next, listed.version) = (said("continue"), said("resourceVersion"));
        // Else an answer of somebody in between, which says nothing of objects, would be the end of all of them.
        if listed.version.is_empty() {
            return false;
        }
        for item in page["items"].as_array().into_iter().flatten() {
            listed.there.extend(key(teller.kind, item));
            listed.moved |= self.learn(teller, version, item);
        }
        true
    }

    /// The end of a list: the rest of the teller's objects is gone.
    pub(crate) fn replace(&self, teller: &Teller, listed: &Listed) {
        let there = &listed.there;
        let mut known = self.known.lock();
        let before = known.entries.len() + known.secrets.len();
        let of_it = |namespace: &Arc<str>| teller.namespace.as_ref().is_none_or(|its| its == namespace);
        if teller.kind != Kind::Secret {
            let known = &mut *known;
            known.entries.retain(|key, _| {
                let stays = key.kind != teller.kind || !of_it(&key.namespace) || there.contains(key);
                if !stays {
                    known.news.insert(key.clone());
                }
                stays
            });
        }
        let names: BTreeSet<&str> = there.iter().map(|key| &*key.name).collect();
        known.secrets.retain(|(id, name), _| *id != teller.id || names.contains(name.as_str()));
        let moved = listed.moved || before != known.entries.len() + known.secrets.len();
        drop(known);
        self.tell(moved);
    }

    /// An object that came or changed.
    pub(crate) fn put(&self, teller: &Teller, version: &str, item: &Value) {
        let moved = self.learn(teller, version, item);
        self.tell(moved);
    }

    /// An object that is gone.
    pub(crate) fn remove(&self, teller: &Teller, item: &Value) {
        let Some(key) = key(teller.kind, item) else { return };
        let mut known = self.known.lock();
        let moved = match teller.kind {
            Kind::Secret => known.secrets.remove(&(teller.id, key.name.to_string())).is_some(),
            _ => {
                known.news.insert(key.clone());
                known.entries.remove(&key).is_some()
            }
        };
        drop(known);
        self.tell(moved);
    }

    /// Forgets all that a teller told.
    pub(crate) fn forget(&self, teller: &Teller) {
        self.replace(teller, &Listed::default());
    }

    /// Keeps an object; whether it says something else than before.
    fn learn(&self, teller: &Teller, version: &str, item: &Value) -> bool {
        let Some(key) = key(teller.kind, item) else { return false };
        if teller.kind == Kind::Secret {
            let (secret, id) = (Arc::new(secret(item)), (teller.id, key.name.to_string()));
            let mut known = self.known.lock();
            if secret.files.is_empty() {
                return known.secrets.remove(&id).is_some();
            }
            return known.secrets.insert(id, secret.clone()).is_none_or(|before| before != secret);
        }
        let text = cut::text(key.kind, version, item);
        let facts = Arc::new(facts(key.kind, version, item));
        let before = self.known.lock().entries.get(&key).map(|entry| entry.single.clone());
        let (single, moved) = match before {
            Some(single) if single.text() == text => (single, false),
            // Outside of the lock: reading takes longer than all else.
            _ => (Arc::new(self.reader.read_single(&key.to_string(), &text)), true),
        };
        let mut known = self.known.lock();
        known.news.insert(key.clone());
        known.entries.insert(key, Entry { single, facts });
        moved
    }

    fn tell(&self, moved: bool) {
        if moved {
            self.changes.send_modify(|count| *count += 1);
        }
    }
}

/// Whose object it is; `None` for what has no name.
fn key(kind: Kind, item: &Value) -> Option<Key> {
    let of = |field: &str| item["metadata"][field].as_str().filter(|name| !name.is_empty());
    Some(Key { kind, namespace: of("namespace")?.into(), name: of("name")?.into() })
}

pub(crate) fn facts(kind: Kind, version: &str, item: &Value) -> Facts {
    let metadata = &item["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
    Facts {
        api: version.to_owned(),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        generation: metadata["generation"].as_i64().unwrap_or_default(),
        status: if kind.is_istios() { item["status"].clone() } else { Value::Null },
    }
}

fn secret(item: &Value) -> Secret {
    let content = |name: &&str| {
        let text = item["data"][*name].as_str()?;
        Some(((*name).to_owned(), BASE64_STANDARD.decode(text).ok()?))
    };
    Secret { files: FILES.iter().filter_map(content).collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use trysail_routing::wire::Limits;

    use super::*;

    fn held() -> Held {
        Held::new(Reader::new("default", Limits::default()))
    }

    fn service(namespace: &str, name: &str, port: u16) -> Value {
        json!({"metadata": {"name": name, "namespace": namespace, "resourceVersion": "1"},
               "spec": {"ports": [{"port": port}]}})
    }

    fn list(held: &Held, teller: &Teller, pages: &[&[Value]]) {
        let mut listed = Listed::default();
        for items in pages {
            let page = json!({"metadata": {"resourceVersion": "9"}, "items": items}).to_string();
            assert!(held.read_page(teller, "v1", &page, &mut listed));
        }
        held.replace(teller, &listed);
    }

    fn titles(held: &Held) -> Vec<String> {
        held.view().entries.keys().map(Key::to_string).collect()
    }

    #[test]
    fn who_catches_up_knows_what_is_known() {
        let (held, teller) = (held(), Teller { id: 1, kind: Kind::Service, namespace: None });
        let mut view = View::default();
        let mut caught_up = |held: &Held| {
            let changed = held.catch_up(&mut view);
            let texts =
                |view: &View| view.entries.values().map(|entry| entry.single.text().to_owned()).collect();
            let (one, other): (Vec<String>, Vec<String>) = (texts(&view), texts(&held.view()));
            assert_eq!(one, other);
            changed.into_iter().map(|(key, before)| (key.to_string(), before.is_some())).collect::<Vec<_>>()
        };
        let named = |name: &str, was: bool| (format!("Service a/{name}"), was);
        assert_eq!(caught_up(&held), []);
        list(&held, &teller, &[&[service("a", "x", 80), service("a", "y", 80)]]);
        assert_eq!(caught_up(&held), [named("x", false), named("y", false)]);
        assert_eq!(caught_up(&held), []);
        held.put(&teller, "v1", &service("a", "x", 81));
        held.put(&teller, "v1", &service("a", "z", 81));
        held.remove(&teller, &service("a", "z", 81));
        assert_eq!(caught_up(&held), [named("x", true), named("z", false)]);
        list(&held, &teller, &[&[service("a", "x", 81)]]);
        assert_eq!(caught_up(&held), [named("x", true), named("y", true)]);
        held.forget(&teller);
        assert_eq!(caught_up(&held), [named("x", true)]);
    }

    #[test]
    fn what_was_kept_is_what_was_known() {
        let (held, teller) = (held(), Teller { id: 1, kind: Kind::Service, namespace: None });
        held.put(&teller, "v1", &service("a", "x", 80));
        held.put(&teller, "v1", &service("b", "y", 81));
        let view = held.view();
        let titles: Vec<String> = view.entries.keys().map(Key::to_string).collect();
        let texts =
            titles.iter().zip(view.entries.values()).map(|(title, entry)| (&**title, entry.single.text()));
        let again = held.view_of(texts).expect("objects");
        assert!(again.entries.keys().eq(view.entries.keys()));
        for title in ["", "Service", "Service x", "conf/a.yaml", "Deployment a/x"] {
            assert!(held.view_of([(title, "{}")]).is_none(), "{title}");
        }
    }

    #[test]
    fn a_list_says_what_is_gone_of_its_own_only() {
        let held = held();
        let of = |kind, namespace: Option<&str>| Teller { id: 1, kind, namespace: namespace.map(Into::into) };
        let all = of(Kind::Service, None);
        list(&held, &all, &[&[service("a", "x", 1)], &[service("b", "y", 1)]]);
        held.put(&of(Kind::Gateway, None), "v1", &json!({"metadata": {"name": "g", "namespace": "a"}}));
        assert_eq!(titles(&held), ["Gateway a/g", "Service a/x", "Service b/y"]);
        list(&held, &of(Kind::Service, Some("a")), &[&[]]);
        assert_eq!(titles(&held), ["Gateway a/g", "Service b/y"]);
        held.remove(&all, &service("b", "y", 1));
        held.remove(&all, &json!({"metadata": {}}));
        assert_eq!(titles(&held), ["Gateway a/g"]);
    }

    #[test]
    fn what_is_no_list_is_none() {
        let (held, teller) = (held(), Teller { id: 1, kind: Kind::Pod, namespace: None });
        for text in ["", "{", "[]", "{}", "{\"items\": 7}", "{\"items\": [], \"metadata\": {}}", "null"] {
            assert!(!held.read_page(&teller, "v1", text, &mut Listed::default()), "{text}");
        }
        let empty = "{\"items\": null, \"metadata\": {\"resourceVersion\": \"1\"}}";
        assert!(held.read_page(&teller, "v1", empty, &mut Listed::default()));
    }

    #[test]
    fn only_what_an_object_says_is_a_change() {
        let (held, teller) = (held(), Teller { id: 1, kind: Kind::Service, namespace: None });
        let changes = held.changes();
        let mut count = 0;
        let mut object = service("a", "x", 80);
        for (what, moved) in [("new", true), ("same", false), ("version", false), ("port", true)] {
            match what {
                "version" => object["metadata"]["resourceVersion"] = "2".into(),
                "port" => object["spec"]["ports"][0]["port"] = 81.into(),
                _ => {}
            }
            held.put(&teller, "v1", &object);
            count += u64::from(moved);
            assert_eq!(*changes.borrow(), count, "{what}");
        }
        let view = held.view();
        let entry = view.entries.values().next().expect("one");
        assert_eq!(entry.facts.resource_version, "2");
    }

    #[test]
    fn secrets_are_known_by_who_follows_them() {
        let held = held();
        let [tls, named] = [1, 2].map(|id| Teller { id, kind: Kind::Secret, namespace: Some("gw".into()) });
        let item = |name: &str, file: &str| json!({"metadata": {"name": name, "namespace": "gw"}, "data": {file: "YQ=="}});
        list(&held, &tls, &[&[item("a", "tls.crt"), item("b", "password")]]);
        held.put(&named, "v1", &item("c", "cacert"));
        assert_eq!(held.view().secrets.keys().collect::<Vec<_>>(), ["a", "c"]);
        list(&held, &tls, &[&[]]);
        assert_eq!(held.view().secrets.keys().collect::<Vec<_>>(), ["c"]);
        held.forget(&named);
        assert!(held.view().secrets.is_empty());
        assert_eq!(format!("{:?}", secret(&item("a", "tls.key"))), r#"{"tls.key"}"#);
    }
}
