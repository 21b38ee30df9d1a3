//! Who is let in, who waits, who is refused; and that nothing is lost, however requests end.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;

fn limits(slots: u32, pending: Option<u32>, requests: Option<u32>) -> Limits {
    let pool = ConnectionPool {
        max_connections: (slots > 0).then_some(slots),
        max_pending_requests: pending,
        max_requests: requests,
        ..ConnectionPool::default()
    };
    Limits::begin(&Policy { connection_pool: pool, ..Policy::default() })
}

fn poll(waiting: &mut Waiting) -> Poll<Result<Held, Overflow>> {
    Pin::new(waiting).poll(&mut Context::from_waker(Waker::noop()))
}

fn word(admission: &Admission) -> &'static str {
    match admission {
        Admission::Now(Some(_)) => "now",
        Admission::Now(None) => "free",
        Admission::Later(_) => "later",
        Admission::Never(overflow) => overflow.as_str(),
    }
}

#[test]
fn ceilings_are_kept_to_the_request() {
    for (slots, pending, requests, words) in [
        (0, None, None, "free free free free"),
        (0, Some(1), None, "free free free free"),
        (2, Some(1), None, "now now later pending"),
        (2, None, None, "now now later later"),
        (0, None, Some(2), "now now requests requests"),
        (3, Some(1), Some(2), "now now requests requests"),
        (1, Some(2), Some(1), "now later later pending"),
    ] {
        let limits = limits(slots, pending, requests);
        let admitted: Vec<Admission> = (0..4).map(|_| limits.admit(false)).collect();
        let said: Vec<&str> = admitted.iter().map(word).collect();
        assert_eq!(said.join(" "), words, "{slots} {pending:?} {requests:?}");
        drop(admitted);
        let counts = &limits.counts;
        assert_eq!(counts.waiting(), 0);
        assert_eq!(word(&limits.admit(false)), words.split(' ').next().unwrap(), "all is given back");
    }
}

#[test]
fn who_waits_comes_in_order_and_before_who_comes_later() {
    let limits = limits(1, Some(3), None);
    let first = limits.admit(false);
    let mut waiting: Vec<Waiting> = (0..3)
        .map(|_| match limits.admit(false) {
            Admission::Later(waiting) => waiting,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(waiting.iter_mut().all(|one| poll(one).is_pending()));
    // The second has had enough.
    drop(waiting.remove(1));
    drop(first);
    assert_eq!(word(&limits.admit(false)), "later", "nobody overtakes");
    let Poll::Ready(Ok(held)) = poll(&mut waiting[0]) else { panic!("the first in the queue") };
    assert!(poll(&mut waiting[1]).is_pending());
    drop(held);
    // Its turn has come, and it never knew.
    drop(waiting.pop());
    assert_eq!(limits.waiting(), 0);
    drop(waiting);
    assert_eq!(word(&limits.admit(false)), "now");
}

#[test]
fn an_endpoint_without_work_takes_one_over_the_ceiling() {
    let limits = limits(1, Some(1), None);
    let held = [limits.admit(true), limits.admit(true), limits.admit(false), limits.admit(false)];
    assert_eq!(held.each_ref().map(word), ["now", "now", "later", "pending"]);
    let [_, second, mut later, _] = held;
    drop(second);
    let Admission::Later(waiting) = &mut later else { panic!() };
    assert!(poll(waiting).is_pending(), "what was over the ceiling is not handed on");
    assert_eq!(limits.admit_connection().err(), Some(Overflow::Connections));
}

#[test]
fn http2_multiplies_slots_by_streams() {
    let pool = ConnectionPool {
        max_connections: Some(2),
        max_concurrent_streams: Some(3),
        ..ConnectionPool::default()
    };
    let policy = Policy { connection_pool: pool, protocol: Protocol::Http2, ..Policy::default() };
    assert_eq!(Limits::begin(&policy).slots, Some(6));
}

#[test]
fn ceilings_change_under_counts_that_stay() {
    let before = limits(2, Some(1), Some(9));
    let held = [before.admit(false), before.admit(false)];
    let after = limits(1, Some(1), Some(9));
    let policy = ConnectionPool { max_connections: Some(1), ..ConnectionPool::default() };
    let after = Limits { counts: before.counts.clone(), ..after };
    let kept = before.keep(&Policy { connection_pool: policy, ..Policy::default() });
    assert_eq!(word(&after.admit(false)), "later");
    drop(held);
    let one = kept.admit(false);
    assert_eq!((word(&one), word(&after.admit(false))), ("now", "later"));
}

#[test]
fn retries_have_a_ceiling_or_a_part() {
    let budget = |percent, min_concurrency| {
        Retries::Budget(RetryBudget { percent, min_concurrency, interval: Duration::ZERO })
    };
    for (retries, active, unsent, most) in [
        (Retries::Ours, 1, false, 3),
        (Retries::Ours, 50, false, 10),
        (Retries::Ours, 1, true, 99),
        (Retries::Most(2), 100, true, 2),
        (budget(0.0, 1), 100, false, 1),
        (budget(50.0, 1), 9, true, 4),
        (budget(100.0, 3), 2, false, 3),
    ] {
        let limits = Limits { retries, ..Limits::default() };
        let held: Vec<Retrying> = (0..99).map_while(|_| limits.retry(active, unsent)).collect();
        assert_eq!(held.len(), most, "{retries:?} {active}");
        drop(held);
        assert!(limits.retry(active, unsent).is_some());
    }
}

#[test]
fn nothing_is_lost_between_threads() {
    const CEILING: u32 = 3;
    let limits = limits(CEILING, None, Some(CEILING));
    let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
    let work = |held: Option<Held>| {
        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::hint::spin_loop();
        inside.fetch_sub(1, Ordering::SeqCst);
        drop(held);
    };
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for n in 0..400 {
                    match limits.admit(false) {
                        Admission::Now(held) => work(held),
                        // One in eight leaves at once, whether its turn has come or not.
                        Admission::Later(_) if n % 8 == 0 => {}
                        Admission::Later(mut waiting) => loop {
                            match poll(&mut waiting) {
                                Poll::Ready(Ok(held)) => break work(Some(held)),
                                // Between a slot and its request somebody may still be on the way out.
                                Poll::Ready(Err(overflow)) => break assert_eq!(overflow, Overflow::Requests),
                                Poll::Pending => std::thread::yield_now(),
                            }
                        },
                        Admission::Never(overflow) => assert_eq!(overflow, Overflow::Requests),
                    }
                }
            });
        }
    });
    assert!(most.into_inner() <= CEILING);
    let held: Vec<Admission> = (0..CEILING).map(|_| limits.admit(false)).collect();
    assert!(held.iter().all(|one| word(one) == "now"), "all slots are back");
}
