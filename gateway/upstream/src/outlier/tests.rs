//! Ejections in virtual time: what counts, who may be ejected, for how long; and whole pools, simulated.

#![expect(clippy::disallowed_methods, reason = "only differences of time count")]

use proptest::prelude::*;
use trysail_routing::snapshot::policy::{Balancer, Policy};
use trysail_routing::snapshot::{Cluster, ClusterKey, Endpoint, Locality, Placement, Workload};

use super::*;
use crate::balance::PickInput;

/// A cluster's endpoints under a detector, and the time.
struct Pool {
    policy: OutlierDetection,
    endpoints: Vec<Arc<EndpointState>>,
    balance: Arc<Balance>,
    detector: Detector,
    start: Instant,
    now: Instant,
}

fn pool(size: u16, policy: OutlierDetection) -> Pool {
    pool_of(&vec![Placement::default(); usize::from(size)], Balancer::RoundRobin(None), policy)
}

fn pool_of(places: &[Placement], balancer: Balancer, policy: OutlierDetection) -> Pool {
    let endpoint = |(number, placement): (u16, &Placement)| Endpoint {
        address: ([10, 0, 0, number as u8], 80).into(),
        weight: 1,
        locality: Arc::new(Locality::default()),
        placement: *placement,
        workload: Arc::new(Workload::default()),
        probe: None,
    };
    let cluster = Cluster {
        key: ClusterKey { host: "reviews".into(), subset: "".into(), port: 80 },
        service: None,
        names: Vec::new(),
        endpoints: (1..).zip(places).map(endpoint).collect(),
        policy: Arc::new(Policy { balancer, ..Policy::default() }),
        policy_places: Box::default(),
        origin: None,
    };
    let endpoints: Vec<Arc<EndpointState>> = places.iter().map(|_| Arc::default()).collect();
    let balance = Arc::new(Balance::build(&cluster, 0));
    let start = Instant::now();
    let detector = Detector::default();
    let members = cluster.endpoints.iter().map(|it| it.address).zip(endpoints.iter().cloned());
    detector.watch(Some(&policy), members, balance.clone(), start);
    Pool { policy, endpoints, balance, detector, start, now: start }
}

impl Pool {
    fn tell(&self, endpoint: usize, report: Report) -> Option<Ejection> {
        self.detector.report(&self.policy, &self.endpoints[endpoint], report, || self.now)
    }

    /// The last ejection of several reports.
    fn tell_all(&self, endpoint: usize, reports: &[Report]) -> Option<Ejection> {
        reports.iter().filter_map(|report| self.tell(endpoint, *report)).last()
    }

    /// Waits until so many seconds after the start, with a sweep each second; how many come back.
    fn wait_until(&mut self, seconds: u64) -> usize {
        let until = self.start + Duration::from_secs(seconds);
        let mut back = 0;
        while self.now < until {
            self.now += Duration::from_secs(1);
            back += self.detector.sweep(self.now).len();
        }
        back
    }

    fn out(&self) -> Vec<usize> {
        let out =
            |(index, endpoint): (usize, &Arc<EndpointState>)| (!endpoint.is_available()).then_some(index);
        self.endpoints.iter().enumerate().filter_map(out).collect()
    }

    fn pick(&self, roll: u64) -> Option<usize> {
        self.balance.pick(&self.endpoints, PickInput { key: None, roll, tried: &[], now: None })
    }

    /// Whom many requests meet.
    fn met(&self) -> Vec<usize> {
        let mut met: Vec<usize> = (0..200).filter_map(|turn| self.pick(lot(turn))).collect();
        met.sort_unstable();
        met.dedup();
        met
    }
}

fn lot(turn: u64) -> u64 {
    crate::balance::key::of_value(&turn.to_le_bytes())
}

/// All may be ejected.
fn eager() -> OutlierDetection {
    OutlierDetection { max_ejection_percent: 100, ..OutlierDetection::default() }
}

const OK: Report = Report::Status(200);
const ERROR: Report = Report::Status(500);
const GATEWAY: Report = Report::Status(503);

#[test]
fn failures_in_a_row_eject_as_envoy_counts_them() {
    use Report::{Failed, Grpc, Status, TimedOut};
    let default = eager();
    let gateway = OutlierDetection { consecutive_gateway: 3, ..eager() };
    let only_gateway = OutlierDetection { consecutive_5xx: 0, ..gateway.clone() };
    let split = OutlierDetection { split_local: true, consecutive_local: 2, ..eager() };
    let codes = OutlierDetection { error_codes: [429, 503].into(), consecutive_gateway: 2, ..eager() };
    let other = OutlierDetection { error_codes: [429].into(), ..eager() };
    let off = OutlierDetection { consecutive_5xx: 0, ..eager() };
    let errors = Some((Reason::Errors, 5));
    for (name, policy, reports, ejected) in [
        ("five errors", &default, vec![ERROR; 5], errors),
        ("four errors", &default, vec![ERROR; 4], None),
        ("a success between", &default, [&[ERROR; 4][..], &[OK], &[ERROR; 4]].concat(), None),
        ("a 404 is a success", &default, [&[ERROR; 4][..], &[Status(404)], &[ERROR; 4]].concat(), None),
        ("of any kind", &default, vec![ERROR, GATEWAY, Failed, TimedOut, Status(599)], errors),
        (
            "three of a gateway",
            &gateway,
            vec![GATEWAY, Status(502), Status(504)],
            Some((Reason::GatewayErrors, 3)),
        ),
        (
            "and without an answer",
            &gateway,
            vec![Failed, TimedOut, GATEWAY],
            Some((Reason::GatewayErrors, 3)),
        ),
        ("a 500 ends the row", &gateway, vec![GATEWAY, GATEWAY, ERROR, GATEWAY], None),
        ("but is an error", &gateway, vec![GATEWAY, GATEWAY, ERROR, GATEWAY, GATEWAY], errors),
        ("gateway errors only", &only_gateway, vec![ERROR; 50], None),
        ("switched off", &off, vec![GATEWAY; 50], None),
        ("split", &split, vec![Failed, TimedOut], Some((Reason::LocalFailures, 2))),
        ("split: an answer ends the row", &split, vec![Failed, ERROR, Failed], None),
        ("split: and is counted by itself", &split, vec![ERROR, ERROR, Failed, ERROR, ERROR, ERROR], errors),
        ("codes that are listed", &codes, vec![Status(429), GATEWAY, Status(429), GATEWAY, GATEWAY], errors),
        ("codes that are not", &other, vec![GATEWAY; 50], None),
        ("codes are not for what has none", &other, vec![Failed; 5], errors),
        ("gRPC is mapped", &default, vec![Grpc(14), Grpc(2), Grpc(4), Grpc(13), Grpc(12)], errors),
        ("gRPC: not found is no error", &default, vec![Grpc(5); 50], None),
        ("gRPC is not under the list", &other, vec![Grpc(14); 5], errors),
        ("gRPC: unavailable is of a gateway", &gateway, vec![Grpc(14); 3], Some((Reason::GatewayErrors, 3))),
    ] {
        let pool = pool(1, policy.clone());
        let found = pool.tell_all(0, &reports).map(|ejection| (ejection.reason, ejection.count));
        assert_eq!(found, ejected, "{name}");
        assert_eq!(pool.out().len(), usize::from(ejected.is_some()), "{name}");
    }
}

#[test]
fn no_more_are_ejected_than_the_percentage_allows() {
    for (size, percent, allowed) in [
        (1, 10, 0),
        (1, 99, 0),
        (1, 100, 1),
        (2, 49, 0),
        (2, 50, 1),
        (3, 33, 0),
        (3, 34, 1),
        (3, 67, 2),
        (9, 10, 0),
        (10, 10, 1),
        (10, 29, 2),
        (10, 100, 10),
    ] {
        let policy = OutlierDetection { max_ejection_percent: percent, ..OutlierDetection::default() };
        let pool = pool(size, policy);
        for endpoint in 0..usize::from(size) {
            pool.tell_all(endpoint, &[ERROR; 5]);
        }
        assert_eq!(pool.out().len(), allowed, "{percent} % of {size}");
        assert_eq!(pool.met().len(), usize::from(size) - allowed);
    }
}

#[test]
fn where_the_percentage_forbids_it_the_count_begins_anew() {
    let mut pool = pool(2, OutlierDetection { max_ejection_percent: 50, ..OutlierDetection::default() });
    assert!(pool.tell_all(0, &[ERROR; 5]).is_some());
    assert!(pool.tell_all(1, &[ERROR; 7]).is_none());
    assert_eq!(pool.wait_until(60), 1);
    // Of seven errors five were for nothing.
    assert!(pool.tell_all(1, &[ERROR; 2]).is_none());
    assert!(pool.tell(1, ERROR).is_some());
}

#[test]
fn ejections_grow_longer_in_a_row_and_shorter_again() {
    let mut pool = pool(1, eager());
    let eject = |pool: &Pool| pool.tell_all(0, &[GATEWAY; 5]).map(|ejection| ejection.time.as_secs());
    assert_eq!(eject(&pool), Some(30));
    // What comes while it is out changes nothing.
    assert_eq!(pool.tell_all(0, &[ERROR; 50]), None);
    assert_eq!(pool.tell_all(0, &[OK; 50]), None);
    assert_eq!((pool.wait_until(29), pool.out().len()), (0, 1));
    assert_eq!((pool.wait_until(30), pool.out().len()), (1, 0));
    assert!(pool.endpoints[0].ejected_until().is_none());
    // Its count began anew, and the next time is longer, as no sweep came between.
    assert_eq!(pool.tell_all(0, &[GATEWAY; 4]), None);
    assert_eq!(pool.tell(0, GATEWAY).map(|ejection| ejection.time.as_secs()), Some(60));
    assert_eq!(pool.wait_until(90), 1);
    // One interval in, one time less: as long as the last.
    assert_eq!(pool.wait_until(100), 0);
    assert_eq!(eject(&pool), Some(60));
    assert_eq!(pool.wait_until(160), 1);
    pool.wait_until(200);
    assert_eq!(eject(&pool), Some(30));
}

#[test]
fn no_ejection_is_longer_than_the_longest() {
    for (base, longest, last) in [(100, 300, 3), (30, 300, 10), (1000, 1000, 1)] {
        let mut pool = pool(1, OutlierDetection { base_ejection_time: Duration::from_secs(base), ..eager() });
        for turn in 1..15 {
            let time = pool.tell_all(0, &[ERROR; 5]).expect("an ejection").time.as_secs();
            assert_eq!(time, (base * turn.min(last)).min(longest), "{base} s, {turn}");
            let end = (pool.now - pool.start).as_secs() + longest + 10;
            while !pool.out().is_empty() {
                let next = (pool.now - pool.start).as_secs() + 1;
                assert!(next < end);
                pool.wait_until(next);
            }
        }
    }
}

#[test]
fn with_everybody_out_it_is_nobody_or_all() {
    for (size, min_health, out, met) in [
        (1, 0, 1, 0),
        (3, 0, 3, 0),
        (3, 0, 2, 1),
        (1, 1, 1, 1),
        (3, 50, 1, 2),
        (3, 50, 2, 3),
        (10, 30, 8, 10),
        (10, 20, 8, 2),
    ] {
        let mut pool = pool(size, OutlierDetection { min_health_percent: min_health, ..eager() });
        (0..out).for_each(|endpoint| _ = pool.tell_all(endpoint, &[ERROR; 5]));
        assert_eq!((pool.out().len(), pool.met().len()), (out, met), "{out} of {size} under {min_health} %");
        pool.wait_until(40);
        assert_eq!((pool.out().len(), pool.met().len()), (0, usize::from(size)));
    }
}

#[test]
fn every_balancer_passes_over_who_is_out() {
    use trysail_routing::snapshot::policy::{ConsistentHash, HashKey, HashTable};
    let hash = |table| Balancer::Hash(ConsistentHash { key: Some(HashKey::SourceIp), table });
    for balancer in [
        Balancer::LeastRequest(None),
        Balancer::RoundRobin(None),
        Balancer::Random,
        hash(HashTable::Ring { minimum: 256 }),
        hash(HashTable::Maglev { size: 101 }),
    ] {
        let pool = pool_of(&[Placement::default(); 4], balancer.clone(), eager());
        let keyed = |turn| {
            let input = PickInput { key: Some(lot(turn)), roll: turn, tried: &[], now: None };
            pool.balance.pick(&pool.endpoints, input)
        };
        let before: Vec<Option<usize>> = (0..200).map(keyed).collect();
        pool.tell_all(1, &[ERROR; 5]);
        assert_eq!(pool.met(), [0, 2, 3], "{balancer:?}");
        // Who is left shares evenly what comes without a key.
        let mut counts = [0_u32; 4];
        (0..30_000).filter_map(|turn| pool.pick(lot(turn))).for_each(|index| counts[index] += 1);
        let even = |index: usize| counts[index].abs_diff(10_000) < 400;
        assert!([0, 2, 3].into_iter().all(even), "{balancer:?}: {counts:?}");
        for (turn, before) in (0..).zip(before) {
            let after = keyed(turn);
            assert!(after != Some(1), "{balancer:?}");
            // Only the keys of who is out move.
            assert!(before == after || before == Some(1) || !matches!(balancer, Balancer::Hash(_)));
        }
    }
}

#[test]
fn traffic_spills_to_the_next_priority_as_the_first_empties() {
    let place = |priority| Placement { priority, ..Placement::default() };
    let places = [place(0), place(0), place(0), place(0), place(1), place(1)];
    let mut pool = pool_of(&places, Balancer::RoundRobin(None), eager());
    let share = |pool: &Pool| {
        let first = (0..10_000).filter(|turn| pool.pick(lot(*turn)).is_some_and(|index| index < 4)).count();
        (first as f64 / 100.0).round() as i64
    };
    // 4 of 4 take all, and 3 as well with what they are provisioned for; then 1.4 times their part.
    for (ejected, expected) in [(None, 100), (Some(0), 100), (Some(1), 70), (Some(2), 35), (Some(3), 0)] {
        ejected.map(|endpoint| pool.tell_all(endpoint, &[ERROR; 5]));
        assert!((share(&pool) - expected).abs() <= 2, "{ejected:?}: {} %", share(&pool));
    }
    pool.wait_until(40);
    assert_eq!(share(&pool), 100);
}

#[test]
fn a_reload_keeps_ejections_and_one_without_detection_ends_them() {
    let pool = pool(3, eager());
    pool.tell_all(0, &[ERROR; 5]);
    let members = || {
        let address = |number: u8| SocketAddr::from(([10, 0, 0, number], 80));
        (1..).map(address).zip(pool.endpoints.iter().cloned())
    };
    pool.detector.watch(Some(&pool.policy), members(), pool.balance.clone(), pool.now);
    assert_eq!((pool.out(), pool.met()), (vec![0], vec![1, 2]));
    // Who is no member any more is not ejected by what still comes from it.
    pool.detector.watch(Some(&pool.policy), members().take(2), pool.balance.clone(), pool.now);
    assert_eq!(pool.tell_all(2, &[ERROR; 5]), None);
    pool.detector.watch(None, members(), pool.balance.clone(), pool.now);
    assert_eq!((pool.out().len(), pool.met().len()), (0, 3));
    assert_eq!(pool.tell_all(1, &[ERROR; 50]), None);
}

#[test]
fn threads_eject_no_more_than_one_would() {
    let pool = pool(10, OutlierDetection { max_ejection_percent: 30, ..OutlierDetection::default() });
    let ejections: usize = std::thread::scope(|scope| {
        let work = |thread: usize| {
            let pool = &pool;
            move || (0..2000).filter(|turn| pool.tell((turn + thread) % 10, ERROR).is_some()).count()
        };
        let running: Vec<_> = (0..4).map(|thread| scope.spawn(work(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!((ejections, pool.out().len()), (3, 3));
}

proptest! {
    /// Whatever happens to pools of any size: never more are out than the percentage allows, everybody who is out
    /// comes back in time, and a request meets nobody who is out, but in panic.
    #[test]
    fn pools_are_never_emptied_beyond_their_percentage(
        size in prop::sample::select(vec![1_u16, 2, 3, 10]),
        percent in 1_u8..=100,
        min_health in prop::sample::select(vec![0_u8, 0, 30, 100]),
        (consecutive_5xx, consecutive_gateway, split_local) in (0_u32..4, 0_u32..4, any::<bool>()),
        steps in prop::collection::vec((0_usize..10, 0_u8..8), 1..400),
    ) {
        let mut pool = pool(size, OutlierDetection {
            consecutive_5xx, consecutive_gateway, split_local, consecutive_local: 2,
            max_ejection_percent: percent, min_health_percent: min_health, ..OutlierDetection::default()
        });
        for (turn, (endpoint, what)) in (0..).zip(steps) {
            let endpoint = endpoint % usize::from(size);
            let report = [OK, ERROR, ERROR, GATEWAY, GATEWAY, Report::Failed, Report::TimedOut].get(usize::from(what));
            match report {
                Some(report) => _ = pool.tell(endpoint, *report),
                None => _ = pool.wait_until((pool.now - pool.start).as_secs() + 7),
            }
            let out = pool.out();
            prop_assert!(100 * out.len() <= usize::from(percent) * usize::from(size), "{out:?} of {size}");
            for until in pool.endpoints.iter().filter_map(|endpoint| endpoint.ejected_until()) {
                prop_assert!(until + pool.policy.interval > pool.now, "nobody is forgotten");
            }
            match pool.pick(lot(turn)) {
                None => prop_assert!(out.len() == usize::from(size) && min_health == 0),
                Some(picked) if out.contains(&picked) => prop_assert!(min_health > 0),
                Some(_) => {}
            }
        }
        pool.wait_until((pool.now - pool.start).as_secs() + 400);
        prop_assert_eq!(pool.out().len(), 0);
    }
}
