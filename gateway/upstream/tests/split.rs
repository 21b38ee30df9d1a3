//! The split through compile, reconcile and tickets: exact at every prefix, over threads and over reloads.

#![expect(clippy::disallowed_methods, reason = "a test may look at the clock")]

use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;
use trysail_routing::compile::{Compiler, Surroundings};
use trysail_routing::diagnostic::Diagnostics;
use trysail_routing::snapshot::Snapshot;
use trysail_routing::wire::{Limits, Reader};
use trysail_upstream::Upstreams;

/// A service with eight versions, and one rule that splits between as many as there are weights. `above` is a
/// rule in front of it, `aside` a file of its own.
fn files(weights: &[u32], above: &str) -> Vec<(Arc<str>, Arc<str>)> {
    let mut rules = above.to_owned();
    rules.push_str("  - route:\n");
    for (index, weight) in weights.iter().enumerate() {
        rules.push_str(&format!(
            "    - {{destination: {{host: s.test, subset: v{index}}}, weight: {weight}}}\n"
        ));
    }
    let subsets: String =
        (0..8).map(|v| format!("  - {{name: v{v}, labels: {{version: v{v}}}}}\n")).collect();
    let endpoints: String =
        (0..8).map(|v| format!("  - {{address: 10.0.0.{}, labels: {{version: v{v}}}}}\n", v + 1)).collect();
    let head = |kind: &str| {
        format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: s}}\nspec:\n")
    };
    let file = |name: &str, text: String| (Arc::from(name), Arc::from(text));
    vec![
        file(
            "a",
            head("Gateway") + "  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]\n",
        ),
        file("b", head("VirtualService") + "  hosts: ['*']\n  gateways: [s]\n  http:\n" + &rules),
        file("c", head("DestinationRule") + "  host: s.test\n  subsets:\n" + &subsets),
        file(
            "d",
            head("ServiceEntry")
                + "  hosts: [s.test]\n  resolution: STATIC\n  ports: [{number: 80, name: http}]\n  endpoints:\n"
                + &endpoints,
        ),
    ]
}

fn compile(compiler: &mut Compiler, files: &[(Arc<str>, Arc<str>)]) -> Snapshot {
    let set = Reader::new("default", Limits::default())
        .read(files.iter().map(|(name, text)| (name, text)), Diagnostics::default());
    let compiled = compiler.compile(&set, &Surroundings::default());
    let errors: Vec<_> = compiled
        .findings
        .iter()
        .filter(|f| f.severity > trysail_routing::diagnostic::Severity::Warning)
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    compiled.snapshot
}

/// The counts of one rule's targets, checked against their shares.
struct Ledger {
    weights: Vec<u64>,
    counts: Vec<u64>,
}

impl Ledger {
    fn new(weights: &[u32]) -> Self {
        Ledger { weights: weights.iter().map(|w| u64::from(*w)).collect(), counts: vec![0; weights.len()] }
    }

    /// Takes a turn of the snapshot's last rule, and says whether every target is within one of its share.
    fn take(&mut self, snapshot: &Snapshot, upstreams: &Upstreams) -> bool {
        let split = snapshot.splits.last().expect("a rule");
        self.counts[upstreams.ticket(split.id).take()] += 1;
        self.is_exact()
    }

    fn is_exact(&self) -> bool {
        let (sum, taken) = (self.weights.iter().sum::<u64>(), self.counts.iter().sum::<u64>());
        self.weights
            .iter()
            .zip(&self.counts)
            .all(|(weight, count)| (count * sum).abs_diff(taken * weight) < sum)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn every_prefix_is_exact_whatever_reloads_come_between(
        weights in prop::collection::vec(0_u32..200, 2..8).prop_filter("not all zero", |w| w.iter().any(|w| *w > 0)),
        seed: u64,
    ) {
        let mut compiler = Compiler::new(seed);
        let above = "  - match: [{uri: {exact: /other}}]\n    route: [{destination: {host: s.test}}]\n";
        let (mut upstreams, mut ledger) = (Upstreams::default(), Ledger::new(&weights));
        let mut _in_force = None;
        for reload in 0..100 {
            // A rule comes and goes above, files change their order: the rule's weights stay.
            let mut files = files(&weights, if reload % 2 == 0 { "" } else { above });
            files.rotate_left(reload % 4);
            let snapshot = compile(&mut compiler, &files);
            upstreams = Upstreams::reconcile(&upstreams, &snapshot, seed, Instant::now());
            for _ in 0..7 {
                prop_assert!(ledger.take(&snapshot, &upstreams), "reload {reload}: {:?} of {weights:?}", ledger.counts);
            }
            _in_force = Some(snapshot);
        }
    }
}

#[test]
fn other_weights_begin_a_new_ledger_that_is_exact_from_its_first_turn() {
    let mut compiler = Compiler::new(7);
    let mut upstreams = Upstreams::default();
    for weights in [[50, 50], [90, 10], [50, 50], [0, 1], [1, 999]] {
        let snapshot = compile(&mut compiler, &files(&weights, ""));
        upstreams = Upstreams::reconcile(&upstreams, &snapshot, 7, Instant::now());
        let mut ledger = Ledger::new(&weights);
        assert!((0..150).all(|_| ledger.take(&snapshot, &upstreams)), "{weights:?}: {:?}", ledger.counts);
    }
}

#[test]
fn threads_share_one_ledger() {
    for threads in [2, 4] {
        let weights = [90, 7, 3];
        let snapshot = compile(&mut Compiler::new(3), &files(&weights, ""));
        let upstreams = Upstreams::reconcile(&Upstreams::default(), &snapshot, 3, Instant::now());
        let split = snapshot.splits.last().expect("a rule");
        let counts = std::thread::scope(|scope| {
            let take = || {
                let mut counts = vec![0; weights.len()];
                (0..100_003).for_each(|_| counts[upstreams.ticket(split.id).take()] += 1);
                counts
            };
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
            let all: Vec<Vec<u64>> =
                running.into_iter().map(|thread| thread.join().expect("no panic")).collect();
            (0..weights.len()).map(|target| all.iter().map(|counts| counts[target]).sum()).collect()
        });
        let ledger = Ledger { counts, ..Ledger::new(&weights) };
        assert!(ledger.is_exact(), "{threads} threads: {:?}", ledger.counts);
    }
}

#[test]
fn an_endpoint_keeps_its_state_as_long_as_it_is_there() {
    let mut compiler = Compiler::new(1);
    let mut upstreams = Upstreams::reconcile(
        &Upstreams::default(),
        &compile(&mut compiler, &files(&[1, 1], "")),
        1,
        Instant::now(),
    );
    let active = |upstreams: &Upstreams, snapshot: &Snapshot| {
        let cluster = snapshot.splits[0].targets[0].cluster;
        upstreams.cluster(cluster).endpoints.iter().map(|endpoint| endpoint.active()).sum::<u32>()
    };
    let snapshot = compile(&mut compiler, &files(&[1, 1], ""));
    let guard = upstreams.cluster(snapshot.splits[0].targets[0].cluster).endpoints[0].begin();
    for weight in 2..100 {
        let snapshot = compile(&mut compiler, &files(&[weight, 1], ""));
        upstreams = Upstreams::reconcile(&upstreams, &snapshot, 1, Instant::now());
        assert_eq!(active(&upstreams, &snapshot), 1, "after an edit to {weight}");
    }
    // Gone for one revision, it is another endpoint when it comes back.
    let mut without = files(&[1, 1], "");
    without[3].1 = without[3].1.replace("10.0.0.1,", "10.0.0.99,").into();
    let snapshot = compile(&mut compiler, &without);
    upstreams = Upstreams::reconcile(&upstreams, &snapshot, 1, Instant::now());
    assert_eq!(active(&upstreams, &snapshot), 0);
    drop(guard);
}
