//! What may be wrong with an API server, as tests set it, and what was seen of requests meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

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
    /// Before each answer.
    pub(super) latency: Duration,
    /// Before each list, beside that.
    pub(super) slow_lists: Duration,
    /// Requests are taken and not answered.
    pub(super) hangs: bool,
    /// Watches are open and nothing is told, not even their end.
    pub(super) is_silent: bool,
    /// Before what a watch tells.
    pub(super) delays_events: Duration,
    /// Of several events about one object a watch tells the last.
    pub(super) coalesces: bool,
    /// Streaming lists fail as they do with an old etcd.
    pub(super) has_old_etcd: bool,
    /// How many of the watches to come are too old, whatever they ask for.
    pub(super) too_old: u32,
    pub(super) missing: BTreeSet<KindId>,
    pub(super) unserved: BTreeSet<(KindId, String)>,
    pub(super) scripted: Vec<Scripted>,
}

/// Answers that are given instead of the true ones.
#[derive(Debug)]
pub(super) struct Scripted {
    /// None: of any.
    pub(super) kind: Option<KindId>,
    /// None: for any.
    pub(super) verbs: Option<Vec<String>>,
    pub(super) code: u16,
    /// Seconds.
    pub(super) retry_after: Option<u32>,
    /// How often; `None`: until it is over.
    pub(super) left: Option<u32>,
}

/// A request about objects.
#[derive(Clone, Debug)]
pub struct Request {
    /// `list`, `watch`, `get`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'static str,
    /// The plural with its group: `virtualservices.networking.istio.io`, `pods`.
    pub resource: String,
    /// Of the path; `None` for all namespaces and for kinds of the cluster's scope.
    pub namespace: Option<String>,
    /// Of the path.
    pub name: Option<String>,
    /// As `PATCH /apis/…?…`.
    pub line: String,
    /// When it had been read.
    pub at: Instant,
}

/// What was asked.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The newest; older ones are only counted.
    pub(super) requests: Vec<Request>,
    /// By verb and resource.
    pub(super) counts: BTreeMap<(&'static str, String), u64>,
    /// Being answered, by verb; of watches, those that are open.
    pub(super) running: BTreeMap<&'static str, usize>,
    /// The most that were ever running.
    pub(super) peaks: BTreeMap<&'static str, usize>,
    /// Open watches, by resource.
    pub(super) watches: BTreeMap<String, usize>,
}

impl Trouble {
    /// The answer that a script has for a request.
    pub(super) fn answer(&mut self, kind: KindId, verb: &str) -> Option<(u16, Option<u32>)> {
        let script = self.scripted.iter_mut().find(|script| {
            script.kind.is_none_or(|of| of == kind)
                && script.verbs.as_ref().is_none_or(|verbs| verbs.iter().any(|known| known == verb))
                && script.left != Some(0)
        })?;
        if let Some(left) = &mut script.left {
            *left -= 1;
        }
        Some((script.code, script.retry_after))
    }
}

impl Seen {
    pub(super) fn begin(&mut self, request: Request) {
        let verb = request.verb;
        *self.counts.entry((verb, request.resource.clone())).or_default() += 1;
        let running = self.running.entry(verb).or_default();
        *running += 1;
        let peak = self.peaks.entry(verb).or_default();
        *peak = (*peak).max(*running);
        if verb == "watch" {
            *self.watches.entry(request.resource.clone()).or_default() += 1;
        }
        if self.requests.len() == REQUESTS {
            self.requests.drain(..REQUESTS / 2);
        }
        self.requests.push(request);
    }

    pub(super) fn end(&mut self, verb: &'static str, resource: &str) {
        for running in self.running.get_mut(verb).into_iter() {
            *running = running.saturating_sub(1);
        }
        if verb == "watch" {
            for open in self.watches.get_mut(resource).into_iter() {
                *open = open.saturating_sub(1);
            }
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

const REQUESTS: usize = 20_000;
