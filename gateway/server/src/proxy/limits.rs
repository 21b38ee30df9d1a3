//! A cluster's ceilings, asked before a request goes on: it goes, it waits, or it is refused; and what its connection
//! may still carry.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use pingora_core::protocols::Digest;
use pingora_proxy::Session;
use trysail_routing::snapshot::policy::ConnectionPool;
use trysail_upstream::limits::{Admission, Held, Overflow, Waiting};

use super::ctx::Ctx;
use super::reply::Answer;

/// What the ceilings say to a request that has its cluster and endpoint.
pub(super) enum Entry {
    /// It goes on.
    Open,
    /// It has left its endpoint, and waits for this, then asks `admitted`.
    Queue(Waiting),
    /// It goes nowhere.
    Shut(Answer),
}

/// Asks for a request that has its cluster and endpoint.
pub(super) fn ask(ctx: &mut Ctx) -> Entry {
    let Some(cluster) = ctx.cluster else { return Entry::Open };
    let limits = ctx.active.upstreams.cluster(cluster).limits();
    if !limits.any() {
        return Entry::Open;
    }
    match limits.admit(ctx.is_alone()) {
        Admission::Now(held) => {
            ctx.held = held;
            Entry::Open
        }
        Admission::Never(overflow) => Entry::Shut(refuse(ctx, overflow)),
        Admission::Later(waiting) => {
            // Whoever waits is no work of an endpoint, and chooses anew.
            ctx.leave_endpoint();
            Entry::Queue(waiting)
        }
    }
}

/// What becomes of a request that has waited; `None` where its time was over first.
pub(super) fn admitted(ctx: &mut Ctx, turn: Option<Result<Held, Overflow>>) -> Result<(), Answer> {
    match turn {
        None => Err(Answer::LATE),
        Some(Err(overflow)) => Err(refuse(ctx, overflow)),
        Some(Ok(held)) => {
            ctx.held = Some(held);
            if ctx.choose_endpoint() { Ok(()) } else { Err(Answer::NO_ENDPOINT) }
        }
    }
}

fn refuse(ctx: &mut Ctx, overflow: Overflow) -> Answer {
    ctx.leave_endpoint();
    if let Some(cluster) = ctx.cluster {
        ctx.active.loads.of(cluster).overflow(overflow);
    }
    Answer::OVERFLOW
}

/// Asks, and waits if need be, for a request that Pingora carries. An error of the outer kind means that the client has
/// gone.
pub(super) async fn enter(session: &mut Session, ctx: &mut Ctx) -> pingora_core::Result<Result<(), Answer>> {
    Ok(match ask(ctx) {
        Entry::Open => Ok(()),
        Entry::Shut(answer) => Err(answer),
        Entry::Queue(waiting) => {
            let turn = wait(session, ctx, waiting).await?;
            admitted(ctx, turn)
        }
    })
}

/// Waits as long as the client does and the request's time lets it: `None` where that is over. A client that is still
/// to send a body can't be listened to without taking it, so its going away is noticed later.
async fn wait(
    session: &mut Session,
    ctx: &Ctx,
    mut waiting: Waiting,
) -> pingora_core::Result<Option<Result<Held, Overflow>>> {
    let time = ctx.deadline.left();
    let over = async {
        match time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let listens = session.as_mut().is_body_empty();
    tokio::select! {
        biased;
        turn = &mut waiting => return Ok(Some(turn)),
        () = &mut over => return Ok(None),
        gone = session.as_mut().read_body_or_idle(true), if listens => if let Err(error) = gone {
            return Err(error.into_down());
        },
    }
    // It has sent more than its request, and is there.
    tokio::select! {
        biased;
        turn = waiting => Ok(Some(turn)),
        () = over => Ok(None),
    }
}

/// How often connections were used, by their descriptor, which is one connection's as long as that lives. Only those of
/// clusters that limit it are noted.
#[derive(Debug, Default)]
pub(crate) struct Uses(Mutex<HashMap<RawFd, (Option<SystemTime>, u32)>>);

impl Uses {
    /// Whether a connection carries this request and no other: it has grown too old, or carried enough.
    pub(super) fn is_last(&self, pool: &ConnectionPool, fd: RawFd, digest: Option<&Digest>) -> bool {
        let timing = digest.and_then(|digest| digest.timing_digest.first()?.as_ref());
        let since = timing.map(|timing| timing.established_ts);
        let age = || since.and_then(|since| since.elapsed().ok());
        is_last(pool, age, || self.count(fd, since))
    }

    /// Counts one use, and tells how many there were.
    fn count(&self, fd: RawFd, since: Option<SystemTime>) -> u32 {
        let mut uses = self.0.lock();
        let (of, used) = uses.entry(fd).or_insert((since, 0));
        if *of != since {
            (*of, *used) = (since, 0);
        }
        *used = used.saturating_add(1);
        *used
    }
}

/// Whether a connection of this age, used so often with this request, carries no other.
pub(super) fn is_last(
    pool: &ConnectionPool,
    age: impl FnOnce() -> Option<Duration>,
    used: impl FnOnce() -> u32,
) -> bool {
    let ConnectionPool { max_requests_per_connection, max_connection_duration, .. } = pool;
    let old = max_connection_duration.is_some_and(|most| age().is_some_and(|age| age >= most));
    old | max_requests_per_connection.is_some_and(|most| most == 1 || used() >= most)
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn uses_are_a_connections_own() {
        let uses = Uses::default();
        let (first, second) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        let counted = [(3, first), (3, first), (4, first), (3, second), (3, second), (3, second)]
            .map(|(fd, since)| uses.count(fd, Some(since)));
        assert_eq!(counted, [1, 2, 1, 1, 2, 3]);
    }
}
