//! Faults made on purpose: a wait, then an answer, before anything else happens to a request.

use std::time::Duration;

use pingora_core::Result;
use pingora_proxy::Session;
use trysail_routing::snapshot::{Abort, Chance, Fault};

use super::reply::Answer;
use crate::metrics::Flag;

/// What became of a request here.
pub(super) struct Injected {
    /// Whether it waited.
    pub(super) delayed: bool,
    /// The answer that it gets, if it goes no further.
    pub(super) abort: Option<Answer>,
}

/// Draws for a request. An error means that the client has gone while it waited.
pub(super) async fn inject(fault: &Fault, session: &mut Session) -> Result<Injected> {
    let lot = || fastrand::u32(..Chance::LOTS);
    let time = fault.delay(lot());
    if let Some(time) = time {
        wait(session, time).await?;
    }
    Ok(Injected { delayed: time.is_some(), abort: fault.abort(lot()).map(answer) })
}

/// Waits as long as the client does. One that is still to send a body can't be listened to without taking it, so its
/// going away is noticed after the time.
async fn wait(session: &mut Session, time: Duration) -> Result<()> {
    let over = tokio::time::sleep(time);
    if !session.as_mut().is_body_empty() {
        over.await;
        return Ok(());
    }
    tokio::pin!(over);
    tokio::select! {
        () = &mut over => Ok(()),
        gone = session.as_mut().read_body_or_idle(true) => match gone {
            Err(error) => Err(error.into_down()),
            Ok(_) => {
                over.await;
                Ok(())
            }
        },
    }
}

fn answer(abort: Abort) -> Answer {
    let (status, grpc) = match abort {
        Abort::Http(status) => (status, None),
        Abort::Grpc(status) => (200, Some(status)),
    };
    let body = bytes::Bytes::from_static(b"fault filter abort");
    Answer { status, grpc, flag: Flag::FaultInjected, body, ..Answer::EMPTY }
}
