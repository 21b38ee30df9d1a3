//! Watches: what happened from a version on, bookmarks, and the many ways in which a stream ends.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::lists;
use super::refusal::Refusal;
use super::request::{Asked, Target};
use super::selector::Selector;
use super::server::{Shared, State};
use super::store::Event;

/// A watch that is going on.
struct Watch<'a> {
    target: &'a Target,
    selector: Selector,
    /// What was told, up to and with this version.
    seen: u64,
    is_bare: bool,
}

impl Shared {
    /// Answers a watch until its time is over, the peer closes, or something ends it.
    pub(super) fn watch(&self, stream: &mut TcpStream, asked: &Asked, target: &Target) -> io::Result<()> {
        let (mut watch, epoch, first) = match self.begin(asked, target) {
            Ok(begun) => begun,
            Err(refusal) => return Answer::refused(&refusal).write(stream),
        };
        answer::begin_stream(stream)?;
        let events = match first {
            Ok(events) => events,
            // The head was there already: it is told as an event.
            Err(refusal) => {
                answer::stream(stream, &[json!({"type": "ERROR", "object": refusal.status()})])?;
                return answer::end_stream(stream);
            }
        };
        answer::stream(stream, &events)?;
        let patience = asked.parameter("timeoutSeconds").and_then(|seconds| seconds.parse().ok());
        let patience = Duration::from_secs(patience.unwrap_or(LONGEST));
        let began = Instant::now();
        // Shortly before the end, so that whoever comes back need not begin far behind.
        let mut bookmark =
            (patience > LAST).then(|| patience - LAST).filter(|_| asked.flag("allowWatchBookmarks"));
        let mut asked_for = self.lock().bookmarks;
        let mut state = self.lock();
        loop {
            let is_over = state.stopping || state.epoch != epoch;
            if is_over || !state.is_served(target.kind, &target.version) {
                drop(state);
                return answer::end_stream(stream);
            }
            if state.trouble.is_silent || state.trouble.hangs {
                state = self.wait(state, LOOK);
                if has_closed(stream) {
                    return Ok(());
                }
                continue;
            }
            let mut told = match watch.tell(&state) {
                Ok(told) => told,
                Err(refusal) => {
                    drop(state);
                    answer::stream(stream, &[json!({"type": "ERROR", "object": refusal.status()})])?;
                    return answer::end_stream(stream);
                }
            };
            let elapsed = began.elapsed();
            let is_due = bookmark.is_some_and(|at| elapsed >= at);
            let is_asked = asked.flag("allowWatchBookmarks") && asked_for != state.bookmarks;
            if is_due || is_asked {
                told.push(watch.bookmark(&state, false));
                asked_for = state.bookmarks;
                bookmark = bookmark.filter(|_| !is_due);
            }
            if elapsed >= patience {
                drop(state);
                answer::stream(stream, &told)?;
                return answer::end_stream(stream);
            }
            if told.is_empty() {
                let next = bookmark.unwrap_or(patience).saturating_sub(elapsed);
                state = self.wait(state, next.min(LOOK));
                if has_closed(stream) {
                    return Ok(());
                }
            } else {
                let late = state.trouble.delays_events;
                drop(state);
                self.pause(late);
                answer::stream(stream, &told)?;
                state = self.lock();
                if is_asked {
                    let resource = state.cluster.kinds[target.kind].resource();
                    state.seen.note_bookmark(&resource);
                }
            }
        }
    }

    /// The watch, its epoch, and its first events or why there will be none.
    #[expect(clippy::type_complexity, reason = "taken apart where it is asked for, once")]
    fn begin<'a>(
        &self,
        asked: &Asked,
        target: &'a Target,
    ) -> Result<(Watch<'a>, u64, Result<Vec<Value>, Refusal>), Refusal> {
        let state = self.lock();
        let kind = &state.cluster.kinds[target.kind];
        let mut selector =
            Selector::read(kind, asked.parameter("labelSelector"), asked.parameter("fieldSelector"))?;
        if let Some(name) = &target.name {
            selector.only(name);
        }
        let version = lists::version(asked)?;
        let (oldest, newest) = (state.cluster.store.oldest(), state.cluster.store.version());
        let mut watch = Watch { target, selector, seen: version, is_bare: asked.wants_metadata_only() };
        let epoch = state.epoch;
        let is_streaming = asked.flag("sendInitialEvents");
        let mut events = Vec::new();
        if is_streaming || version == 0 {
            watch.seen = newest;
            let all = state.cluster.store.list(target.kind, target.namespace.as_deref());
            let all = all.into_iter().filter(|(_, object)| watch.selector.selects(object));
            events.extend(all.map(|(_, object)| {
                let kind = &state.cluster.kinds[target.kind];
                let object = lists::show(kind, &target.version, object, watch.is_bare);
                json!({"type": "ADDED", "object": object})
            }));
            if is_streaming && asked.flag("allowWatchBookmarks") {
                events.push(watch.bookmark(&state, true));
            }
        } else if version < oldest {
            return Ok((watch, epoch, Err(Refusal::too_old(version, oldest))));
        }
        Ok((watch, epoch, Ok(events)))
    }
}

impl Watch<'_> {
    /// What is new.
    fn tell(&mut self, state: &State) -> Result<Vec<Value>, Refusal> {
        let store = &state.cluster.store;
        if self.seen < store.oldest() && self.seen < store.version() {
            return Err(Refusal::too_old(self.seen, store.oldest()));
        }
        let is_meant = |event: &&Event| {
            let within = &self.target.namespace;
            event.key.kind == self.target.kind
                && within.as_ref().is_none_or(|name| event.key.namespace == *name)
        };
        let events: Vec<Event> = store.since(self.seen).filter(is_meant).cloned().collect();
        self.seen = self.seen.max(store.version());
        let kind = &state.cluster.kinds[self.target.kind];
        let told = events.iter().filter_map(|event| {
            let was = event.before.as_ref().is_some_and(|before| self.selector.selects(before));
            let is = !event.is_deletion && self.selector.selects(&event.object);
            let what = match (was, is) {
                (false, false) => return None,
                (false, true) => "ADDED",
                (true, true) => "MODIFIED",
                (true, false) => "DELETED",
            };
            let object = lists::show(kind, &self.target.version, &event.object, self.is_bare);
            Some(json!({"type": what, "object": object}))
        });
        Ok(told.collect())
    }

    fn bookmark(&self, state: &State, is_initial: bool) -> Value {
        let kind = &state.cluster.kinds[self.target.kind];
        let mut metadata = json!({"resourceVersion": self.seen.to_string()});
        if is_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let api_version = kind.api_version(&self.target.version);
        json!({"type": "BOOKMARK", "object": {"apiVersion": api_version, "kind": kind.kind, "metadata": metadata}})
    }
}

/// Whether the peer has closed. What it has sent meanwhile stays to be read.
fn has_closed(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let peeked = stream.peek(&mut [0]);
    let is_whole = stream.set_nonblocking(false).is_ok();
    match peeked {
        Ok(read) => read == 0 || !is_whole,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock || !is_whole,
    }
}

/// How long a watch lasts that says nothing of it.
const LONGEST: u64 = 1_800;
/// How long before the end the last bookmark is sent.
const LAST: Duration = Duration::from_secs(2);
/// How often it is looked whether the peer is still there.
const LOOK: Duration = Duration::from_millis(500);
