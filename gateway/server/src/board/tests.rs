//! Periods: what ends late is counted where it was sent, and nothing is lost.

use std::time::{Duration, Instant};

use trysail_routing::compile::Compiler;
use trysail_routing::diagnostic::Diagnostics;
use trysail_routing::snapshot::Snapshot;
use trysail_routing::wire::Reader;
use trysail_upstream::Upstreams;

use super::*;
use crate::metrics::Ended;
use crate::settings::Settings;

const SEED: &str = include_str!("../../../../conf/examples/reviews/seed-reviews.yaml");
const ENDPOINTS: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  endpoints:
  - {address: 127.0.0.1, ports: {http: 1}, labels: {version: v1}}
  - {address: 127.0.0.1, ports: {http: 2}, labels: {version: v2}}
";

/// The seed with other weights.
fn snapshot(v1: u32, v2: u32) -> Arc<Snapshot> {
    let seed = SEED.replacen("weight: 50", &format!("weight: {v1}"), 1);
    let seed = seed.replacen("weight: 50", &format!("weight: {v2}"), 1);
    let settings = Settings::default();
    let texts: [(Arc<str>, Arc<str>); 2] =
        [("seed.yaml".into(), seed.into()), ("endpoints.yaml".into(), ENDPOINTS.into())];
    let mut reader = Reader::new("default", settings.reading());
    let set = reader.read(texts.iter().map(|(name, text)| (name, text)), Diagnostics::default());
    Arc::new(Compiler::new(1).compile(&set, &settings.surroundings()).snapshot)
}

fn answered() -> Ended {
    Ended { status: 200, duration: Duration::from_millis(2), ..Ended::default() }
}

#[test]
fn what_ends_after_an_edit_counts_under_the_weights_by_which_it_was_sent() {
    let (board, now) = (Board::default(), Instant::now());
    let (before, after) = (snapshot(50, 50), snapshot(90, 10));
    let (split, key) = (before.splits[0].id, before.splits[0].key);
    let old = Upstreams::reconcile(&Upstreams::default(), &before, 1, now);
    let first = board.bind(&Handles::default(), &before, &old, now);
    let turns: Vec<usize> = (0..10).map(|_| old.ticket(split).take()).collect();
    for turn in &turns[..9] {
        first.of((split, *turn)).unwrap().tell(&answered());
    }
    assert_eq!(first.period(split).unwrap().assigned(), [5, 5]);
    // The same weights go on.
    let same = Upstreams::reconcile(&old, &before, 1, now);
    assert!(Arc::ptr_eq(
        board.bind(&first, &before, &same, now).period(split).unwrap(),
        first.period(split).unwrap()
    ));
    let new = Upstreams::reconcile(&same, &after, 1, now);
    let second = board.bind(&first, &after, &new, now);
    first.of((split, turns[9])).unwrap().tell(&answered());
    let requests = |handles: &Handles| -> u64 {
        handles.period(split).unwrap().tallies().iter().map(|tally| tally.requests).sum()
    };
    assert_eq!((requests(&first), requests(&second)), (10, 0));
    assert_eq!(second.period(split).unwrap().assigned(), [0, 0]);
    let totals = || -> Vec<(u64, u64)> {
        board.totals(key).iter().map(|total| (total.assigned, total.requests)).collect()
    };
    assert_eq!(totals(), [(5, 5), (5, 5)]);
    // With the last who holds it the period is over, and what it counted stays.
    drop(first);
    board.sample(now);
    assert_eq!(board.0.lock().by_key[&key].rest.as_ref().map_or(0, |rest| rest.past.len()), 0);
    assert_eq!(totals(), [(5, 5), (5, 5)]);
    board.sample(now);
    let series = board.series(key);
    let seen: u64 = series.iter().flatten().flatten().map(|step| step.requests).sum();
    assert_eq!(seen, 10, "{series:?}");
    // What is gone goes after a while.
    let nothing = Arc::new(Snapshot::default());
    let none = Upstreams::reconcile(&new, &nothing, 1, now);
    board.bind(&second, &nothing, &none, now);
    assert_eq!(totals().len(), 2);
    board.sample(now + GRACE);
    assert!(totals().is_empty());
}
