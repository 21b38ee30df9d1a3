//! Trouble, as a test turns it on and off, and what was seen of requests meanwhile.
//!
//! Turning something on ends no watch but where it says so; [`ApiServer::heal`] ends all trouble.

use std::net::TcpStream;
use std::time::Duration;

use super::ApiServer;
use super::trouble::{Reach, Scripted, Trouble};
use crate::wait::eventually;

impl ApiServer {
    /// Closes the port: connections are refused, and those that are open are cut. It returns when that is so.
    ///
    /// # Panics
    ///
    /// When the port is still open after ten seconds.
    #[track_caller]
    pub fn refuse_connections(&self) {
        self.reach(Reach::Refuses);
        // It is told by being asked: who waits for a connection looks at nothing else.
        let _ = TcpStream::connect_timeout(&self.addr(), Duration::from_secs(1));
        eventually(Duration::from_secs(10), "the port is closed", || !self.shared.lock().listening);
    }

    /// Takes connections and closes them without a byte; those that are open are cut.
    pub fn drop_connections(&self) {
        self.reach(Reach::Drops);
    }

    /// Cuts connections as they are, and takes new ones.
    pub fn cut_connections(&self) {
        self.shared.change(|state| state.cut());
    }

    /// Takes requests and does not answer them, until it is `false` again; watches tell nothing.
    pub fn hang(&self, hangs: bool) {
        self.set(|trouble| trouble.hangs = hangs);
    }

    /// Keeps watches open and tells nothing, not even that their time is over, until it is `false` again: then all at
    /// once.
    pub fn silence_watches(&self, is_silent: bool) {
        self.set(|trouble| trouble.is_silent = is_silent);
    }

    /// Tells of what happened that much later.
    pub fn delay_events(&self, time: Duration) {
        self.set(|trouble| trouble.delays_events = time);
    }

    /// Answers everything about a kind 403.
    pub fn forbid(&self, kind: &str) {
        self.answer(kind, 403, None, None);
    }

    /// Answers everything about a kind with this status; `*` is every kind.
    pub fn fail(&self, kind: &str, code: u16) {
        self.answer(kind, code, None, None);
    }

    /// Answers 429 with a Retry-After of so many seconds, the next `times` that a kind is listed or watched; `*` is every
    /// kind.
    pub fn throttle(&self, kind: &str, seconds: u32, times: u32) {
        self.answer(kind, 429, Some(seconds), Some(times));
    }

    /// Takes a CRD away, with its objects: watches of it close without a word, and it answers 404 in plain text.
    pub fn uninstall(&self, kind: &str) {
        let kind = self.kind(kind);
        self.shared.change(|state| {
            state.trouble.missing.insert(kind);
            state.cluster.store.vanish(kind);
        });
    }

    /// Brings a CRD back, without objects.
    pub fn install(&self, kind: &str) {
        let kind = self.kind(kind);
        self.set(|trouble| {
            trouble.missing.remove(&kind);
        });
    }

    /// Serves only these versions of a group (`networking.istio.io`), as older CRDs do; watches of others close.
    pub fn serve_versions(&self, group: &str, versions: &[&str]) {
        self.shared.change(|state| {
            let kinds = state.cluster.kinds.clone();
            for (id, kind) in kinds.iter().enumerate().filter(|(_, kind)| kind.group == group) {
                for version in &kind.versions {
                    let place = (id, version.clone());
                    if versions.contains(&version.as_str()) {
                        state.trouble.unserved.remove(&place);
                    } else {
                        state.trouble.unserved.insert(place);
                    }
                }
            }
        });
    }

    /// Ends every watch as the real server does when their time is over.
    pub fn close_watches(&self) {
        self.shared.change(|state| state.epoch += 1);
    }

    /// Forgets what happened, and ends every watch: whoever comes back is too old, and is told 410 by an event.
    pub fn forget_events(&self) {
        self.shared.change(|state| {
            state.cluster.store.forget();
            state.epoch += 1;
        });
    }

    /// Forgets what happened until now, as a compaction does: watches go on, and one that begins from earlier is told 410.
    pub fn compact(&self) {
        self.shared.change(|state| state.cluster.store.compact());
    }

    /// Sends a bookmark to every watch that allows them; [`ApiServer::count`] has those that were sent as `bookmark`.
    pub fn send_bookmarks(&self) {
        self.shared.change(|state| state.bookmarks += 1);
    }

    /// Ends all trouble; what was uninstalled is installed again. It returns when connections are taken.
    ///
    /// # Panics
    ///
    /// When the port is not open after ten seconds.
    #[track_caller]
    pub fn heal(&self) {
        self.set(|trouble| *trouble = Trouble { reach: trouble.reach, ..Trouble::default() });
        self.take_connections();
    }

    /// Takes connections and answers them again, whatever else is wrong. It returns when that is so.
    ///
    /// # Panics
    ///
    /// When the port is not open after ten seconds.
    #[track_caller]
    pub fn take_connections(&self) {
        self.set(|trouble| trouble.reach = Reach::Answers);
        eventually(Duration::from_secs(10), "the port is open", || self.shared.lock().listening);
    }

    /// How often a verb (`list`, `watch`, `get`, `create`, `update`, `patch`, `delete`) was asked of a kind, refusals
    /// counted; `*` is every verb, or every kind.
    pub fn count(&self, verb: &str, kind: &str) -> u64 {
        let resource = (kind != "*").then(|| self.resource(kind));
        let state = self.shared.lock();
        let is_meant = |of: &(&str, String)| {
            (verb == "*" || of.0 == verb) && resource.as_ref().is_none_or(|resource| of.1 == *resource)
        };
        state.seen.counts.iter().filter(|(of, _)| is_meant(of)).map(|(_, count)| count).sum()
    }

    /// What was written, as `PATCH /apis/…`, in the order in which it came.
    pub fn writes(&self) -> Vec<String> {
        self.shared.lock().seen.writes.clone()
    }

    /// How many watches of a kind are open.
    pub fn open_watches(&self, kind: &str) -> usize {
        let resource = self.resource(kind);
        self.shared.lock().seen.watches.get(&resource).copied().unwrap_or_default()
    }

    fn answer(&self, kind: &str, code: u16, retry_after: Option<u32>, left: Option<u32>) {
        let kind = (kind != "*").then(|| self.kind(kind));
        self.set(|trouble| trouble.scripted.push(Scripted { kind, code, retry_after, left }));
    }

    fn reach(&self, reach: Reach) {
        self.shared.change(|state| {
            state.trouble.reach = reach;
            state.cut();
        });
    }

    fn resource(&self, kind: &str) -> String {
        let kind = self.kind(kind);
        self.shared.lock().cluster.kinds[kind].resource()
    }

    fn set(&self, change: impl FnOnce(&mut Trouble)) {
        self.shared.change(|state| change(&mut state.trouble));
    }
}
