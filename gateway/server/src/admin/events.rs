//! `GET /events`: what changes, as server-sent events, so that a page need not ask again and again.
//!
//! - `status`: in a few words how it is, at first and whenever that is another (revision, refusal, held, ejected)
//! - `splits`: each second the weighted routes whose numbers moved, as in `GET /status`, at most so many
//!
//! A stream ends with the life of a connection to this port, and browsers then ask for another.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_http::ResponseHeader;
use serde::Serialize;
use trysail_upstream::State;

use crate::proxy::Active;
use crate::status::told::{Moved, Split};
use crate::status::{Desk, Filter};

/// So many streams there are at a time.
pub(super) const STREAMS: usize = 32;

/// A stream ends by itself a moment before its connection is ended.
const LIFE: Duration = Duration::from_secs(55);

const TICK: Duration = Duration::from_secs(1);

/// Whoever does not take what is sent within this is left.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many routes are told at a time; the page asks for the others when it needs them.
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
    let (mut told, mut moved) = (None, HashMap::new());
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

/// The routes that moved since the last time: more was given, or something ended.
fn news(desk: &Desk, active: &Active, moved: &mut HashMap<String, (u64, u64)>) -> Option<Moved> {
    let splits = desk.splits(active, &Filter::default());
    let is_news = |split: &Split| moved.get(&split.route) != Some(&(split.assigned, split.requests));
    let news: Vec<Split> = splits.into_iter().filter(is_news).collect();
    moved.extend(news.iter().take(MOST).map(|split| (split.route.clone(), (split.assigned, split.requests))));
    // Routes that are gone are forgotten with the next connection.
    let more = news.len().saturating_sub(MOST);
    (!news.is_empty()).then(|| Moved { splits: news.into_iter().take(MOST).collect(), more })
}

fn event(text: &mut String, name: &str, value: &impl Serialize) {
    if let Ok(json) = serde_json::to_string(value) {
        text.push_str(&format!("event: {name}\ndata: {json}\n\n"));
    }
}
