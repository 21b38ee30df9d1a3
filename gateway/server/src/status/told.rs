//! What the admin port tells of the process, field by field. Shares and rates are in percent, times in milliseconds,
//! moments in RFC 3339 (UTC); `null` is no data. A field that is added breaks nobody; one that goes is in the changelog.

use serde::{Deserialize, Serialize};
use trysail_routing::diagnostic::Diagnostic;

use crate::render;

/// `GET /status`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    /// Trysail's own.
    pub(crate) version: String,
    /// The process's id.
    pub(crate) process: u32,
    pub(crate) up_seconds: f64,
    /// `serving`, `refused a change` (what was read last has errors) or `draining`.
    pub(crate) state: String,
    pub(crate) revision: InForce,
    pub(crate) objects: usize,
    /// Rules of VirtualServices.
    pub(crate) routes: usize,
    pub(crate) listeners: Vec<Listener>,
    /// Subsets that get nothing before they have a ready endpoint, each once.
    pub(crate) held: Vec<Held>,
    /// The last reading, where it was refused.
    pub(crate) refused: Option<RevisionEntry>,
    /// When a reading was refused last, whatever came after; `null` for never.
    pub(crate) last_refused: Option<String>,
    /// How the cluster is followed, where it is the source.
    pub(crate) cluster: Option<Cluster>,
    /// Former revisions that still have requests.
    pub(crate) former: Vec<Former>,
    /// Routes with several destinations, in the order of their names; with `?all=1` those with one too.
    pub(crate) splits: Vec<Split>,
}

/// The revision in force.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct InForce {
    /// The first eight digits.
    pub(crate) revision: String,
    /// All of them.
    pub(crate) hash: String,
    pub(crate) since: String,
    pub(crate) for_seconds: f64,
    /// When it was kept on disk, where it is from there: a start found nothing newer that it could serve.
    pub(crate) kept: Option<String>,
    /// How long ago that is.
    pub(crate) kept_seconds: Option<f64>,
}

/// A cluster that is followed.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Cluster {
    /// The API server.
    pub(crate) server: String,
    pub(crate) kinds: Vec<KindOf>,
    /// Objects that are not in force as they are.
    pub(crate) refused: Vec<RefusedObject>,
}

/// How a kind is followed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KindOf {
    pub(crate) kind: String,
    /// Whether changes are heard as they happen.
    pub(crate) connected: bool,
    /// When the API server last said anything of it.
    pub(crate) heard: Option<String>,
    /// Whether the API server has no such kind.
    pub(crate) absent: bool,
    /// What stands in the way.
    pub(crate) fault: Option<String>,
}

/// An object that is broken.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefusedObject {
    /// `VirtualService shop/web`.
    pub(crate) object: String,
    /// Whether its last good version is in force; else it is not in force at all.
    pub(crate) stays: bool,
    /// Since when it is so.
    #[serde(default)]
    pub(crate) since: String,
    #[serde(default)]
    pub(crate) for_seconds: f64,
    /// Why: errors, at most twenty.
    pub(crate) findings: Vec<Finding>,
}

/// A port that is open.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listener {
    /// The Gateway's port.
    pub(crate) port: u16,
    /// What is open for it.
    pub(crate) address: String,
    /// `HTTP`, `TLS` or `TCP`.
    pub(crate) protocol: String,
    /// File, line and column of the Gateway's server.
    pub(crate) place: String,
    pub(crate) hosts: usize,
    pub(crate) routes: usize,
}

/// A subset that is held.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Held {
    /// `reviews v3`.
    pub(crate) name: String,
    /// Who gets its share; empty for nobody, so that its turns are answered 503.
    pub(crate) to: Vec<String>,
}

/// A revision that was replaced, and has requests still.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Former {
    pub(crate) revision: String,
    pub(crate) hash: String,
    /// Requests under way.
    pub(crate) requests: usize,
    /// WebSockets, and connections that are passed on.
    pub(crate) long: usize,
    /// From its replacement to the end of its last request; `null` while there are any.
    pub(crate) ended_ms: Option<f64>,
}

/// A route that forwards.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Split {
    /// What it is over all revisions, in digits.
    pub(crate) id: String,
    /// `default/reviews http[0]`, or with the rule's name.
    pub(crate) route: String,
    /// File, line and column.
    pub(crate) place: String,
    /// The hosts that it serves, at most ten.
    pub(crate) hosts: Vec<String>,
    /// What it asks of requests, a text for each block of conditions (`/reviews*`), at most ten; empty for nothing.
    pub(crate) matches: Vec<String>,
    /// Since when the weights that hold now hold. All counts but the totals are from then on, of requests that were
    /// sent by them.
    pub(crate) since: String,
    pub(crate) for_seconds: f64,
    /// Requests that ended.
    pub(crate) requests: u64,
    /// Requests that were given to a target.
    pub(crate) assigned: u64,
    pub(crate) targets: Vec<Target>,
    /// Each other target against the one with the greatest weight.
    pub(crate) against: Vec<Against>,
}

/// One destination of a split.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Target {
    /// Its subset, or its host where it has none; both where the split leads to several hosts.
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) subset: String,
    pub(crate) port: u16,
    /// File, line and column.
    pub(crate) place: String,
    /// As written.
    pub(crate) weight: u32,
    /// What that is of all weights.
    pub(crate) configured: f64,
    /// What holds now: 0 for one that is held, and the others have its share.
    pub(crate) effective: f64,
    /// Requests that were given to it, counted when they came.
    pub(crate) assigned: u64,
    /// Requests that ended.
    pub(crate) requests: u64,
    /// Its share of the requests that ended, with the interval at 95 %; `null` before the first.
    pub(crate) observed: Option<Estimate>,
    /// Of its requests: answered with 500 and over, not answered, or broken off; not where the client went away.
    pub(crate) errors: u64,
    /// Its rate of errors, with the interval at 95 %.
    pub(crate) error_rate: Option<Estimate>,
    /// From a request's head to its answer's end, of requests that were answered, to 3 %.
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    /// `on-ratio`, `off-ratio`, `not-enough-data` or `held`.
    pub(crate) verdict: String,
    /// So many requests of the split are enough for a verdict.
    pub(crate) enough: u64,
    /// `held`; `1 of 3 ejected`, and so on. Empty where all is well.
    pub(crate) states: Vec<String>,
    /// Over all weights, since the process began.
    pub(crate) total: Total,
}

/// Counts since the process began.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Total {
    pub(crate) assigned: u64,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
}

/// What was found, and from where to where it may be.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// How one target fares beside another.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Against {
    pub(crate) target: String,
    /// The one that it is held against.
    pub(crate) baseline: String,
    /// How much greater its rate of errors is, in points of percent, at 95 %.
    pub(crate) errors: Option<Estimate>,
    /// How much longer its requests take, at 95 % or more; `null` with too few requests: 99 % needs 437 of each.
    pub(crate) p50: Option<Estimate>,
    pub(crate) p99: Option<Estimate>,
}

/// `GET /status/series`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SeriesOf {
    pub(crate) step_seconds: u64,
    pub(crate) routes: Vec<RouteSeries>,
}

/// The last ten minutes of a route.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteSeries {
    pub(crate) route: String,
    pub(crate) targets: Vec<TargetSeries>,
}

/// The last ten minutes of a target.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TargetSeries {
    pub(crate) name: String,
    /// At most 60, the last one last; `null` for a step without a request. There may be fewer, and none of a target
    /// that had no request in all that time.
    pub(crate) steps: Vec<Option<StepOf>>,
}

/// What ended in ten seconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StepOf {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

/// `GET /endpoints`: one cluster.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterOf {
    /// `reviews v2`.
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) subset: String,
    pub(crate) port: u16,
    /// Where the subset, or the service, is written.
    pub(crate) place: Option<String>,
    pub(crate) held: bool,
    pub(crate) endpoints: Vec<EndpointOf>,
}

/// One endpoint.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointOf {
    pub(crate) address: String,
    /// `healthy`, `warming`, `ejected`, `unhealthy` or `pending` (its probe has not said yet).
    pub(crate) state: String,
    /// Of one that is ejected: for how long yet, in seconds.
    pub(crate) for_seconds: Option<f64>,
    /// Why it is as it is, where it is not healthy.
    pub(crate) why: Option<String>,
    /// Requests that it works on.
    pub(crate) active: u32,
    /// Its workload, as metrics name it.
    pub(crate) workload: String,
}

/// A part of a list: from `from` on, at most as many as were asked for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Paged<T> {
    /// How many there are that fit.
    pub(crate) total: usize,
    pub(crate) from: usize,
    pub(crate) items: Vec<T>,
}

/// `GET /routes`: one rule on one host.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteOf {
    pub(crate) host: String,
    /// The Gateway's port.
    pub(crate) port: u16,
    /// From 1, in the order in which the host's rules are tried.
    pub(crate) number: usize,
    pub(crate) route: String,
    pub(crate) place: String,
    /// As in a split.
    pub(crate) matches: Vec<String>,
    /// `forward`, `redirect`, `respond` or `pass` (bytes of a connection).
    pub(crate) action: String,
    pub(crate) targets: Vec<RouteTarget>,
}

/// Where a rule leads.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteTarget {
    pub(crate) name: String,
    pub(crate) configured: f64,
    pub(crate) place: String,
}

/// `GET /revisions`: one revision that was read, applied or refused.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RevisionEntry {
    pub(crate) at: String,
    pub(crate) revision: String,
    /// All digits; empty where it could not be read at all.
    pub(crate) hash: String,
    pub(crate) source: Source,
    pub(crate) outcome: Outcome,
    /// What it changed in traffic, as the log says it; empty for nothing.
    pub(crate) changes: String,
    pub(crate) took_ms: f64,
    /// Why it was refused: errors, at most twenty.
    pub(crate) findings: Vec<Finding>,
    pub(crate) more_findings: usize,
}

/// Why there was something to apply.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// The process began.
    Start,
    /// A file, or a credential's, is another.
    Files,
    /// SIGHUP, or `trysail reload`.
    Signal,
    /// An object of the cluster is another.
    Cluster,
    /// A name has other addresses.
    Names,
    /// An endpoint is ready for the first time.
    Endpoints,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Applied,
    Refused,
}

/// One error.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    pub(crate) code: String,
    pub(crate) message: String,
    /// File, line and column; empty where there is none.
    pub(crate) place: String,
    /// `default/reviews`.
    pub(crate) object: String,
    /// `spec.http[0].route[1].destination.subset`.
    pub(crate) path: String,
    pub(crate) hints: Vec<String>,
    /// As `check` prints it, with its excerpt.
    pub(crate) text: String,
}

impl Finding {
    pub(crate) fn of(finding: &Diagnostic) -> Self {
        Finding {
            code: finding.code.id.to_owned(),
            message: finding.message.clone(),
            place: finding.origin.as_ref().map(ToString::to_string).unwrap_or_default(),
            object: finding.object.clone(),
            path: finding.path.clone(),
            hints: finding.hints.clone(),
            text: render::finding(finding, false),
        }
    }
}

/// `GET /weights`: one target, for rollout controllers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WeightOf {
    pub(crate) route: String,
    pub(crate) subset: String,
    /// As written.
    pub(crate) weight: u32,
    /// In percent, as in a target of `GET /status`.
    pub(crate) configured: f64,
    pub(crate) effective: f64,
    /// Since when these weights hold.
    pub(crate) since: String,
    pub(crate) revision: String,
    pub(crate) hash: String,
    pub(crate) requests: u64,
    pub(crate) verdict: String,
    /// `the weight of subset v2 on route default/reviews http[0] is 10 since …`.
    pub(crate) text: String,
}

/// `GET /wait`: whether a revision serves.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WaitOf {
    /// What is in force.
    pub(crate) revision: String,
    pub(crate) hash: String,
    /// Whether that is the one that was asked for.
    pub(crate) serves: bool,
    /// Why the one that was asked for is not in force, where it was refused and nothing else came since.
    pub(crate) refused: Option<RevisionEntry>,
    /// Others that were in force before: those with requests, and the last one without.
    pub(crate) former: Vec<Former>,
}

/// `POST /reload`: what became of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ReloadOf {
    /// What is in force now.
    pub(crate) revision: String,
    pub(crate) hash: String,
    /// What happened, in a sentence.
    pub(crate) text: String,
    /// Why it was refused: errors, at most twenty. Empty where what the files say is in force.
    pub(crate) findings: Vec<Finding>,
}

/// An event of `GET /events`: numbers of a split that moved.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Moved {
    pub(crate) splits: Vec<Split>,
    /// So many more moved, and are told the next time.
    pub(crate) more: usize,
}
