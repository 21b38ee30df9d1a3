//! Active health checks through compile, reconcile and balancing, in virtual time: who takes requests, when, and that
//! nothing is forgotten.

#![expect(clippy::disallowed_methods, reason = "only differences of time count")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use trysail_routing::compile::{Compiler, Surroundings};
use trysail_routing::diagnostic::Diagnostics;
use trysail_routing::snapshot::Snapshot;
use trysail_routing::wire::{Limits, Reader};
use trysail_upstream::balance::PickInput;
use trysail_upstream::health::{Answered, Question, first_wait, wait};
use trysail_upstream::outlier::Report;
use trysail_upstream::{State, Upstreams};

/// Chance, from a seed.
struct Chance(u64);

impl Chance {
    fn lot(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: u64) -> u64 {
        self.lot() % count
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        (1..items.len()).rev().for_each(|at| items.swap(at, self.below(at as u64 + 1) as usize));
    }
}

fn object(kind: &str, metadata: &str, spec: &str) -> String {
    format!("---\napiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{{metadata}}}\nspec: {spec}\n")
}

/// A gateway, and a service whose endpoints are entries.
fn base() -> String {
    let servers = "{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}";
    let service = "{hosts: [s.test], resolution: STATIC, ports: [{number: 80, name: http}], workloadSelector: {labels: {app: s}}}";
    object("Gateway", "name: s", servers) + &object("ServiceEntry", "name: s", service)
}

fn route(weights: &[(&str, u32)]) -> String {
    let target = |(subset, weight): &(&str, u32)| {
        format!("{{destination: {{host: s.test, subset: {subset}}}, weight: {weight}}}")
    };
    let targets: Vec<String> = weights.iter().map(target).collect();
    let spec = format!("{{hosts: ['*'], gateways: [s], http: [{{route: [{}]}}]}}", targets.join(", "));
    object("VirtualService", "name: s", &spec)
}

fn rule(subsets: &[&str], policy: &str) -> String {
    let subset = |name: &&str| format!("{{name: {name}, labels: {{version: {name}}}}}");
    let subsets: Vec<String> = subsets.iter().map(subset).collect();
    let policy = if policy.is_empty() { String::new() } else { format!("trafficPolicy: {{{policy}}}, ") };
    let spec = format!("{{host: s.test, {policy}subsets: [{}]}}", subsets.join(", "));
    object("DestinationRule", "name: s", &spec)
}

fn group(version: &str, probe: &str) -> String {
    let spec = format!(
        "{{metadata: {{labels: {{app: s, version: {version}}}}}, template: {{}}, probe: {{httpGet: {{port: 80}}, {probe}}}}}"
    );
    object("WorkloadGroup", &format!("name: {version}"), &spec)
}

/// The `number`-th endpoint of a version, whose name ends with a digit.
fn entry(version: &str, number: u8) -> String {
    let spec =
        format!("{{address: {}, labels: {{app: s, version: {version}}}}}", address(version, number).ip());
    object("WorkloadEntry", &format!("name: {version}-{number}"), &spec)
}

fn address(version: &str, number: u8) -> SocketAddr {
    let version = version.bytes().last().expect("a version has a name") - b'0';
    ([10, 0, version, number], 80).into()
}

/// Compiles as a reload does; `None` where the revision is refused.
fn compile(compiler: &mut Compiler, text: &str) -> Option<Snapshot> {
    let (name, text): (Arc<str>, Arc<str>) = ("s.yaml".into(), text.into());
    let set = Reader::new("default", Limits::default()).read([(&name, &text)], Diagnostics::default());
    let compiled = compiler.compile(&set, &Surroundings::default());
    (!compiled.findings.has_errors()).then_some(compiled.snapshot)
}

/// A gateway in virtual time: what is in force, who is asked when, and who answers.
struct World {
    compiler: Compiler,
    snapshot: Snapshot,
    upstreams: Upstreams,
    start: Instant,
    now: Instant,
    chance: Chance,
    due: HashMap<Question, Instant>,
    /// Who would answer well.
    well: BTreeSet<SocketAddr>,
    /// Good answers in a row; who has had enough of them.
    good: BTreeMap<SocketAddr, u32>,
    ready: BTreeSet<SocketAddr>,
    asked: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let start = Instant::now();
        World {
            compiler: Compiler::new(seed),
            snapshot: Snapshot::default(),
            upstreams: Upstreams::default(),
            start,
            now: start,
            chance: Chance(seed),
            due: HashMap::new(),
            well: BTreeSet::new(),
            good: BTreeMap::new(),
            ready: BTreeSet::new(),
            asked: 0,
        }
    }

    /// Whether it is in force.
    fn apply(&mut self, text: &str) -> bool {
        let Some(snapshot) = compile(&mut self.compiler, text) else { return false };
        self.upstreams = Upstreams::reconcile(&self.upstreams, &snapshot, 1, self.now);
        self.snapshot = snapshot;
        self.follow();
        true
    }

    /// As the server does after a swap.
    fn follow(&mut self) {
        if self.upstreams.settle(self.now) {
            self.reopen();
        }
        let wanted: BTreeMap<SocketAddr, Question> =
            self.upstreams.questions().map(|question| (question.address, question.clone())).collect();
        self.due.retain(|question, _| wanted.get(&question.address) == Some(question));
        for question in wanted.into_values() {
            let first = self.now + first_wait(&question.probe, self.chance.lot());
            self.due.entry(question).or_insert(first);
        }
    }

    fn reopen(&mut self) {
        self.upstreams = Upstreams::reconcile(&self.upstreams, &self.snapshot, 1, self.now);
        self.follow();
    }

    /// Lets time pass, with a look at everything that is asked in it, in its order.
    fn pass(&mut self, time: Duration, mut look: impl FnMut(&mut World)) {
        let until = self.now + time;
        for _ in 0..10_000 {
            let next = self.due.iter().min_by_key(|(question, due)| (**due, question.address));
            let Some((question, due)) = next.map(|(question, due)| (question.clone(), *due)) else { break };
            if due > until {
                break;
            }
            self.now = due;
            self.due.insert(question.clone(), due + wait(&question.probe, self.chance.lot()));
            self.asked += 1;
            self.answer(&question);
            look(self);
        }
        self.now = until;
    }

    fn answer(&mut self, question: &Question) -> Answered {
        let good = self.well.contains(&question.address);
        let in_a_row = self.good.entry(question.address).or_default();
        *in_a_row = if good { *in_a_row + 1 } else { 0 };
        if *in_a_row >= question.probe.success_threshold {
            self.ready.insert(question.address);
        }
        let answered = self.upstreams.answered(question, good, self.now).expect("it is asked");
        if answered.reconcile {
            self.reopen();
        }
        answered
    }

    /// Who gets a request; `None` where the gateway answers it.
    fn request(&mut self) -> Option<SocketAddr> {
        let split = &self.snapshot.splits[0];
        let cluster = split.targets[self.upstreams.ticket(split.id).take()].cluster;
        let input = PickInput { key: None, roll: self.chance.lot(), tried: &[], now: Some(self.now) };
        let index = self.upstreams.cluster(cluster).pick(input)?;
        Some(self.snapshot.cluster(cluster).endpoints[index].address)
    }

    /// Who gets so many requests.
    fn requests(&mut self, count: usize) -> BTreeMap<Option<SocketAddr>, usize> {
        let mut counts = BTreeMap::new();
        (0..count).for_each(|_| *counts.entry(self.request()).or_default() += 1);
        counts
    }

    fn states(&self) -> Vec<State> {
        self.upstreams.endpoints(0).iter().map(|endpoint| endpoint.state()).collect()
    }

    /// Asks everybody who is due, for so many seconds.
    fn wait(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds), |_| {});
    }
}

const QUICK: &str = "periodSeconds: 1, failureThreshold: 2";

/// One version, of so many endpoints.
fn one_version(endpoints: u8, policy: &str, probe: &str) -> String {
    let entries: String = (1..=endpoints).map(|number| entry("v1", number)).collect();
    base() + &route(&[("v1", 1)]) + &rule(&["v1"], policy) + &group("v1", probe) + &entries
}

#[test]
fn in_any_order_nothing_is_answered_by_the_gateway_or_sent_to_who_was_never_ready() {
    enum Step {
        Object(usize, String),
        Start(SocketAddr),
    }
    let (mut held, mut refused) = (0, 0);
    for seed in 0..500 {
        let mut world = World::new(seed);
        let quick = [
            "periodSeconds: 1",
            "periodSeconds: 2, successThreshold: 2",
            "initialDelaySeconds: 1, periodSeconds: 1",
        ];
        let mut applied =
            vec![base() + &group("v1", QUICK) + &entry("v1", 1), route(&[("v1", 1)]), rule(&["v1"], "")];
        // An entry may come before its group, and is one without a probe then: what is there is ready. So here each
        // group comes with the first of its entries.
        let versions = ["v2", "v3"].map(|version| {
            let probe = quick[world.chance.below(3) as usize];
            group(version, probe) + &entry(version, 1)
        });
        let mut steps = vec![
            Step::Object(1, route(&[("v1", 60), ("v2", 30), ("v3", 10)])),
            Step::Object(2, rule(&["v1", "v2", "v3"], "")),
            Step::Start(address("v2", 1)),
            Step::Start(address("v3", 1)),
        ];
        for version in versions {
            applied.push(String::new());
            steps.push(Step::Object(applied.len() - 1, version));
        }
        world.well.insert(address("v1", 1));
        assert!(world.apply(&applied.concat()));
        world.wait(1);

        let load = |world: &mut World| {
            for (who, _) in world.requests(23) {
                let who = who.unwrap_or_else(|| panic!("seed {seed}: answered by the gateway"));
                assert!(world.ready.contains(&who), "seed {seed}: {who} was never ready");
            }
        };
        world.chance.shuffle(&mut steps);
        for step in steps {
            match step {
                Step::Object(place, text) => {
                    applied[place] = text;
                    refused += usize::from(!world.apply(&applied.concat()));
                }
                Step::Start(address) => _ = world.well.insert(address),
            }
            load(&mut world);
            held += usize::from(!world.upstreams.held().is_empty());
            let time = Duration::from_millis(world.chance.below(2500));
            world.pass(time, load);
        }
        world.pass(Duration::from_secs(6), load);
        assert!(world.upstreams.held().is_empty(), "seed {seed}");
        let counts = world.requests(100);
        let shares = ["v1", "v2", "v3"].map(|version| counts[&Some(address(version, 1))]);
        // From anywhere to anywhere in a ledger, whole shares are met within one.
        let off = shares.iter().zip([60, 30, 10]).any(|(share, due)| share.abs_diff(due) > 1);
        assert!(!off, "seed {seed}: {shares:?}");
    }
    // Else the orders would prove little.
    assert!(held > 200 && refused > 100, "{held} held, {refused} refused");
}

#[test]
fn one_that_fails_is_left_out_in_time_and_comes_back() {
    let mut world = World::new(7);
    let all = [1, 2, 3].map(|number| address("v1", number));
    assert!(world.apply(&one_version(
        3,
        "loadBalancer: {simple: ROUND_ROBIN}",
        "periodSeconds: 5, failureThreshold: 2"
    )));
    assert_eq!(world.states(), [State::Pending; 3]);
    assert_eq!(world.requests(9), BTreeMap::from([(None, 9)]));
    world.well.extend(all);
    world.wait(1);
    assert_eq!(world.requests(9), all.map(|address| (Some(address), 3)).into());
    world.well.remove(&all[1]);
    // The first failure is no verdict; two periods are enough for the second.
    world.wait(4);
    assert_eq!(world.states(), [State::Healthy; 3]);
    world.wait(6);
    assert_eq!(world.states(), [State::Healthy, State::Unhealthy, State::Healthy]);
    assert!(!world.requests(30).contains_key(&Some(all[1])));
    world.well.insert(all[1]);
    world.wait(5);
    assert_eq!(world.requests(9), all.map(|address| (Some(address), 3)).into());
    world.well.clear();
    world.wait(10);
    assert_eq!(world.requests(9), BTreeMap::from([(None, 9)]));
}

#[test]
fn a_reload_forgets_nothing_and_an_edit_of_a_probe_leaves_nobody_without_an_endpoint() {
    let mut world = World::new(7);
    let all = [1, 2].map(|number| address("v1", number));
    world.well.insert(all[0]);
    assert!(world.apply(&one_version(2, "", QUICK)));
    world.wait(3);
    let known = [State::Healthy, State::Unhealthy];
    assert_eq!(world.states(), known);
    let asked = world.asked;
    for _ in 0..20 {
        assert!(world.apply(&one_version(2, "loadBalancer: {simple: RANDOM}", QUICK)));
        assert_eq!(world.states(), known);
    }
    assert_eq!(world.asked, asked, "nobody is asked for a reload");
    // Another probe: whoever took requests goes on, and the other waits for an answer.
    assert!(world.apply(&one_version(2, "", "periodSeconds: 2")));
    assert_eq!(world.states(), [State::Healthy, State::Pending]);
    // No probe any more: to be there is to be ready.
    let text = one_version(2, "", QUICK);
    let objects = text.split("---\n").filter(|object| !object.contains("WorkloadGroup"));
    let without: String = objects.map(|object| format!("---\n{object}")).collect();
    assert!(without.len() < text.len());
    assert!(world.apply(&without));
    assert_eq!((world.states(), world.due.len()), (vec![State::Healthy; 2], 0));
    // And again one: nobody is taken out for what is not known yet, but for what it then says.
    assert!(world.apply(&one_version(2, "", QUICK)));
    assert_eq!(world.states(), [State::Healthy; 2]);
    world.wait(3);
    assert_eq!(world.states(), known);
}

#[test]
fn clusters_that_share_an_endpoint_share_its_check() {
    let mut world = World::new(7);
    world.well.insert(address("v1", 1));
    let two = base()
        + &route(&[("v1", 50), ("v2", 50)])
        + &rule(&["v1"], "").replace("]}", ", {name: v2, labels: {app: s}}]}")
        + &group("v1", QUICK)
        + &entry("v1", 1);
    assert!(world.apply(&two), "{two}");
    assert_eq!((world.snapshot.clusters.len(), world.due.len()), (2, 1));
    let question = world.due.keys().next().unwrap().clone();
    let answered = world.answer(&question);
    assert_eq!((answered.clusters, answered.reconcile), (vec![0, 1], true));
    assert_eq!(world.requests(10), BTreeMap::from([(Some(address("v1", 1)), 10)]));
}

#[test]
fn an_answer_between_reconcile_and_swap_is_not_lost() {
    let mut world = World::new(7);
    let one = base() + &route(&[("v1", 1)]) + &rule(&["v1"], "") + &group("v1", QUICK) + &entry("v1", 1);
    assert!(world.apply(&one));
    let question = world.due.keys().next().expect("one").clone();
    let two =
        one.replace("labels: {version: v1}}]}", "labels: {version: v1}}, {name: v2, labels: {app: s}}]}");
    let two = two.replace(&route(&[("v1", 1)]), &route(&[("v1", 1), ("v2", 1)]));
    let snapshot = compile(&mut world.compiler, &two).expect("no error");
    let next = Upstreams::reconcile(&world.upstreams, &snapshot, 1, world.now);
    assert_eq!((snapshot.clusters.len(), next.held().len()), (2, 2));
    // The revision in force hears of it, and knows nothing of the other's new cluster.
    assert_eq!(world.upstreams.answered(&question, true, world.now).expect("it is asked").clusters, [0]);
    assert_eq!(next.endpoints(1)[0].state(), State::Pending);
    assert!(next.settle(world.now), "a gate is to be opened");
    assert_eq!([0, 1].map(|index| next.endpoints(index)[0].state()), [State::Healthy; 2]);
    assert!(!next.settle(world.now), "once");
}

#[test]
fn warming_up_begins_when_the_probe_first_succeeds() {
    let policy = "loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 60s, minimumPercent: 10}}";
    let mut world = World::new(7);
    let [old, new] = [1, 2].map(|number| address("v1", number));
    world.well.insert(old);
    assert!(world.apply(&one_version(2, policy, QUICK)));
    // It is there for longer than the window before it is ready, and comes as cold as if it were new.
    world.wait(300);
    world.well.insert(new);
    world.wait(1);
    let share = |world: &mut World| world.requests(2000)[&Some(new)];
    let cold = share(&mut world);
    assert!((1..=500).contains(&cold), "{cold} of 2000 at the beginning");
    world.wait(61);
    let warm = share(&mut world);
    assert!((990..=1010).contains(&warm), "{warm} of 2000 when warm");
    // To come back is not to be new.
    world.well.remove(&new);
    world.wait(3);
    world.well.insert(new);
    world.wait(1);
    let back = share(&mut world);
    assert!((990..=1010).contains(&back), "{back} of 2000 when back");
    let joined = world.upstreams.endpoints(0)[1].joined().expect("it joined");
    assert!((300..=302).contains(&joined.duration_since(world.start).as_secs()));
}

#[test]
fn a_panic_uses_those_who_fail_and_nobody_who_was_never_ready() {
    let mut world = World::new(7);
    let all = [1, 2, 3].map(|number| address("v1", number));
    world.well.extend(&all[..2]);
    assert!(world.apply(&one_version(3, "outlierDetection: {minHealthPercent: 60}", QUICK)));
    world.wait(3);
    assert_eq!(world.states(), [State::Healthy, State::Healthy, State::Unhealthy]);
    world.well.remove(&all[0]);
    world.wait(3);
    // One of two: who was never ready counts neither as one nor as the other.
    let met = world.requests(200);
    assert_eq!(met.keys().copied().collect::<Vec<_>>(), [Some(all[0]), Some(all[1])]);
}

#[test]
fn a_success_ends_an_ejection() {
    let policy = "outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100, baseEjectionTime: 1h}";
    let mut world = World::new(7);
    world.well.insert(address("v1", 1));
    assert!(world.apply(&one_version(1, policy, QUICK)));
    world.wait(1);
    let cluster = world.snapshot.splits[0].targets[0].cluster;
    let eject = |world: &World| {
        let cluster = world.upstreams.cluster(cluster);
        cluster.report(0, Report::Status(500), || world.now).expect("an ejection");
    };
    eject(&world);
    assert_eq!((world.states(), world.request()), (vec![State::Ejected], None));
    let question = world.due.keys().next().unwrap().clone();
    assert_eq!(world.answer(&question).returned, [0]);
    assert_eq!((world.states(), world.request()), (vec![State::Healthy], Some(address("v1", 1))));
    // A failure does not, and while it is unhealthy a success among failures does not either.
    eject(&world);
    world.well.clear();
    assert!(world.answer(&question).returned.is_empty());
    world.answer(&question);
    assert_eq!(world.states(), [State::Unhealthy]);
}

/// What may happen to a pool.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// An endpoint answers its probe so.
    Probe(usize, bool),
    /// An endpoint answers a request so.
    Answer(usize, u16),
    /// Time passes, with a sweep.
    Sweep,
    /// A reload.
    Reload,
}

fn event(endpoints: usize) -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..endpoints, any::<bool>()).prop_map(|(endpoint, good)| Event::Probe(endpoint, good)),
        4 => (0..endpoints, prop_oneof![Just(200), Just(500)]).prop_map(|(endpoint, status)| Event::Answer(endpoint, status)),
        1 => Just(Event::Sweep),
        1 => Just(Event::Reload),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever probes and requests say, in whatever order: never more are ejected than the policy allows, a reload
    /// changes nobody's state, and requests go to those that are healthy, or, where so few of those that were ever
    /// ready are, to all of these.
    #[test]
    fn states_and_shares_hold_over_any_history(
        size in 1_u8..8,
        percent in 10_u32..=100,
        panic_under in prop_oneof![Just(0_u32), 1_u32..=100],
        events in prop::collection::vec(event(8), 0..60),
    ) {
        let policy = format!(
            "loadBalancer: {{simple: RANDOM}}, outlierDetection: {{consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 3s, maxEjectionPercent: {percent}, minHealthPercent: {panic_under}}}"
        );
        let text = one_version(size, &policy, "periodSeconds: 1, failureThreshold: 2, successThreshold: 2");
        let mut world = World::new(3);
        prop_assert!(world.apply(&text));
        let cluster = world.snapshot.splits[0].targets[0].cluster;
        let mut ready = BTreeSet::new();
        for event in events {
            let before = world.states();
            match event {
                Event::Probe(endpoint, good) if endpoint < usize::from(size) => {
                    let address = address("v1", endpoint as u8 + 1);
                    if good { world.well.insert(address) } else { world.well.remove(&address) };
                    let question = world.due.keys().find(|question| question.address == address).unwrap().clone();
                    world.answer(&question);
                }
                Event::Answer(endpoint, status) if endpoint < usize::from(size) => {
                    let now = world.now;
                    world.upstreams.cluster(cluster).report(endpoint, Report::Status(status), || now);
                }
                Event::Sweep => {
                    world.now += Duration::from_secs(2);
                    world.upstreams.sweep(world.now);
                }
                Event::Reload => {
                    prop_assert!(world.apply(&text));
                    prop_assert_eq!(world.states(), before);
                }
                _ => {}
            }
            let endpoints = world.upstreams.endpoints(0);
            let ejected = endpoints.iter().filter(|endpoint| endpoint.ejected_until().is_some()).count();
            prop_assert!(100 * ejected <= percent as usize * usize::from(size), "{ejected} of {size} at {percent} %");
            let states = world.states();
            ready.extend((0..states.len()).filter(|&at| states[at] == State::Healthy));
            let healthy: BTreeSet<usize> = (0..states.len()).filter(|&at| states[at] == State::Healthy).collect();
            let few = 100 * healthy.len() < panic_under as usize * ready.len();
            // Envoy's factor: five of seven are enough to take it all, and then there is no panic.
            let panics = few && 140 * healthy.len() < 100 * ready.len();
            let expected = if panics { &ready } else { &healthy };
            let met: BTreeSet<usize> = (0..200)
                .filter_map(|_| world.request())
                .map(|address| match address { SocketAddr::V4(at) => usize::from(at.ip().octets()[3]) - 1, _ => 0 })
                .collect();
            prop_assert_eq!(&met, expected, "{:?} of {:?} after {:?}", states, ready, event);
        }
    }
}
