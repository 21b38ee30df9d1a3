//! Requests that were changed at random places, over real sockets: whatever comes, the upstream gets whole requests that mean
//! one thing, none for which no client was answered, and the gateway goes on.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use trysail_properties::{means_one_thing, mutate, seeds};
use trysail_testkit::client::Client;

use crate::lane::{self, Bench};
use crate::table::{LANES, POSITIONS};

/// How long is waited for an answer to what may lack its end.
const QUIET: Duration = Duration::from_millis(40);

/// So many requests of clients that did not wait may be on their way, where a machine has much to do.
const LATE: usize = 3;

/// How long a request may take that the gateway works on, on machines that are slow and shared.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn whatever_comes_the_upstream_gets_whole_requests() {
    check(8_000, 36);
}

#[test]
#[ignore = "takes minutes: make torture"]
fn whatever_comes_a_hundred_thousand_times() {
    check(100_000, 100);
}

fn check(turns: usize, seed: u64) {
    for settings in POSITIONS {
        check_in(settings, turns, seed);
    }
}

fn check_in(settings: &str, turns: usize, seed: u64) {
    let bench = Bench::with(LANES, settings);
    // Every other one starts from what passes, which most rows do not.
    let all = seeds::heads();
    let good =
        all.iter().filter(|seed| matches!(trysail_edge::head::read(seed), Ok(Some(_)))).cloned().collect();
    let (seeds, next, passed) = ([all, good], AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for lane in 0..LANES {
            let (bench, seeds, next, passed) = (&bench, &seeds, &next, &passed);
            scope.spawn(move || {
                let mut late = 0;
                while let turn = next.fetch_add(1, Ordering::Relaxed)
                    && turn < turns
                {
                    // Each turn has its own chance, so that one that fails fails again by itself.
                    let mut chance = fastrand::Rng::with_seed(seed.wrapping_add(turn as u64));
                    let bytes = mutate(&seeds[turn % 2], turn / 2, &mut chance);
                    // A change may have made it another lane's, who would not expect it.
                    let mine =
                        |bytes: Vec<u8>, other| lane::renamed(&bytes, &lane::host(other), &lane::host(lane));
                    let bytes = (0..LANES).fold(lane::renamed_to(lane, &bytes), mine);
                    passed.fetch_add(ask(bench, lane, &bytes, &mut late), Ordering::Relaxed);
                }
            });
        }
    });
    // Or nothing has been tried.
    let passed = passed.into_inner();
    assert!(passed > turns / 10, "only {passed} of {turns} reached an upstream");
    bench.end_of_requests();
}

/// How many requests reached the upstream. `late`: how many may come yet, of a client that did not wait.
fn ask(bench: &Bench, lane: usize, bytes: &[u8], late: &mut usize) -> usize {
    let (answers, hung_up) = answers(bench, bytes);
    let came = bench.upstreams[lane].take();
    let shown = || format!("sent b\"{}\"\nanswers {answers:?}\ncame {came:?}", bytes.escape_ascii());
    for request in &came {
        assert!(!request.contains("\nmisframed: ") && !request.starts_with("no request"), "{}", shown());
        let Some((head, _)) = request.split_once("\n\n") else { continue };
        let chunked = head.to_ascii_lowercase().contains("\ntransfer-encoding:");
        let head = format!("{}\r\n\r\n", head.replace('\n', "\r\n"));
        let holds = std::panic::catch_unwind(|| means_one_thing(head.as_bytes(), chunked));
        assert!(holds.is_ok(), "{}", shown());
    }
    // What is cut is half a request, and the last of its connection.
    let whole = came.iter().filter(|request| !request.contains("\ncut: ")).count();
    let more = whole.saturating_sub(answers.len());
    let most = usize::from(hung_up) + *late;
    assert!(more <= most, "more requests than answers: {}", shown());
    *late = (most - more).min(LATE);
    whole
}

/// The statuses that came until the gateway said no more, and whether the client was the first to end.
fn answers(bench: &Bench, bytes: &[u8]) -> (Vec<u16>, bool) {
    let mut client = Client::connect(bench.gateway.address()).expect("the gateway accepts");
    // Who is refused by now may not take it all.
    let _ = client.send(bytes);
    client.set_read_timeout(QUIET).expect("a time");
    let mut statuses = Vec::new();
    let mut said_all = false;
    let methods: Vec<bool> = heads_asked(bytes);
    loop {
        match client.read_reply(methods.get(statuses.len()).copied().unwrap_or(false)) {
            Ok(reply) => statuses.push(reply.status),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                assert!(!said_all, "no end after {statuses:?} to b\"{}\"", bytes.escape_ascii());
                // It waits for more, and gets none.
                let _ = client.finish();
                client.set_read_timeout(PATIENCE).expect("a time");
                said_all = true;
            }
            Err(error) => {
                let odd = error.kind() == ErrorKind::InvalidData;
                assert!(!odd, "{error} after {statuses:?} to b\"{}\"", bytes.escape_ascii());
                return (statuses, said_all);
            }
        }
    }
}

/// Whether each request that stands in the bytes, as far as it can be told, is a HEAD.
fn heads_asked(bytes: &[u8]) -> Vec<bool> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| line.windows(6).any(|six| six == b" HTTP/"))
        .map(|line| line.starts_with(b"HEAD "))
        .collect()
}
