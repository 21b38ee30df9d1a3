//! Whether a failed request is tried again, and how long that waits. Who tries is the server's.
//!
//! Envoy replays every method on whatever its policy names. So does this, with one departure to either side: a kept
//! connection that the upstream had closed meanwhile is no try at all, if the request may be sent twice; and where
//! it may not, it is replayed only if the policy says in words that no answer is reason enough.

use std::time::Duration;

use trysail_routing::snapshot::{Retry, RetryOn};

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection.
    Connect,
    /// A kept connection turned out to be closed.
    Stale,
    /// The upstream refused the stream unread.
    Refused,
    /// It broke off before an answer.
    Reset,
    /// The time of one try was over.
    PerTry,
    /// There was an answer.
    Answer {
        /// Its status.
        status: u16,
        /// gRPC's status, where it stands in the head.
        grpc: Option<u8>,
        /// Whether it says that rates are limited.
        limited: bool,
    },
}

/// A request so far.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// Tries that count, the one that just ended among them.
    pub tries: u32,
    /// Tries that do not count, since they met a connection that was closed.
    pub stale: u32,
    /// Whether its method may be executed twice.
    pub idempotent: bool,
    /// Whether all that was read of its body is still there, and the client has no answer yet.
    pub replayable: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays as it is.
    Final,
    /// It stays as it is, since there were as many tries as there may be: flag URX.
    Exhausted,
    /// It is tried again after this time.
    Again(Duration),
    /// It is sent again, which is no other try.
    Resend,
}

/// So many closed connections are passed over.
const MAX_STALE: u32 = 3;

/// Decides on a try that ended. `lot` is any number, each as likely.
pub fn verdict(retry: &Retry, failure: Failure, tried: Tried, lot: u64) -> Verdict {
    if !tried.replayable {
        return Verdict::Final;
    }
    if failure == Failure::Stale && tried.idempotent && tried.stale < MAX_STALE {
        return Verdict::Resend;
    }
    if retry.attempts == 0 || !is_asked_for(retry, failure) {
        return Verdict::Final;
    }
    if tried.tries > retry.attempts {
        return Verdict::Exhausted;
    }
    Verdict::Again(backoff(retry.backoff, tried.tries, lot))
}

fn is_asked_for(retry: &Retry, failure: Failure) -> bool {
    let any = |of: &[RetryOn]| of.iter().any(|on| retry.on.has(*on));
    use RetryOn::{
        Cancelled, Codes, Conflict, ConnectFailure, DeadlineExceeded, GatewayError, Internal, RateLimited,
        RefusedStream, Reset, ResetBeforeRequest, ResourceExhausted, ServerError, Unavailable,
    };
    match failure {
        Failure::Connect => any(&[ConnectFailure, ResetBeforeRequest, Reset, GatewayError, ServerError]),
        Failure::Refused => any(&[RefusedStream, Reset, GatewayError, ServerError]),
        Failure::Stale | Failure::Reset | Failure::PerTry => any(&[Reset, GatewayError, ServerError]),
        Failure::Answer { limited: true, .. } => any(&[RateLimited]),
        Failure::Answer { status, grpc, .. } => {
            let by_status = match status {
                502..=504 => any(&[GatewayError, ServerError]),
                500..=599 => any(&[ServerError]),
                409 => any(&[Conflict]),
                _ => false,
            };
            let by_grpc = match grpc {
                Some(1) => any(&[Cancelled]),
                Some(4) => any(&[DeadlineExceeded]),
                Some(8) => any(&[ResourceExhausted]),
                Some(13) => any(&[Internal]),
                Some(14) => any(&[Unavailable]),
                _ => false,
            };
            by_status || by_grpc || any(&[Codes]) && retry.codes.contains(&status)
        }
    }
}

/// Envoy's jittered exponential back-off: evenly in 0 to the base times 2, 4, … of the tries so far, at most ten
/// times the base.
fn backoff(base: Duration, tries: u32, lot: u64) -> Duration {
    let factor = 1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX).clamp(1, 10);
    let most = base.saturating_mul(factor).as_micros() as u64;
    Duration::from_micros(((u128::from(lot) * u128::from(most)) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trysail_routing::snapshot::RetrySet;

    const FIRST: Tried = Tried { tries: 1, stale: 0, idempotent: true, replayable: true };
    const POST: Tried = Tried { idempotent: false, ..FIRST };

    fn answer(status: u16) -> Failure {
        Failure::Answer { status, grpc: None, limited: false }
    }

    #[test]
    fn each_word_takes_its_failures() {
        let default = Retry::default();
        let on = |on| Retry { on: RetrySet::default().with(on), ..Retry::default() };
        let codes = Retry { codes: vec![429], ..on(RetryOn::Codes) };
        let again = Verdict::Again(Duration::ZERO);
        for (retry, failure, tried, verdict_is) in [
            (&default, Failure::Connect, FIRST, again),
            (&default, Failure::Connect, POST, again),
            (&default, Failure::Refused, POST, again),
            (&default, Failure::Reset, FIRST, Verdict::Final),
            (&default, Failure::PerTry, FIRST, Verdict::Final),
            (&default, answer(503), FIRST, Verdict::Final),
            (&default, Failure::Stale, FIRST, Verdict::Resend),
            (&default, Failure::Stale, Tried { stale: 3, ..FIRST }, Verdict::Final),
            (&default, Failure::Stale, POST, Verdict::Final),
            (&on(RetryOn::Reset), Failure::Stale, POST, again),
            (&on(RetryOn::Reset), Failure::PerTry, POST, again),
            (&on(RetryOn::ServerError), answer(500), FIRST, again),
            (&on(RetryOn::ServerError), answer(404), FIRST, Verdict::Final),
            (&on(RetryOn::GatewayError), answer(500), FIRST, Verdict::Final),
            (&on(RetryOn::GatewayError), answer(504), FIRST, again),
            (&on(RetryOn::Conflict), answer(409), FIRST, again),
            (&codes, answer(429), FIRST, again),
            (&codes, answer(430), FIRST, Verdict::Final),
            (&default, Failure::Answer { status: 200, grpc: Some(14), limited: false }, FIRST, again),
            (
                &default,
                Failure::Answer { status: 200, grpc: Some(13), limited: false },
                FIRST,
                Verdict::Final,
            ),
            (
                &on(RetryOn::ServerError),
                Failure::Answer { status: 503, grpc: None, limited: true },
                FIRST,
                Verdict::Final,
            ),
            (&default, Failure::Connect, Tried { tries: 2, ..FIRST }, again),
            (&default, Failure::Connect, Tried { tries: 3, ..FIRST }, Verdict::Exhausted),
            (&default, Failure::Connect, Tried { replayable: false, ..FIRST }, Verdict::Final),
            (&Retry { attempts: 0, ..default.clone() }, Failure::Connect, FIRST, Verdict::Final),
        ] {
            assert_eq!(verdict(retry, failure, tried, 0), verdict_is, "{:?} {failure:?} {tried:?}", retry.on);
        }
    }

    #[test]
    fn waits_double_up_to_ten_times_the_base() {
        let base = Duration::from_millis(25);
        for (tries, most) in [(1, 25), (2, 50), (3, 100), (4, 200), (5, 250), (90, 250)] {
            let longest = backoff(base, tries, u64::MAX);
            let most = Duration::from_millis(most);
            assert!(longest < most && longest > most - Duration::from_millis(1), "{tries} {longest:?}");
            assert_eq!(backoff(base, tries, 0), Duration::ZERO);
        }
    }
}
