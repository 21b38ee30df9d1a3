//! What may be wrong with an API server, as tests set it, and what was seen of requests meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::kinds::KindId;
use super::refusal::Refusal;

/// How connections are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reach {
    #[default]
    Answers,
    /// Nobody listens.
    Refuses,
    /// Accepted, then closed without a byte.
    Drops,
}

/// What is wrong now. Nothing, by default.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    pub(super) reach: Reach,
    /// Requests are taken and not answered.
    pub(super) hangs: bool,
    /// Watches are open and nothing is told, not even their end.
    pub(super) is_silent: bool,
    /// Before what a watch tells.
    pub(super) delays_events: Duration,
    pub(super) missing: BTreeSet<KindId>,
    pub(super) unserved: BTreeSet<(KindId, String)>,
    pub(super) scripted: Vec<Scripted>,
}

/// Answers that are given instead of the true ones.
#[derive(Debug)]
pub(super) struct Scripted {
    /// None: of any.
    pub(super) kind: Option<KindId>,
    pub(super) code: u16,
    /// Seconds.
    pub(super) retry_after: Option<u32>,
    /// How often; `None`: until it is over.
    pub(super) left: Option<u32>,
}

/// What was asked.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The newest writes, as `PATCH /apis/…?…`.
    pub(super) writes: Vec<String>,
    /// By verb and resource.
    pub(super) counts: BTreeMap<(&'static str, String), u64>,
    /// Open watches, by resource.
    pub(super) watches: BTreeMap<String, usize>,
}

impl Trouble {
    /// The answer that a script has for a request. What is counted is met by who lists or watches only, not by a status
    /// that happens to be written meanwhile.
    pub(super) fn answer(&mut self, kind: KindId, verb: &str) -> Option<(u16, Option<u32>)> {
        let is_meant = |script: &&mut Scripted| {
            script.kind.is_none_or(|of| of == kind)
                && script.left.is_none_or(|left| left > 0 && matches!(verb, "list" | "watch"))
        };
        let script = self.scripted.iter_mut().find(is_meant)?;
        if let Some(left) = &mut script.left {
            *left -= 1;
        }
        Some((script.code, script.retry_after))
    }
}

impl Seen {
    /// Notes a request about objects; `line` is as of a log.
    pub(super) fn begin(&mut self, verb: &'static str, resource: &str, line: String) {
        *self.counts.entry((verb, resource.to_owned())).or_default() += 1;
        match verb {
            "watch" => *self.watches.entry(resource.to_owned()).or_default() += 1,
            "get" | "list" => {}
            _ => {
                if self.writes.len() == WRITES {
                    self.writes.drain(..WRITES / 2);
                }
                self.writes.push(line);
            }
        }
    }

    /// Notes that a watch was sent a bookmark because the test wanted it.
    pub(super) fn note_bookmark(&mut self, resource: &str) {
        *self.counts.entry(("bookmark", resource.to_owned())).or_default() += 1;
    }

    pub(super) fn end(&mut self, verb: &'static str, resource: &str) {
        for open in self.watches.get_mut(resource).filter(|_| verb == "watch").into_iter() {
            *open = open.saturating_sub(1);
        }
    }
}

/// What a status says that is answered by a script.
pub(super) fn scripted(code: u16, retry_after: Option<u32>) -> Refusal {
    let (reason, message) = match code {
        401 => ("Unauthorized", "Unauthorized"),
        404 => ("NotFound", "the server could not find the requested resource"),
        409 => (
            "Conflict",
            "the object has been modified; please apply your changes to the latest version and try again",
        ),
        410 => ("Expired", "The resourceVersion for the provided watch is too old."),
        429 => ("TooManyRequests", "too many requests, please try again later"),
        500 => ("InternalError", "Internal error occurred: etcdserver: request timed out"),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
        504 => ("Timeout", "Timeout: request did not complete within the allotted timeout"),
        _ => ("", "so the test wants it"),
    };
    let mut refusal = Refusal::new(code, reason, message);
    refusal.retry_after = retry_after;
    refusal
}

const WRITES: usize = 20_000;
