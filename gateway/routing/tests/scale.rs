//! What is compiled by edits is what is compiled at once; and an edit costs what it touches, counted in work and not in
//! time.

mod told;

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use trysail_routing::compile::{Compiler, Dangling, Surroundings};
use trysail_routing::diagnostic::Diagnostics;
use trysail_routing::wire::{ConfigSet, Limits, Reader};
use trysail_testkit::fleet::Fleet;

use told::{assert_whole, difference, told};

const SEED: u64 = 7;

/// Objects beside those of the fleet, that have to do with each other in as many ways as there are.
const OTHERS: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: secure}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.other.test, b.other.test], tls: {mode: SIMPLE, credentialName: c}}
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.other.test']}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: both}
spec:
  hosts: [a.other.test, b.other.test]
  gateways: [secure, fleet]
  http:
  - match: [{uri: {prefix: /x/}}, {headers: {x-canary: {exact: 'yes'}}}]
    route: [{destination: {host: shared, subset: v1}}]
    mirror: {host: shared, subset: v2}
  - route:
    - {destination: {host: shared, subset: v1}, weight: 70}
    - {destination: {host: shared, subset: v2}, weight: 30}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: another}
spec:
  hosts: [a.other.test]
  gateways: [secure]
  http:
  - match: [{uri: {exact: /another}, port: 443}]
    redirect: {uri: /elsewhere}
  - match: [{uri: {exact: /more}}]
    route: [{destination: {host: shared}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shared}
spec:
  hosts: [shared.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: shared}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: one}
spec: {address: 10.1.0.1, labels: {app: shared, version: v1}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: two}
spec: {address: 10.1.0.2, labels: {app: shared, version: v2}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shared}
spec:
  host: shared
  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3, maxEjectionPercent: 10}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root}
spec:
  hosts: [root.other.test]
  gateways: [fleet]
  http:
  - match: [{uri: {prefix: /d/}}]
    delegate: {name: leaf}
  - route: [{destination: {host: shared, subset: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: leaf}
spec:
  http:
  - match: [{uri: {prefix: /d/e/}}]
    route: [{destination: {host: shared, subset: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: sidecars}
spec:
  hosts: [shared]
  http:
  - route: [{destination: {host: shared, subset: v1}}]
";

/// What an edit replaces in a document, and by what. Words that are not there change nothing.
const EDITS: &[(&str, &str)] = &[
    ("weight: 90", "weight: 80"),
    ("weight: 80", "weight: 90"),
    ("weight: 10", "weight: 0"),
    ("weight: 70", "weight: 50"),
    ("weight: 30", "weight: thirty"),
    ("prefix: /0/", "prefix: /zero/"),
    ("prefix: /x/", "prefix: /y/"),
    ("prefix: /x/", "regex: '.*'"),
    ("uri: /elsewhere", "uri: /somewhere"),
    ("  http:\n", "  http:\n  # a comment\n"),
    ("subset: v1", "subset: v2"),
    ("subset: v2", "subset: v3"),
    ("subset: v3", "subset: v2"),
    ("address: 127.", "address: 128."),
    ("version: v2", "version: v9"),
    ("version: v9", "version: v2"),
    ("10.1.0.1", "10.1.0.7"),
    ("10.1.0.2", "ten"),
    ("app: shared, version: v1", "app: other, version: v1"),
    ("connectTimeout: 2s", "connectTimeout: 3s"),
    ("maxEjectionPercent: 10", "maxEjectionPercent: 60"),
    ("name: v2, labels", "name: v4, labels"),
    ("number: 80", "number: 81"),
    ("protocol: HTTP\n", "protocol: HTTP2\n"),
    ("hosts:\n  - s1.", "hosts:\n  - t1."),
    ("h1.fleet.test", "h2.fleet.test"),
    ("a.other.test, b.other.test", "b.other.test"),
    ("[secure, fleet]", "[fleet]"),
    ("delegate: {name: leaf}", "delegate: {name: none}"),
    ("/d/e/", "/d/f/"),
    ("[shared]\n", "[shared]\n  exportTo: ['.']\n"),
    ("resolution: STATIC", "resolution: DNS"),
    ("metadata:\n", "metadata:\n  labels: {a: b}\n"),
    ("location: MESH_INTERNAL", "location: MESH_EXTERNAL"),
    ("headers: {x-canary: {exact: 'yes'}}", "port: 443"),
    ("host: shared, subset: v1}}]\n    mirror", "host: nowhere}}]\n    mirror"),
    ("host: nowhere", "host: shared"),
    ("spec:\n", "spec:\n  trysail: 1\n"),
];

#[derive(Clone, Debug)]
enum Edit {
    Words { document: usize, edit: usize },
    Remove { document: usize },
    Restore,
    Swap { document: usize },
}

fn edits() -> impl Strategy<Value = Edit> {
    prop_oneof![
        12 => (0..64usize, 0..EDITS.len()).prop_map(|(document, edit)| Edit::Words { document, edit }),
        1 => (0..64usize).prop_map(|document| Edit::Remove { document }),
        2 => Just(Edit::Restore),
        1 => (0..64usize).prop_map(|document| Edit::Swap { document }),
    ]
}

/// Objects in three files.
struct Files {
    documents: Vec<String>,
    first: Vec<String>,
}

impl Files {
    fn new() -> Self {
        let fleet = Fleet { hosts: 5, routes: 2, ports: [8080, 8081] };
        let mut all = Fleet::gateway(80);
        (0..fleet.hosts).for_each(|host| all.push_str(&fleet.host(host, 10)));
        all.push_str("---");
        all.push_str(OTHERS);
        let documents: Vec<String> = all.split("---\n").map(|text| format!("---\n{text}")).collect();
        Files { first: documents.clone(), documents }
    }

    fn edit(&mut self, edit: &Edit) {
        let count = self.documents.len().max(1);
        match *edit {
            Edit::Words { document, edit } => {
                let (from, to) = EDITS[edit];
                // The first document that has the words, from this one on.
                let places = (0..count).map(|at| (at + document) % count);
                let place = places.into_iter().find(|&at| self.documents[at].contains(from));
                if let Some(text) = place.and_then(|at| self.documents.get_mut(at)) {
                    *text = text.replacen(from, to, 1);
                }
            }
            Edit::Remove { document } if count > 1 => _ = self.documents.remove(document % count),
            Edit::Remove { .. } => {}
            Edit::Restore => self.documents.clone_from(&self.first),
            Edit::Swap { document } => self.documents.swap(document % count, 0),
        }
    }

    fn texts(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let files = self.documents.chunks(9).enumerate();
        files.map(|(index, texts)| (format!("{index}.yaml").into(), texts.concat().into())).collect()
    }
}

fn read(reader: &mut Reader, texts: &[(Arc<str>, Arc<str>)]) -> ConfigSet {
    reader.read(texts.iter().map(|(name, text)| (name, text)), Diagnostics::default())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn edits_one_by_one_give_what_compiling_everything_gives(all in vec(edits(), 1..12), serve in any::<bool>()) {
        let mut files = Files::new();
        let dangling = if serve { Dangling::Serve } else { Dangling::Refuse };
        let surroundings = Surroundings { dangling, ..Surroundings::default() };
        let (mut reader, mut compiler) = (Reader::new("default", Limits::default()), Compiler::new(SEED));
        compiler.compile(&read(&mut reader, &files.texts()), &surroundings);
        for edit in &all {
            files.edit(edit);
            let texts = files.texts();
            let set = read(&mut reader, &texts);
            let by_edits = compiler.compile(&set, &surroundings);
            let fresh = read(&mut Reader::new("default", Limits::default()), &texts);
            prop_assert_eq!(set.revision.hash(), fresh.revision.hash());
            let at_once = Compiler::new(SEED).compile(&fresh, &surroundings);
            prop_assert!(told(&by_edits) == told(&at_once), "{:?}:\n{}", edit, difference(&by_edits, &at_once));
            assert_whole(&by_edits);
        }
    }
}

#[test]
fn an_edit_costs_what_it_touches() {
    let fleet = Fleet { hosts: 200, routes: 3, ports: [8080, 8081] };
    let whole: String =
        Fleet::gateway(80) + &(0..fleet.hosts).map(|host| fleet.host(host, 10)).collect::<String>();
    // What is edited, the documents that are parsed for it, and the VirtualServices that are compiled.
    let service = fleet.service(7, 1);
    for (what, from, to, parsed, compiled) in [
        ("nothing", "", String::new(), 0, 0),
        ("a weight", &*fleet.host(7, 10), fleet.host(7, 20), 1, 1),
        ("endpoints", &*service, fleet.service(7, 3), 1, 1),
        ("a host that is new", "---\n", format!("{}---\n", fleet.host(200, 10)), 3, 201),
        ("two weights", "weight: 10\n", "weight: 20\n".to_owned(), 200, 200),
    ] {
        for each in [1, 50, 1_000] {
            let text = |all: &str| match what {
                "two weights" => all.replace(from, &to),
                _ => all.replacen(from, &to, 1),
            };
            let file = |number: usize, text: &str| -> (Arc<str>, Arc<str>) {
                (format!("{number}.yaml").into(), text.into())
            };
            let cut = |all: &str| -> Vec<(Arc<str>, Arc<str>)> {
                let documents: Vec<&str> = all.split_inclusive("\n---\n").collect();
                let files = documents.chunks(3 * each).enumerate();
                files.map(|(number, documents)| file(number, &documents.concat())).collect()
            };
            let (mut reader, mut compiler) = (Reader::new("default", Limits::default()), Compiler::new(SEED));
            let here = Surroundings::default();
            let (before, after) = (cut(&whole), cut(&text(&whole)));
            assert_eq!(
                compiler.compile(&read(&mut reader, &before), &here).compiled,
                fleet.hosts,
                "{what}: at first"
            );
            let set = read(&mut reader, &after);
            if what != "a host that is new" {
                assert_eq!(reader.parsed(), parsed, "{what}, {each} in a file: documents parsed");
            }
            assert_eq!(
                compiler.compile(&set, &here).compiled,
                compiled,
                "{what}, {each} in a file: VirtualServices compiled"
            );
        }
    }
}
