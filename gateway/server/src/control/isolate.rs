//! Which of a cluster's objects may be in force: what is broken stays as it was before, or out, and stops no other.
//!
//! Files are one team's, and are refused whole; a cluster is many teams'. What compiling says of an object is laid at the
//! door of the document that it names: that object is taken at its last good version, or, where it has none or that is
//! found wanting too (an object that it leans on may have changed), it is left out. Then it is compiled again, since
//! others may lean on it. Each round moves each of those that are blamed one step down, so it ends; after `ROUNDS` what
//! compiles is taken as it is, as compiling leaves out what is broken.

use std::collections::BTreeMap;
use std::sync::Arc;

use trysail_kubernetes::{Entry, Key};
use trysail_routing::compile::Compiled;
use trysail_routing::diagnostic::{Diagnostic, Diagnostics, Severity};
use trysail_routing::wire::{ConfigSet, Single};

/// So often it is compiled at most.
const ROUNDS: usize = 8;

/// The versions of objects that were in force last, where they are others than those that there are now.
#[derive(Default)]
pub(super) struct Versions {
    good: BTreeMap<Key, Option<Arc<Single>>>,
}

/// What became of an object that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Its last good version is in force.
    Before,
    /// It is not in force at all.
    Out,
}

/// What may be in force: as a set, and compiled, with no error among its findings.
pub(super) type Sound = (ConfigSet, Compiled);

/// What of it is not as it is written.
pub(super) struct Isolated {
    /// The objects that are not in force as they are.
    pub(super) refused: BTreeMap<Key, Stand>,
    /// Why.
    pub(super) errors: Diagnostics,
    /// What is in force of them.
    used: BTreeMap<Key, Option<Arc<Single>>>,
}

impl Versions {
    /// Notes what objects were that are others now.
    pub(super) fn changed(&mut self, before: BTreeMap<Key, Option<Entry>>) {
        for (key, entry) in before {
            self.good.entry(key).or_insert(entry.map(|entry| entry.single));
        }
    }

    /// Finds what may be in force of these objects.
    pub(super) fn isolate<'e>(
        &self,
        entries: &'e BTreeMap<Key, Entry>,
        mut compile: impl FnMut(&ConfigSet) -> Compiled,
    ) -> (Sound, Isolated) {
        // In the place of what there is now; few, while there are tens of thousands of objects.
        let mut used: BTreeMap<Key, Option<Arc<Single>>> = BTreeMap::new();
        let mut refused = BTreeMap::new();
        let mut errors = Diagnostics::default();
        let mut round = 0;
        loop {
            round += 1;
            let single = |(key, entry): (&'e Key, &'e Entry)| match used.is_empty() {
                true => Some(entry.single.clone()),
                false => used.get(key).cloned().unwrap_or_else(|| Some(entry.single.clone())),
            };
            let singles: Vec<Arc<Single>> = entries.iter().filter_map(single).collect();
            let set = ConfigSet::of_singles(singles.iter().map(|single| &**single));
            let mut compiled = compile(&set);
            let mut moved = false;
            if compiled.findings.has_errors() {
                let keys: BTreeMap<&str, &Key> =
                    entries.iter().map(|(key, entry)| (&**entry.single.title(), key)).collect();
                let (found, rest): (Vec<_>, Vec<_>) =
                    compiled.findings.into_iter().partition(|finding| finding.severity == Severity::Error);
                let mut blamed: BTreeMap<&Key, Vec<Diagnostic>> = BTreeMap::new();
                for error in found {
                    match error.origin.as_ref().and_then(|origin| keys.get(&*origin.piece.file)) {
                        Some(key) => blamed.entry(key).or_default().push(error),
                        // Of nobody: it is said, and what compiles is taken.
                        None => {
                            errors.push(error);
                        }
                    }
                }
                compiled.findings = Diagnostics::default();
                compiled.findings.extend(rest);
                for (key, found) in blamed {
                    // Of a version that is not there any more nobody wants to hear.
                    if !refused.contains_key(key) {
                        errors.extend(found);
                    }
                    moved |= self.step_down(key, &entries[key], &mut used, &mut refused);
                }
            }
            if !moved || round >= ROUNDS {
                return ((set, compiled), Isolated { refused, errors, used });
            }
        }
    }

    /// Takes the version before, or none; whether that is another than was taken.
    fn step_down(
        &self,
        key: &Key,
        entry: &Entry,
        used: &mut BTreeMap<Key, Option<Arc<Single>>>,
        refused: &mut BTreeMap<Key, Stand>,
    ) -> bool {
        let before = self.good.get(key).and_then(Option::as_ref);
        let before = before.filter(|good| good.text() != entry.single.text());
        let stand = match (refused.get(key), before) {
            (None, Some(good)) => {
                used.insert(key.clone(), Some(good.clone()));
                Stand::Before
            }
            (Some(Stand::Out), _) => return false,
            _ => {
                used.insert(key.clone(), None);
                Stand::Out
            }
        };
        refused.insert(key.clone(), stand);
        true
    }

    /// Notes what is in force: of objects that are refused what is used in their place, of all others what there is now.
    pub(super) fn in_force(&mut self, isolated: &mut Isolated) {
        let used = std::mem::take(&mut isolated.used);
        // What is out now was good before, and may be so again when what it leans on is mended.
        let good = |(key, used): (Key, Option<Arc<Single>>)| {
            let good = used.or_else(|| self.good.get(&key).cloned().flatten());
            (key, good)
        };
        self.good = used.into_iter().map(good).collect();
    }
}

#[cfg(test)]
mod tests {
    use trysail_kubernetes::Kind;
    use trysail_routing::compile::{Compiler, Dangling, Surroundings};
    use trysail_routing::wire::{Limits, Reader};

    use super::*;

    /// Objects as `Kind namespace/name spec`, in flow style.
    fn entries(objects: &[&str]) -> BTreeMap<Key, Entry> {
        let reader = Reader::new("default", Limits::default());
        let entry = |object: &&str| {
            let mut words = object.splitn(3, ' ');
            let mut word = || words.next().expect("three words");
            let (kind, name, spec) = (word(), word(), word());
            let (namespace, name) = name.split_once('/').expect("namespace/name");
            let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).expect("a kind");
            let key = Key { kind, namespace: namespace.into(), name: name.into() };
            let text = format!(
                "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
            );
            let single = Arc::new(reader.read_single(&key.to_string(), &text));
            (key, Entry { single, facts: Arc::default() })
        };
        objects.iter().map(entry).collect()
    }

    fn run(
        versions: &mut Versions,
        known: &mut BTreeMap<Key, Entry>,
        objects: &[&str],
    ) -> (Vec<String>, Vec<String>, usize) {
        let entries = entries(objects);
        let keys: std::collections::BTreeSet<&Key> = known.keys().chain(entries.keys()).collect();
        let is_another = |key: &&Key| {
            let text = |of: &BTreeMap<Key, Entry>| of.get(key).map(|entry| entry.single.text().to_owned());
            text(known) != text(&entries)
        };
        let changed = keys.into_iter().filter(is_another).map(|key| (key.clone(), known.get(key).cloned()));
        versions.changed(changed.collect());
        let here = Surroundings { dangling: Dangling::Serve, ..Surroundings::default() };
        let mut compiler = Compiler::new(0);
        let ((_, compiled), mut isolated) = versions.isolate(&entries, |set| compiler.compile(set, &here));
        assert!(!compiled.findings.has_errors());
        versions.in_force(&mut isolated);
        known.clone_from(&entries);
        let refused = isolated.refused.iter().map(|(key, stand)| format!("{key} {stand:?}")).collect();
        let routes = compiled.snapshot.splits.iter().map(|split| split.name.to_string()).collect();
        (refused, routes, isolated.errors.count(Severity::Error))
    }

    const GATEWAY: &str = "Gateway a/gw {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}";
    const OTHER: &str = "VirtualService b/other {hosts: [b.test], gateways: [a/gw], http: [{route: [{destination: {host: x.test}}]}]}";
    const ENTRY: &str = "ServiceEntry a/x {hosts: [x.test], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 127.0.0.1}]}";
    const GOOD: &str = "VirtualService a/web {hosts: [a.test], gateways: [gw], http: [{route: [{destination: {host: x.test}}]}]}";
    const BAD: &str = "VirtualService a/web {hosts: [a.test], gateways: [gw], http: [{retries: {attempts: -1}, route: [{destination: {host: x.test}}]}]}";

    #[test]
    fn what_is_broken_stays_as_it_was_or_out_and_the_rest_applies() {
        let none: [&str; 0] = [];
        let (mut versions, mut known) = (Versions::default(), BTreeMap::new());
        let rows: [(&[&str], &[&str], &[&str]); 5] = [
            (&[GATEWAY, ENTRY, OTHER, BAD], &["VirtualService a/web Out"], &["b/other http[0]"]),
            (&[GATEWAY, ENTRY, OTHER, GOOD], &none, &["a/web http[0]", "b/other http[0]"]),
            (
                &[GATEWAY, ENTRY, OTHER, BAD],
                &["VirtualService a/web Before"],
                &["a/web http[0]", "b/other http[0]"],
            ),
            (&[GATEWAY, ENTRY, OTHER], &none, &["b/other http[0]"]),
            // Gone, its last good version is gone too.
            (&[GATEWAY, ENTRY, OTHER, BAD], &["VirtualService a/web Out"], &["b/other http[0]"]),
        ];
        for (objects, refused, routes) in rows {
            let found = run(&mut versions, &mut known, objects);
            let mut names = found.1.clone();
            names.sort();
            assert_eq!(
                (&found.0[..], &names[..]),
                (
                    &refused.iter().map(ToString::to_string).collect::<Vec<_>>()[..],
                    &routes.iter().map(ToString::to_string).collect::<Vec<_>>()[..]
                )
            );
            assert_eq!(found.2 > 0, !refused.is_empty());
        }
    }

    #[test]
    fn what_others_lean_on_takes_only_what_it_must_along() {
        let (mut versions, mut known) = (Versions::default(), BTreeMap::new());
        let broken = "ServiceEntry a/x {hosts: [x.test], resolution: STATIC, ports: [{number: 0, name: http, protocol: HTTP}], endpoints: [{address: 127.0.0.1}]}";
        let (refused, routes, _) = run(&mut versions, &mut known, &[GATEWAY, broken, OTHER, GOOD]);
        assert_eq!(refused, ["ServiceEntry a/x Out"]);
        // Their destination is not there, which is a warning here: they answer 503.
        assert_eq!(routes.len(), 2);
    }
}
