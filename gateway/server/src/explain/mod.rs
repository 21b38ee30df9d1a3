//! Why a request goes where it goes, as one answer that can be printed, sent, and printed elsewhere.
//!
//! Offline and live it is the same code on a snapshot; live, the state beside it adds whose turn it is and what
//! endpoints are busy with. Who asks, and how the answer travels, is for `cli` and `admin`.

mod asked;
mod page;
mod words;

use serde::{Deserialize, Serialize};
use trysail_routing::decide::{Considered, Decision, Explanation, Request, describe, explain};
use trysail_routing::origin::{Origin, Place};
use trysail_routing::path::{PathRules, Refusal};
use trysail_routing::snapshot::{
    self, Action, Listener, ListenerProtocol, Match, Redirect, Route, Snapshot, Split, TlsServer,
    VirtualHosts,
};
use trysail_routing::wire::Places;
use trysail_upstream::{Held, Upstreams};

pub(crate) use asked::Asked;
pub(crate) use words::name as target;

use crate::render;
use crate::settings::OtherServer;
use words::{balancer, changes, misdirected, name, no_host, no_port, sends};

/// What is asked: a revision, and what is known of the process that serves it.
pub(crate) struct Facts<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// The revision, shortened as it is shown.
    pub(crate) revision: &'a str,
    /// Where it is from: the paths that were read, or `live`.
    pub(crate) source: &'a str,
    pub(crate) paths: PathRules,
    /// What a client of HTTPS is told that asks for a host of another server.
    pub(crate) other_server: OtherServer,
    /// Ports that are opened in place of a Gateway's: opened, and the Gateway's.
    pub(crate) opened: Vec<(u16, u16)>,
    /// The state of endpoints and turns, where the revision is in force.
    pub(crate) upstreams: Option<&'a Upstreams>,
}

/// The answer.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    request: String,
    revision: String,
    source: String,
    /// The path that is matched and sent on, where it is not the one that was asked for.
    canonical_path: Option<String>,
    port: Option<Step>,
    host: Option<Host>,
    rules: Vec<Rule>,
    route: Option<Step>,
    /// The field by which another rule delegates to it.
    root: Option<Step>,
    /// What the rule does beside choosing a target.
    handling: Vec<Step>,
    /// Whose turn it is and whose the next ones are; only known of a running process.
    turns: Option<Vec<String>>,
    targets: Vec<Target>,
    /// What the gateway answers itself: a redirect or a direct response.
    answered: Option<Step>,
    /// What is changed of that answer.
    returns: Option<Step>,
    /// Why it goes nowhere, and what would have caught it.
    pub(crate) nowhere: Option<String>,
}

/// Something and where it is written, if it is.
#[derive(Debug, Deserialize, Serialize)]
struct Step {
    name: String,
    place: String,
}

impl Step {
    fn new(name: &(impl ToString + ?Sized), origin: &Origin) -> Self {
        Step { name: name.to_string(), place: origin.to_string() }
    }

    /// What is written as a field of a route; nowhere where it is none.
    fn of(name: String, place: Option<Place>, route: &Route, places: &mut Places) -> Self {
        let place = place.map(|place| places.find(&route.origin_of(place)).1.to_string());
        Step { name, place: place.unwrap_or_default() }
    }

    /// A field by its path.
    fn field(origin: &Origin, places: &mut Places) -> Self {
        let (path, origin) = places.find(origin);
        Step::new(&path, &origin)
    }
}

#[derive(Debug, Deserialize, Serialize)]
struct Host {
    asked: String,
    pattern: String,
    /// How many patterns the host fulfils, of which this is the narrowest.
    of: usize,
    place: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Rule {
    /// From 1; each block of a rule's conditions has it.
    number: usize,
    name: String,
    took: bool,
    why: String,
    place: String,
    /// Of a rule that took it: each of its conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<Step>,
    /// Of a delegate's rule: its block of conditions, and the one of its root that this lies within.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    merged: Option<[Step; 2]>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Target {
    name: String,
    cluster: String,
    weight: u32,
    /// What all weights sum to.
    of: u64,
    percent: f64,
    /// Where the destination is written.
    place: String,
    /// Where its subset, or else its service, is defined; nowhere where it does not exist.
    defined: Option<String>,
    /// The blocks of a DestinationRule that hold for it.
    policy: Vec<Step>,
    endpoints: Vec<Endpoint>,
    /// Whether its share goes to the others, as it has had no endpoint yet. Of files: where the process starts with
    /// them.
    #[serde(default)]
    held: bool,
    /// The names whose addresses are endpoints. Only a running process has looked them up.
    #[serde(default)]
    names: Vec<String>,
    /// Which of them gets a request.
    balancer: String,
    /// What the target is asked for.
    sends: String,
    /// The fields that change what it is asked for.
    sends_by: Vec<Step>,
    /// What is changed of its answer.
    returns: Option<String>,
    /// The fields that change it.
    returns_by: Vec<Step>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Endpoint {
    address: String,
    /// Requests that it is working on; only known of a running process.
    active: Option<u32>,
    /// Whether it is there to answer: `healthy`, or what it is left out for; only known of a running process.
    state: Option<String>,
}

/// How many turns are told.
const TURNS: usize = 11;

impl Answer {
    /// Asks.
    pub(crate) fn of(facts: &Facts<'_>, asked: &Asked) -> Self {
        let mut answer = Answer {
            request: format!("{} {}", asked.method, asked.url),
            revision: facts.revision.to_owned(),
            source: facts.source.to_owned(),
            ..Answer::default()
        };
        let listeners = &facts.snapshot.listeners;
        let on = |port: u16| listeners.iter().find(|listener| listener.key.port == port);
        let mapped = || facts.opened.iter().find(|(opened, _)| *opened == asked.port);
        let Some(listener) = on(asked.port).or_else(|| on(mapped()?.1)) else {
            answer.nowhere = Some(no_port(listeners, asked.port));
            return answer;
        };
        answer.port = Some(Step::new(&listener.key, &listener.origin));
        if asked.authority.is_empty() {
            answer.nowhere = Some("the host is empty: 400, flag DPE".to_owned());
            return answer;
        }
        let target = match asked.target(facts.paths) {
            Ok(target) => target,
            Err(refusal) => {
                answer.nowhere = Some(match refusal {
                    Refusal::NotAbsolute => "the path does not begin with \"/\": 404, flag NR".to_owned(),
                    Refusal::ZeroByte => "the path holds a zero byte: 400, flag DPE".to_owned(),
                    Refusal::Form(form) => {
                        format!("the path holds {}, which pathRefuse refuses: 400, flag DPE", form.words())
                    }
                });
                return answer;
            }
        };
        answer.canonical_path = target.changed.then(|| target.path.clone());
        let hosts = match connection(listener, asked) {
            Connection::Http(hosts) => hosts,
            Connection::Bytes(split, how) => {
                answer.pass(facts, split, how);
                return answer;
            }
            Connection::Closed(why) => {
                answer.nowhere = Some(format!("port {} {why}: the connection is closed", listener.key));
                return answer;
            }
        };
        if asked.method == "CONNECT" {
            answer.nowhere = Some("CONNECT is not spoken: 405, flag DPE".to_owned());
            return answer;
        }
        answer.decide(facts, (listener, hosts), asked, &asked.request(&target));
        answer
    }

    fn decide(
        &mut self,
        facts: &Facts<'_>,
        (listener, hosts): (&Listener, &VirtualHosts),
        asked: &Asked,
        request: &Request<'_>,
    ) {
        let Explanation { decision, host, considered } = explain(hosts, request);
        self.host = host.map(|host| Host {
            asked: asked.authority.clone(),
            pattern: host.pattern.to_string(),
            of: hosts.count(&asked.authority),
            place: host.origin.to_string(),
        });
        let places = &mut Places::default();
        let rule = |rule: Considered| Rule {
            number: rule.rule,
            name: rule.route.to_string(),
            took: rule.took,
            why: rule.why,
            place: rule.origin.to_string(),
            conditions: rule.held.iter().map(|(words, origin)| Step::new(words, origin)).collect(),
            merged: rule.merged.map(|both| both.map(|block| Step::field(&block, places))),
        };
        self.rules = considered.into_iter().map(rule).collect();
        match decision {
            Decision::NoHost => {
                // As `proxy/turn` answers it.
                let elsewhere = facts.other_server == OtherServer::Misdirected
                    && listener.serves_elsewhere(&asked.authority);
                self.nowhere = Some(match elsewhere {
                    true => misdirected(&asked.authority, &asked.server_name),
                    false => no_host(hosts, &asked.authority),
                });
            }
            Decision::ToHttps(host) => {
                let location = Redirect::to_https(request);
                let name = format!("301 to {location}, as httpsRedirect of {} wants", host.pattern);
                self.answered = Some(Step { name, place: String::new() });
            }
            Decision::NoRoute(host) => {
                self.nowhere = Some(format!("no rule for host {} takes it: 404, flag NR", host.pattern));
            }
            Decision::Route(route, block) => {
                self.route = Some(Step::new(&route.name, &route.origin));
                self.root = route.root.as_ref().map(|root| Step::field(root, places));
                self.take(facts, route, block, listener.key.port, request, places);
            }
        }
    }

    /// What becomes of a request that a route takes.
    fn take(
        &mut self,
        facts: &Facts<'_>,
        route: &Route,
        block: Option<&Match>,
        port: u16,
        request: &Request<'_>,
        places: &mut Places,
    ) {
        if let Some(handling) = &route.handling {
            let told = describe(handling, facts.snapshot).into_iter();
            self.handling = told.map(|(told, place)| Step::of(told, place, route, places)).collect();
            if handling.cors.as_ref().is_some_and(|cors| cors.preflight(request).is_some()) {
                let place = handling.places.cors;
                self.answered = Some(Step::of("200 to the preflight".to_owned(), place, route, places));
                return;
            }
        }
        let answered = match &route.action {
            Action::Forward(split) => {
                self.forward(facts, split, places, |target, places| {
                    let transform = target.transform.as_deref();
                    let mut fields = |of: &[Option<Place>]| -> Vec<Step> {
                        let written = of.iter().flatten();
                        written.map(|place| Step::field(&route.origin_of(*place), places)).collect()
                    };
                    Way {
                        sends: sends(transform, request, block),
                        sends_by: transform.map_or_else(Vec::new, |it| fields(&it.places.request)),
                        returns: transform.map(|it| changes(&it.response)).filter(|it| !it.is_empty()),
                        returns_by: transform.map_or_else(Vec::new, |it| fields(&it.places.response)),
                    }
                });
                return;
            }
            Action::Redirect(redirect) => {
                format!("{} to {}", redirect.status, redirect.location(request, block, port))
            }
            Action::Respond(response) => {
                format!("{} with {}", response.status, render::counted(response.body.len(), "byte"))
            }
        };
        self.answered = Some(Step::of(answered, route.places.answer, route, places));
        self.returns = route
            .answers
            .as_deref()
            .map(|ops| Step::of(changes(std::slice::from_ref(ops)), route.places.answers, route, places));
    }

    /// A connection whose bytes are passed on.
    fn pass(&mut self, facts: &Facts<'_>, split: &Split, how: &str) {
        self.route = Some(Step::new(&split.name, &split.origin));
        self.forward(facts, split, &mut Places::default(), |_, _| Way {
            sends: how.to_owned(),
            ..Way::default()
        });
    }

    /// `way` tells what a target gets, and what is changed of its answer.
    fn forward(
        &mut self,
        facts: &Facts<'_>,
        split: &Split,
        places: &mut Places,
        way: impl Fn(&snapshot::Target, &mut Places) -> Way,
    ) {
        let of: u64 = split.targets.iter().map(|target| u64::from(target.weight)).sum();
        let is_held = |target: &snapshot::Target| {
            let cluster = facts.snapshot.cluster(target.cluster);
            let of = |held: &Held| held.split == split.id && held.cluster == target.cluster;
            let held = facts.upstreams.map(|upstreams| upstreams.held().iter().any(of));
            // Nothing is known yet of endpoints that have names.
            let nobody = cluster.endpoints.is_empty() && cluster.names.is_empty();
            held.unwrap_or(target.weight > 0 && nobody && cluster.service.is_some())
        };
        let some_ready = split.targets.iter().any(|target| target.weight > 0 && !is_held(target));
        let target = |target: &snapshot::Target| {
            let cluster = facts.snapshot.cluster(target.cluster);
            let state = facts.upstreams.map(|upstreams| upstreams.cluster(target.cluster));
            let endpoint = |(at, endpoint): (usize, &snapshot::Endpoint)| Endpoint {
                address: endpoint.address.to_string(),
                active: state.and_then(|state| state.endpoints.get(at)).map(|state| state.active()),
                state: state
                    .and_then(|state| state.endpoints.get(at))
                    .map(|state| state.state().as_str().to_owned()),
            };
            let Way { sends, sends_by, returns, returns_by } = way(target, places);
            Target {
                name: name(facts.snapshot, split, target),
                cluster: cluster.key.to_string(),
                weight: target.weight,
                of,
                percent: 100.0 * f64::from(target.weight) / of.max(1) as f64,
                place: target.origin.to_string(),
                defined: cluster.origin.as_ref().map(ToString::to_string),
                policy: cluster.policy_places.iter().map(|place| Step::field(place, places)).collect(),
                endpoints: cluster.endpoints.iter().enumerate().map(endpoint).collect(),
                held: some_ready && is_held(target),
                names: cluster.names.iter().map(ToString::to_string).collect(),
                balancer: balancer(&cluster.policy.balancer),
                sends,
                sends_by,
                returns,
                returns_by,
            }
        };
        self.targets = split.targets.iter().map(target).collect();
        self.turns = facts.upstreams.map(|upstreams| {
            let turns = upstreams.ticket(split.id).next().take(TURNS);
            let named = |turn: usize| self.targets.get(turn).map(|target| target.name.clone());
            turns.filter_map(named).collect()
        });
    }
}

/// What a target gets and gives back, with the fields that say so.
#[derive(Default)]
struct Way {
    sends: String,
    sends_by: Vec<Step>,
    returns: Option<String>,
    returns_by: Vec<Step>,
}

/// What becomes of a connection to a port.
enum Connection<'s> {
    Http(&'s VirtualHosts),
    /// Passed on, and as what.
    Bytes(&'s Split, &'static str),
    /// Why.
    Closed(String),
}

fn connection<'s>(listener: &'s Listener, asked: &Asked) -> Connection<'s> {
    let name = asked.server_name.as_str();
    let no_rule = || Connection::Closed("has no rule for it".to_owned());
    match (&listener.protocol, asked.scheme == "https") {
        (ListenerProtocol::Http(hosts), false) => Connection::Http(hosts),
        (ListenerProtocol::Http(_), true) => Connection::Closed("speaks HTTP in the clear".to_owned()),
        (ListenerProtocol::Tls(_), false) => Connection::Closed("speaks TLS".to_owned()),
        (ListenerProtocol::Tcp(Some(split)), _) => Connection::Bytes(split, "all bytes"),
        (ListenerProtocol::Tcp(None), _) => no_rule(),
        (ListenerProtocol::Tls(names), true) => match names.find(name).map(|server| &**server) {
            None => Connection::Closed(format!("has no server for {name:?}")),
            Some(TlsServer::Http(_, hosts)) => Connection::Http(hosts),
            Some(TlsServer::Tcp(_, Some(split))) => Connection::Bytes(split, "all bytes, TLS ended"),
            Some(TlsServer::Tcp(_, None)) => no_rule(),
            Some(TlsServer::Passthrough(split)) => Connection::Bytes(split, "all bytes, TLS unopened"),
        },
    }
}
