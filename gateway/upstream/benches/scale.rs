//! What a revision costs by its size, stage by stage: cut and read, compile, reconcile; at first, after an edit of one
//! weight, after an edit of one service's endpoints; and what it keeps in memory.
//!
//! `cargo bench -p trysail-upstream --bench scale [-- HOSTS ROUTES]`; without numbers a table of several sizes.
#![expect(clippy::disallowed_methods, reason = "a bench measures time, and asks the kernel for memory")]
#![expect(clippy::print_stdout, reason = "a bench tells what it found")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use trysail_routing::compile::{Compiler, Surroundings};
use trysail_routing::diagnostic::Diagnostics;
use trysail_routing::snapshot::Snapshot;
use trysail_routing::wire::{ConfigSet, Limits, Reader};
use trysail_testkit::fleet::Fleet;
use trysail_upstream::Upstreams;

#[global_allocator]
static ALLOCATOR: trysail_malloc::Mimalloc = trysail_malloc::Mimalloc;

/// Hosts in one file.
const EACH: usize = 100;

/// An edit is measured so many times; the middle one counts.
const TIMES: usize = 5;

type Texts = Vec<(Arc<str>, Arc<str>)>;

struct Bench {
    reader: Reader,
    compiler: Compiler,
    set: ConfigSet,
    snapshot: Arc<Snapshot>,
    upstreams: Upstreams,
    now: Instant,
}

/// How long each stage took.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    read: Duration,
    compile: Duration,
    reconcile: Duration,
    /// What was before goes.
    drop: Duration,
}

impl Took {
    fn all(&self) -> Duration {
        self.read + self.compile + self.reconcile
    }
}

impl Bench {
    fn new() -> Self {
        Bench {
            reader: Reader::new("default", Limits::default()),
            compiler: Compiler::new(1),
            set: ConfigSet::default(),
            snapshot: Arc::default(),
            upstreams: Upstreams::default(),
            now: Instant::now(),
        }
    }

    fn apply(&mut self, texts: &Texts) -> Took {
        let mut took = Took::default();
        let mut lap = Instant::now();
        let mut stage = |to: &mut Duration| *to = std::mem::replace(&mut lap, Instant::now()).elapsed();
        let texts = texts.iter().map(|(name, text)| (name, text));
        let set = self.reader.read(texts, Diagnostics::default());
        stage(&mut took.read);
        let compiled = self.compiler.compile(&set, &Surroundings::default());
        assert!(!compiled.findings.has_errors(), "{:?}", compiled.findings.iter().next());
        let snapshot = Arc::new(compiled.snapshot);
        stage(&mut took.compile);
        let upstreams = Upstreams::reconcile(&self.upstreams, &snapshot, 1, self.now);
        stage(&mut took.reconcile);
        (self.set, self.snapshot, self.upstreams) = (set, snapshot, upstreams);
        stage(&mut took.drop);
        took
    }
}

/// The process's memory in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn texts(fleet: Fleet) -> Texts {
    let files = fleet.files(EACH, 10).into_iter();
    let own = ("gateway.yaml".into(), Fleet::gateway(80).into());
    files.map(|(name, text)| (name.into(), text.into())).chain([own]).collect()
}

/// The same files with one host's text replaced.
fn edited(texts: &Texts, from: &str, to: &str) -> Texts {
    let edit = |(name, text): &(Arc<str>, Arc<str>)| match text.contains(from) {
        true => (name.clone(), text.replace(from, to).into()),
        false => (name.clone(), text.clone()),
    };
    texts.iter().map(edit).collect()
}

/// Two texts in turn, and the middle of how long the stages took.
fn in_turn(bench: &mut Bench, turns: [&Texts; 2]) -> Took {
    let mut all: Vec<Took> = (0..TIMES).map(|turn| bench.apply(turns[turn % 2])).collect();
    all.sort_by_key(Took::all);
    all[TIMES / 2]
}

fn say(what: &str, took: Took) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "  {what:<22} read {:9.2}  compile {:9.2}  reconcile {:8.2}  all {:9.2} ms   (old one freed in {:.2})",
        ms(took.read),
        ms(took.compile),
        ms(took.reconcile),
        ms(took.all()),
        ms(took.drop),
    );
}

fn measure(hosts: usize, routes: usize) {
    let fleet = Fleet { hosts, routes, ports: [8080, 8081] };
    let texts = texts(fleet);
    let bytes: usize = texts.iter().map(|(_, text)| text.len()).sum();
    let (before, mut bench) = (resident(), Bench::new());
    let first = bench.apply(&texts);
    let after = resident();
    println!(
        "{hosts} hosts of {routes} routes: {} objects, {:.1} MiB of text; {:.1} MiB of memory",
        bench.set.documents.len(),
        bytes as f64 / f64::from(1 << 20),
        after - before
    );
    say("at first", first);
    say("nothing", in_turn(&mut bench, [&texts, &texts]));
    let host = hosts / 2;
    let weights = edited(&texts, &fleet.host(host, 10), &fleet.host(host, 20));
    say("one weight", in_turn(&mut bench, [&weights, &texts]));
    let endpoints = edited(&texts, &fleet.service(host, 1), &fleet.service(host, 2));
    say("one service's endpoints", in_turn(&mut bench, [&endpoints, &texts]));
    println!("  then {:.1} MiB", resident() - before);
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    match *numbers {
        [hosts, routes] => measure(hosts, routes),
        _ => [(10, 2), (1_000, 2), (10_000, 2), (10_000, 10), (100_000, 1)]
            .into_iter()
            .for_each(|(hosts, routes)| measure(hosts, routes)),
    }
}
