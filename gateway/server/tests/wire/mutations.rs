//! Requests that were changed at random places, over real sockets: whatever comes, the upstream gets whole requests that mean
//! one thing, none for which no client was answered, and the gateway goes on.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use trysail_properties::{means_one_thing, mutate, seeds};
use trysail_testkit::client::Client;

use crate::gateway::EXPRESS;
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
fn whatever_comes_in_chunks_holds_for_both_lanes_what_it_held() {
    check_chunks(2_400, 53);
}

#[test]
#[ignore = "takes minutes: make torture"]
fn whatever_comes_a_hundred_thousand_times() {
    check(100_000, 100);
    check_chunks(100_000, 101);
}

fn check(turns: usize, seed: u64) {
    // Every other one starts from what passes, which most rows do not.
    let all = seeds::heads();
    let good =
        all.iter().filter(|seed| matches!(trysail_edge::head::read(seed), Ok(Some(_)))).cloned().collect();
    let seeds: [Vec<Vec<u8>>; 2] = [all, good];
    let make = |turn: usize, chance: &mut fastrand::Rng| mutate(&seeds[turn % 2], turn / 2, chance);
    for settings in POSITIONS {
        check_in(settings, turns, seed, make, 1);
    }
}

/// Bodies in chunks, whole and in pieces.
fn check_chunks(turns: usize, seed: u64) {
    let head = b"POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let own = [
        "5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n",
        "1\r\n0\r\n2\r\n\r\n\r\n3\r\n0\r\n\r\n0\r\nx-trailer: 1\r\n\r\n",
        "000a\r\n0\r\n\r\nGET /\r\n0\r\n\r\n",
        "21\r\nGET / HTTP/1.1\r\nHost: shop.test\r\n\r\n0\r\n\r\n",
    ];
    let own = own.map(|body| body.as_bytes().to_vec());
    let chunked = |seed: &Vec<u8>| matches!(trysail_edge::head::read(seed), Ok(Some(head)) if head.chunked);
    let rows: Vec<Vec<u8>> = seeds::heads().into_iter().filter(chunked).collect();
    let make = |turn: usize, chance: &mut fastrand::Rng| match turn % 3 {
        0 => mutate(&rows, turn / 3, chance),
        1 => [&head[..], &mutate(&own, turn / 3, chance)].concat(),
        _ => [&head[..], &own[turn / 3 % own.len()]].concat(),
    };
    for settings in POSITIONS {
        check_in(settings, turns, seed, make, 3);
    }
}

/// Sends what is made for each turn, in so many `pieces` at most.
fn check_in(
    settings: &str,
    turns: usize,
    seed: u64,
    make: impl Fn(usize, &mut fastrand::Rng) -> Vec<u8> + Sync,
    pieces: usize,
) {
    let bench = Bench::with(LANES, settings);
    let (next, passed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for lane in 0..LANES {
            let (bench, next, passed, make) = (&bench, &next, &passed, &make);
            scope.spawn(move || {
                let mut late = 0;
                while let turn = next.fetch_add(1, Ordering::Relaxed)
                    && turn < turns
                {
                    // Each turn has its own chance, so that one that fails fails again by itself.
                    let mut chance = fastrand::Rng::with_seed(seed.wrapping_add(turn as u64));
                    let bytes = make(turn, &mut chance);
                    // A change may have made it another lane's, who would not expect it.
                    let mine =
                        |bytes: Vec<u8>, other| lane::renamed(&bytes, &lane::host(other), &lane::host(lane));
                    let bytes = (0..LANES).fold(lane::renamed_to(lane, &bytes), mine);
                    let cuts: Vec<usize> = (1..pieces).map(|_| chance.usize(..=bytes.len())).collect();
                    passed.fetch_add(ask(bench, lane, &bytes, &cuts, &mut late), Ordering::Relaxed);
                }
            });
        }
    });
    // Or nothing has been tried.
    let passed = passed.into_inner();
    assert!(passed > turns / 10, "only {passed} of {turns} reached an upstream");
    let by_express = bench.gateway.sum("trysail_express_requests_total", &[]);
    let most = settings.contains(EXPRESS) && pieces > 1;
    assert!(!most || by_express > passed as f64 / 2.0, "{by_express} of {passed} by the express lane");
    bench.end_of_requests();
}

/// How many requests reached the upstream. `late`: how many may come yet, of a client that did not wait.
fn ask(bench: &Bench, lane: usize, bytes: &[u8], cuts: &[usize], late: &mut usize) -> usize {
    let (answers, hung_up) = answers(bench, bytes, cuts);
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
    // The first that came is the first that was sent.
    if let Some((head, body)) = came.first().and_then(|request| request.split_once("\n\n"))
        && head.to_ascii_lowercase().contains("\ntransfer-encoding:")
        && !body.starts_with("cut: ")
        && *late == 0
    {
        let held = held(bytes).map(|held| String::from_utf8_lossy(&held).into_owned());
        assert_eq!(held.as_deref(), Some(body), "{}", shown());
    }
    // What is cut is half a request, and the last of its connection.
    let whole = came.iter().filter(|request| !request.contains("\ncut: ")).count();
    let more = whole.saturating_sub(answers.len());
    let most = usize::from(hung_up) + *late;
    assert!(more <= most, "more requests than answers: {}", shown());
    *late = (most - more).min(LATE);
    whole
}

/// What the chunks of the first request hold, told in the plainest way; `None` where they do not end.
fn held(mut bytes: &[u8]) -> Option<Vec<u8>> {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    let split = |bytes: &[u8], at: &[u8]| {
        let end = bytes.windows(at.len()).position(|window| window == at)?;
        Some((bytes[..end].to_vec(), bytes[end + at.len()..].to_vec()))
    };
    let (mut held, (_, mut rest)) = (Vec::new(), split(bytes, b"\r\n\r\n")?);
    loop {
        let (line, after) = split(&rest, b"\r\n")?;
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            return Some(held);
        }
        held.extend_from_slice(after.get(..size)?);
        rest = after.get(size + 2..)?.to_vec();
    }
}

/// The statuses that came until the gateway said no more, and whether the client was the first to end. Between the pieces it
/// sends nothing for a moment.
fn answers(bench: &Bench, bytes: &[u8], cuts: &[usize]) -> (Vec<u16>, bool) {
    let mut client = Client::connect(bench.gateway.address()).expect("the gateway accepts");
    let mut ends = [cuts, &[bytes.len()]].concat();
    ends.sort_unstable();
    let mut sent = 0;
    for end in ends {
        if sent > 0 {
            thread::sleep(Duration::from_millis(2));
        }
        // Who is refused by now may not take it all.
        let _ = client.send(&bytes[sent..end]);
        sent = end;
    }
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
