//! The ready gate through compile, reconcile and tickets: who is held, who gets the share, and until when.

#![expect(clippy::disallowed_methods, reason = "a test may look at the clock")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;
use trysail_routing::compile::{Compiler, Surroundings};
use trysail_routing::diagnostic::Diagnostics;
use trysail_routing::snapshot::Snapshot;
use trysail_routing::wire::{Limits, Reader};
use trysail_upstream::Upstreams;

/// A rule that splits between subsets by weights, of which some have an endpoint.
fn snapshot(compiler: &mut Compiler, weights: &[u32], there: &[bool]) -> Snapshot {
    let mut rules = String::new();
    let (mut subsets, mut endpoints) = (String::new(), "  - {address: 10.0.1.1}\n".to_owned());
    for (index, (weight, there)) in weights.iter().zip(there).enumerate() {
        rules.push_str(&format!(
            "    - {{destination: {{host: s.test, subset: v{index}}}, weight: {weight}}}\n"
        ));
        subsets.push_str(&format!("  - {{name: v{index}, labels: {{version: v{index}}}}}\n"));
        if *there {
            endpoints
                .push_str(&format!("  - {{address: 10.0.0.{}, labels: {{version: v{index}}}}}\n", index + 1));
        }
    }
    let object = |kind: &str, spec: String| {
        format!("---\napiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: s}}\nspec:\n{spec}")
    };
    let text: Arc<str> = [
        object(
            "Gateway",
            "  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]\n".to_owned(),
        ),
        object("VirtualService", format!("  hosts: ['*']\n  gateways: [s]\n  http:\n  - route:\n{rules}")),
        object("DestinationRule", format!("  host: s.test\n  subsets:\n{subsets}")),
        object(
            "ServiceEntry",
            format!(
                "  hosts: [s.test]\n  resolution: STATIC\n  ports: [{{number: 80, name: http}}]\n  endpoints:\n{endpoints}"
            ),
        ),
    ]
    .concat()
    .into();
    let name: Arc<str> = "s.yaml".into();
    let set = Reader::new("default", Limits::default()).read([(&name, &text)], Diagnostics::default());
    let compiled = compiler.compile(&set, &Surroundings::default());
    assert!(!compiled.findings.has_errors(), "{:?}", compiled.findings);
    compiled.snapshot
}

/// How often each target is served in so many turns.
fn serve(upstreams: &Upstreams, snapshot: &Snapshot, turns: u64) -> Vec<u64> {
    let split = &snapshot.splits[0];
    let mut counts = vec![0; split.targets.len()];
    (0..turns).for_each(|_| counts[upstreams.ticket(split.id).take()] += 1);
    counts
}

#[test]
fn a_share_goes_to_the_siblings_until_there_is_an_endpoint() {
    let mut compiler = Compiler::new(1);
    let mut upstreams = Upstreams::default();
    // (weights, who has an endpoint, what each gets of 300, how many are held)
    for (weights, there, expected, held) in [
        ([60, 30, 10], [true, true, false], [200, 100, 0], 1),
        ([60, 30, 10], [true, true, true], [180, 90, 30], 0),
        // Once it was ready, it is on its own.
        ([60, 30, 10], [true, true, false], [180, 90, 30], 0),
        ([10, 0, 90], [true, false, false], [30, 0, 270], 0),
    ] {
        let snapshot = snapshot(&mut compiler, &weights, &there);
        upstreams = Upstreams::reconcile(&upstreams, &snapshot, 1, Instant::now());
        assert_eq!(serve(&upstreams, &snapshot, 300), expected, "{weights:?} {there:?}");
        assert_eq!(upstreams.held().len(), held, "{weights:?} {there:?}");
    }
}

#[test]
fn a_ledger_goes_on_while_the_effective_weights_stay() {
    let mut compiler = Compiler::new(1);
    let mut upstreams = Upstreams::default();
    let mut counts = vec![0; 3];
    for _ in 0..20 {
        let snapshot = snapshot(&mut compiler, &[50, 25, 25], &[true, true, false]);
        upstreams = Upstreams::reconcile(&upstreams, &snapshot, 1, Instant::now());
        let served = serve(&upstreams, &snapshot, 3);
        counts.iter_mut().zip(served).for_each(|(count, served)| *count += served);
    }
    assert_eq!(counts, [40, 20, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever comes and goes: nobody who never had an endpoint is served while somebody else can be, and everybody
    /// else gets, at every prefix, what they are of those that are served.
    #[test]
    fn shares_are_exact_among_those_who_are_served(
        weights in prop::collection::vec(1_u32..50, 3),
        steps in prop::collection::vec(prop::collection::vec(any::<bool>(), 3), 1..8),
    ) {
        let mut compiler = Compiler::new(5);
        let (mut upstreams, mut ready) = (Upstreams::default(), BTreeSet::new());
        for there in steps {
            let before = ready.clone();
            ready.extend((0..3).filter(|index| there[*index]));
            let snapshot = snapshot(&mut compiler, &weights, &there);
            upstreams = Upstreams::reconcile(&upstreams, &snapshot, 5, Instant::now());
            prop_assert_eq!(upstreams.held().len(), 3 - ready.len());
            let takes = |index: &usize| ready.is_empty() || ready.contains(index);
            let sum: u64 = (0..3).filter(takes).map(|index| u64::from(weights[index])).sum();
            // Whole cycles, so that a ledger that goes on is as exact as one that begins.
            for turns in [sum, 3 * sum] {
                let served = serve(&upstreams, &snapshot, turns);
                for index in 0..3 {
                    let due = if takes(&index) { u64::from(weights[index]) * turns / sum } else { 0 };
                    prop_assert_eq!(served[index], due, "{:?} after {:?}: {:?}", there, before, served);
                }
            }
        }
    }
}
