//! Copies of requests for other destinations: sent and forgotten, never waited for.
//!
//! They go through a client of their own, so that they share neither connections nor limits with real traffic. A body
//! is handed on piece by piece as it goes to the first target; a copy that can not keep up, or grows too long, is
//! broken off, since half a body must not pass for a whole one.

mod client;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Version};
use pingora_core::connectors::http::Connector;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use tokio::sync::{Semaphore, mpsc};
use trysail_routing::snapshot::{Chance, ClusterId, Handling};
use trysail_upstream::limits::Admission;

use super::ctx::Ctx;
use super::{Active, headers, stop};
use crate::metrics::Mirrored;
use client::{Copy, Piece};

/// Where a route sets no timeout, a copy may take this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pieces of a body that may wait for a slow target.
const PIECES: usize = 16;

/// What all copies share.
pub(crate) struct Mirrors {
    connector: Connector<()>,
    permits: Arc<Semaphore>,
    counters: Mirrored,
    host_suffix: bool,
    max_body: usize,
}

impl Mirrors {
    /// At most `at_once` copies at a time, with bodies of at most `max_body` bytes.
    pub(crate) fn new(counters: Mirrored, at_once: usize, max_body: usize, host_suffix: bool) -> Self {
        let permits = Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS)));
        Mirrors { connector: Connector::new(None), permits, counters, host_suffix, max_body }
    }

    /// Begins the copies of a request that is about to be sent to its target as `request` says. `None` where it has
    /// none.
    pub(super) fn begin(
        self: &Arc<Self>,
        session: &mut Session,
        ctx: &Ctx,
        request: &RequestHeader,
    ) -> Option<Tee> {
        let handling = ctx.handling.as_ref().filter(|handling| !handling.mirrors.is_empty())?;
        if request.method == Method::CONNECT || session.is_upgrade_req() {
            return None;
        }
        // One lot for all: whoever gets 10 % gets them among those of whoever gets 50 %.
        let lot = fastrand::u32(..Chance::LOTS);
        let chosen = handling.mirrors.iter().filter(|mirror| mirror.chance.takes(lot));
        let mut head = None;
        let mut tee = Tee { to: Vec::new(), given: 0, seen: 0, max: self.max_body };
        for mirror in chosen {
            let head = head.get_or_insert_with(|| self.head(session, request)).clone();
            match self.copy(&ctx.active, handling, mirror.cluster, head) {
                Some(pieces) => tee.to.push(pieces),
                None => self.counters.dropped.inc(),
            }
        }
        (!tee.to.is_empty()).then_some(tee)
    }

    /// Starts one copy; `None` where there are too many, or nobody is there to take it.
    fn copy(
        self: &Arc<Self>,
        active: &Active,
        handling: &Handling,
        cluster: ClusterId,
        head: RequestHeader,
    ) -> Option<mpsc::Sender<Piece>> {
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        let (endpoint, working) = stop::choose(active, cluster, None, &[])?;
        // A copy is a request of its cluster like others, but that it does not wait.
        let Admission::Now(held) = active.upstreams.cluster(cluster).limits().admit(false) else {
            return None;
        };
        let time = handling.timeout.unwrap_or(PATIENCE);
        let authority = head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
        let h2 = head.version == http::Version::HTTP_2;
        let peer: HttpPeer = active.peers.peer(cluster, endpoint, || authority, h2);
        let (sender, pieces) = mpsc::channel(PIECES);
        let copy = Copy { head, peer, pieces, time };
        let mirrors = self.clone();
        tokio::spawn(async move {
            let result = copy.carry(&mirrors.connector).await;
            match result {
                Ok(()) => mirrors.counters.sent.inc(),
                Err(client::End::GivenUp) => mirrors.counters.dropped.inc(),
                Err(client::End::Failed) => mirrors.counters.failed.inc(),
            }
            drop((permit, working, held));
        });
        Some(sender)
    }

    /// The copy's head: as the target's, but that it says to be one. Envoy adds the gateway's own address.
    fn head(&self, session: &mut Session, request: &RequestHeader) -> RequestHeader {
        let mut head = request.clone();
        head.set_version(Version::HTTP_11);
        let _ = head.insert_header("x-envoy-internal", HeaderValue::from_static("true"));
        if let Some(own) = session.server_addr().and_then(|address| address.as_inet())
            && let Ok(own) = HeaderValue::from_str(&own.ip().to_canonical().to_string())
            && let Some(list) = headers::lengthened(&head.headers, &own)
        {
            let _ = head.insert_header("x-forwarded-for", list);
        }
        let host = match head.uri.authority() {
            Some(authority) => authority.as_str().to_owned(),
            None => head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or("").to_owned(),
        };
        let host = if self.host_suffix { with_suffix(&host) } else { host };
        let _ = head.insert_header("host", host);
        if session.is_body_empty() {
            head.remove_header("transfer-encoding");
        } else if !head.headers.contains_key("content-length") {
            let _ = head.insert_header("transfer-encoding", HeaderValue::from_static("chunked"));
        }
        head
    }
}

/// `a.com:80` → `a.com-shadow:80`.
fn with_suffix(host: &str) -> String {
    match host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit())) {
        Some((host, port)) => format!("{host}-shadow:{port}"),
        None => format!("{host}-shadow"),
    }
}

/// The copies of one request, while its body comes.
pub(super) struct Tee {
    to: Vec<mpsc::Sender<Piece>>,
    /// Bytes that the copies got.
    given: usize,
    /// Bytes that went by in this try.
    seen: usize,
    max: usize,
}

impl Tee {
    /// Another try begins: what went by before comes once more.
    pub(super) fn rewind(&mut self) {
        self.seen = 0;
    }

    /// A piece of the body goes by. A copy that can not take it is broken off: its sender goes.
    pub(super) fn pass(&mut self, piece: Option<&Bytes>, last: bool) {
        let piece = piece.cloned().unwrap_or_default();
        let known = self.given.saturating_sub(self.seen).min(piece.len());
        self.seen += piece.len();
        let new = piece.slice(known..);
        self.given += new.len();
        if self.given > self.max {
            self.to.clear();
        }
        self.to.retain(|to| {
            (new.is_empty() || to.try_send(Piece::Data(new.clone())).is_ok())
                && (!last || to.try_send(Piece::End).is_ok())
        });
        if last {
            self.to.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(max: usize, tries: &[&[(&'static str, bool)]]) -> String {
        let (sender, mut pieces) = mpsc::channel(PIECES);
        let mut tee = Tee { to: vec![sender], given: 0, seen: 0, max };
        for pieces in tries {
            tee.rewind();
            for (piece, last) in *pieces {
                tee.pass(Some(&Bytes::from_static(piece.as_bytes())), *last);
            }
        }
        drop(tee);
        let mut text = String::new();
        while let Ok(piece) = pieces.try_recv() {
            match piece {
                Piece::Data(data) => text.push_str(&String::from_utf8_lossy(&data)),
                Piece::End => text.push('.'),
            }
        }
        text
    }

    #[test]
    fn a_body_is_copied_once_however_often_it_is_sent() {
        assert_eq!(received(9, &[&[("ab", false), ("c", true)]]), "abc.");
        assert_eq!(received(9, &[&[("ab", false)], &[("abc", false), ("d", true)]]), "abcd.");
        assert_eq!(received(9, &[&[("ab", false), ("c", true)], &[("abc", true)]]), "abc.");
        // Too long: broken off, without an end.
        assert_eq!(received(2, &[&[("ab", false), ("c", true)]]), "ab");
        assert_eq!(received(9, &[&[("", true)]]), ".");
    }

    #[test]
    fn a_suffix_stands_before_the_port() {
        for (host, suffixed) in
            [("a.com", "a.com-shadow"), ("a.com:80", "a.com-shadow:80"), ("[::1]:80", "[::1]-shadow:80")]
        {
            assert_eq!(with_suffix(host), suffixed);
        }
    }
}
