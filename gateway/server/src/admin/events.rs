//! `GET /events`: what changes, as server-sent events, so that a page need not ask again and again.
//!
//! - `status`: in a few words how it is, at first and whenever that is another (revision, refusal, held, ejected)
//! - `splits`: each second the weighted routes whose numbers moved, as in `GET /status`, at most so many
//!
//! A stream ends with the life of a connection to this port, and browsers then ask for another.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_http::ResponseHeader;
use serde::Serialize;
use trysail_routing::snapshot::RouteKey;
use trysail_upstream::State;

use crate::proxy::Active;
use crate::status::Desk;
use crate::status::told::Moved;

/// So many streams there are at a time.
pub(super) const STREAMS: usize = 16;

/// A stream ends by itself a moment before its connection is ended.
const LIFE: Duration = Duration::from_secs(55);

const TICK: Duration = Duration::from_secs(1);

/// Whoever does not take what is sent within this is left.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many routes are told at a time; the others the next time.
const MOST: usize = 200;

/// How it is, in a few words.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    state: String,
    revision: String,
    hash: String,
    held: usize,
    ejected: usize,
    unhealthy: usize,
    /// The moment of the newest entry of the history.
    latest: Option<String>,
}

/// Sends events until the stream's life is over, its client has gone, or the process ends.
pub(super) async fn stream(desk: &Desk, session: &mut ServerSession, shutdown: &ShutdownWatch) {
    let _ = tell(desk, session, shutdown).await;
}

async fn tell(
    desk: &Desk,
    session: &mut ServerSession,
    shutdown: &ShutdownWatch,
) -> pingora_core::Result<()> {
    let mut head = ResponseHeader::build(200, Some(4))?;
    head.insert_header("content-type", "text/event-stream")?;
    head.insert_header("cache-control", "no-store")?;
    if session.req_header().version == http::Version::HTTP_11 {
        head.insert_header("transfer-encoding", "chunked")?;
    }
    session.set_keepalive(None);
    session.write_response_header(Box::new(head)).await?;
    let (end, mut shutdown, mut changes) = (Instant::now() + LIFE, shutdown.clone(), desk.history.changes());
    let (mut told, mut moved) = (None, Seen::new());
    let mut text = "retry: 1000\n\n".to_owned();
    while Instant::now() < end && !*shutdown.borrow() {
        let active = desk.active.load_full();
        let summary = Summary::of(desk, &active);
        if told.as_ref() != Some(&summary) {
            event(&mut text, "status", &summary);
            told = Some(summary);
        }
        if let Some(news) = news(desk, &active, &mut moved) {
            event(&mut text, "splits", &news);
        }
        // Else nothing would show that the client has gone.
        drop(active);
        text.push_str(":\n\n");
        let bytes = Bytes::from(std::mem::take(&mut text));
        match tokio::time::timeout(PATIENCE, session.write_response_body(bytes, false)).await {
            Ok(written) => written?,
            Err(_) => return Ok(()),
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            _ = changes.changed() => {}
            _ = shutdown.changed() => {}
        }
    }
    session.write_response_body(Bytes::new(), true).await
}

impl Summary {
    fn of(desk: &Desk, active: &Active) -> Self {
        let all = 0..active.snapshot.clusters.len();
        let states: Vec<State> = all
            .flat_map(|index| active.upstreams.endpoints(index))
            .map(|endpoint| endpoint.state())
            .collect();
        let count = |of| states.iter().filter(|state| **state == of).count();
        Summary {
            state: desk.state().to_owned(),
            revision: active.revision.short().to_owned(),
            hash: active.revision.hash().to_owned(),
            held: active.upstreams.held().len(),
            ejected: count(State::Ejected),
            unhealthy: count(State::Unhealthy),
            latest: desk.history.latest(),
        }
    }
}

/// What was last told of each route: its period, and the counts of it.
type Seen = HashMap<RouteKey, (SystemTime, u64, u64)>;

/// The routes that moved since the last time: weights are others, more was given, or something ended.
fn news(desk: &Desk, active: &Active, seen: &mut Seen) -> Option<Moved> {
    let mut before = std::mem::take(seen);
    let (mut moved, mut more) = (Vec::new(), 0);
    for split in active.snapshot.splits.iter().filter(|split| split.targets.len() > 1) {
        let Some(period) = active.board.period(split.id) else { continue };
        let (given, ended) = period.counted();
        let (was, now) = (before.remove(&split.key), (period.since, given, ended));
        if was == Some(now) {
            seen.insert(split.key, now);
        } else if moved.len() < MOST {
            seen.insert(split.key, now);
            moved.push(split);
        } else {
            // It is told the next time.
            seen.extend(was.map(|was| (split.key, was)));
            more += 1;
        }
    }
    (!moved.is_empty()).then(|| Moved { splits: desk.tell(active, &moved), more })
}

fn event(text: &mut String, name: &str, value: &impl Serialize) {
    if let Ok(json) = serde_json::to_string(value) {
        text.push_str(&format!("event: {name}\ndata: {json}\n\n"));
    }
}
