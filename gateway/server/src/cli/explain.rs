//! `trysail explain`: why a request goes where it goes, by the code that routes.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde::Serialize;
use trysail_routing::compile::{Compiled, Compiler};
use trysail_routing::decide::{Decision, Explanation, Request, describe, explain};
use trysail_routing::nearest;
use trysail_routing::snapshot::{
    Action, ListenerProtocol, Match, Redirect, Snapshot, Split, Transform, VirtualHosts,
};

use super::check::read;
use super::{Format, NOT_FINE, USAGE, colours, print, say, say_findings};
use crate::control::Reading;
use crate::render;
use crate::settings::Settings;

#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// PATH… METHOD URL: directories or files (`-` is standard input), then a request's method and URL.
    #[arg(value_name = "WORDS", required = true, num_args = 3..)]
    words: Vec<String>,
    /// A header field of the request, as `name: value`; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The settings' file; else trysail.yaml in one of the directories, else defaults.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value = "human")]
    output: Format,
}

/// The request that is asked about.
struct Asked {
    method: String,
    url: String,
    scheme: String,
    authority: String,
    port: u16,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

impl Explain {
    pub(super) fn run(mut self) -> ExitCode {
        let url = self.words.pop().unwrap_or_default();
        let method = self.words.pop().unwrap_or_default();
        let paths: Vec<PathBuf> = self.words.iter().map(PathBuf::from).collect();
        let asked = match Asked::read(method, url, &self.headers) {
            Ok(asked) => asked,
            Err(message) => {
                say(&format!("{message}\n"));
                return ExitCode::from(USAGE);
            }
        };
        let settings = match Settings::load(self.settings.as_deref(), &paths) {
            Ok(settings) => settings,
            Err(finding) => {
                say(&format!("{}\n", render::finding(&finding, colours(&std::io::stderr()))));
                return ExitCode::from(USAGE);
            }
        };
        let set = match read(&paths, &settings) {
            Reading::Set(set) => set,
            Reading::Unreadable(findings) => {
                say_findings(&findings);
                return ExitCode::from(USAGE);
            }
        };
        let Compiled { snapshot, findings } = Compiler::new(0).compile(&set, &settings.surroundings());
        if findings.has_errors() {
            say_findings(&findings);
        }
        let answer = Answer::of(&snapshot, &asked, set.revision.short());
        match self.output {
            Format::Human => print(&answer.words()),
            Format::Json => {
                let text =
                    serde_json::to_string_pretty(&answer).unwrap_or_else(|error| format!("\"{error}\""));
                print(&format!("{text}\n"));
            }
        }
        if answer.nowhere.is_none() { ExitCode::SUCCESS } else { ExitCode::from(NOT_FINE) }
    }
}

impl Asked {
    fn read(method: String, url: String, fields: &[String]) -> Result<Self, String> {
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(format!(
                "{method:?} is not a method; write for example: trysail explain conf/ GET http://shop.test/"
            ));
        }
        let uri: Uri = url.parse().map_err(|error| format!("{url:?} is not a URL: {error}"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(format!("{url:?} lacks scheme or host; write http://shop.test/cart"));
        };
        let mut headers = HeaderMap::new();
        for field in fields {
            let parsed = field.split_once(':').and_then(|(name, value)| {
                let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
                Some((name, HeaderValue::from_str(value.trim()).ok()?))
            });
            let (name, value) =
                parsed.ok_or_else(|| format!("{field:?} is not a header field; write \"name: value\""))?;
            headers.append(name, value);
        }
        let host = headers.get("host").and_then(|host| host.to_str().ok()).map(str::to_owned);
        Ok(Asked {
            scheme: scheme.to_owned(),
            authority: host.unwrap_or_else(|| authority.as_str().to_owned()),
            port: authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 }),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            method,
            url,
            headers,
        })
    }

    fn request(&self) -> Request<'_> {
        Request {
            authority: &self.authority,
            method: &self.method,
            scheme: &self.scheme,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
        }
    }
}

/// The answer, as it is printed.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    request: String,
    revision: String,
    port: Option<Step>,
    host: Option<String>,
    rules: Vec<Rule>,
    route: Option<Step>,
    targets: Vec<Target>,
    /// What the rule does beside choosing a target.
    handling: Vec<String>,
    /// What the gateway answers itself: a redirect or a direct response.
    answered: Option<String>,
    /// Why it goes nowhere, and what would have caught it.
    nowhere: Option<String>,
}

/// Something and where it is written.
#[derive(Serialize)]
struct Step {
    name: String,
    place: String,
}

#[derive(Serialize)]
struct Rule {
    name: String,
    took: bool,
    why: String,
    place: String,
}

#[derive(Serialize)]
struct Target {
    cluster: String,
    weight: u32,
    percent: f64,
    endpoints: Vec<String>,
    /// What the target is asked for, where that is not what the client asks for.
    sends: Option<String>,
}

impl Answer {
    fn of(snapshot: &Snapshot, asked: &Asked, revision: &str) -> Self {
        let request = format!("{} {}", asked.method, asked.url);
        let mut answer = Answer { request, revision: revision.to_owned(), ..Answer::default() };
        let Some(listener) = snapshot.listeners.iter().find(|listener| listener.key.port == asked.port)
        else {
            let open: Vec<String> =
                snapshot.listeners.iter().map(|listener| listener.key.to_string()).collect();
            let open = if open.is_empty() {
                "no port is".to_owned()
            } else {
                format!("open is {}", open.join(", "))
            };
            answer.nowhere =
                Some(format!("no Gateway opens port {}; {open}: connection refused", asked.port));
            return answer;
        };
        answer.port = Some(Step { name: listener.key.to_string(), place: listener.origin.to_string() });
        let request = asked.request();
        let name = asked.authority.split(':').next();
        let hosts = listener.virtual_hosts(name.filter(|_| asked.scheme == "https"));
        let plain = matches!(listener.protocol, ListenerProtocol::Http(_));
        let Some(hosts) = hosts.filter(|_| plain == (asked.scheme == "http")) else {
            answer.nowhere = Some(format!(
                "port {} speaks {}, and no server of it takes {} for {:?}: the connection is closed",
                listener.key,
                listener.speaks(),
                asked.scheme,
                asked.authority
            ));
            return answer;
        };
        let Explanation { decision, host, considered } = explain(hosts, &request);
        answer.host = host;
        answer.rules = considered
            .into_iter()
            .map(|rule| Rule {
                name: rule.route.to_string(),
                took: rule.took,
                why: rule.why,
                place: rule.origin.to_string(),
            })
            .collect();
        match decision {
            Decision::NoHost => answer.nowhere = Some(no_host(hosts, &asked.authority)),
            Decision::ToHttps(host) => {
                let location = Redirect::to_https(&request);
                answer.answered =
                    Some(format!("301 to {location}, as httpsRedirect of {} wants", host.pattern));
            }
            Decision::NoRoute(host) => {
                let pattern = &host.pattern;
                answer.nowhere = Some(format!("no rule for host {pattern} takes it: 404, flag NR"));
            }
            Decision::Route(route, block) => {
                answer.route = Some(Step { name: route.name.to_string(), place: route.origin.to_string() });
                let handling = route.handling.as_ref();
                answer.handling = handling.map_or_else(Vec::new, |handling| describe(handling, snapshot));
                let cors = handling.and_then(|handling| handling.cors.as_ref());
                if cors.is_some_and(|cors| cors.preflight(&request).is_some()) {
                    answer.answered = Some("200 to the preflight".to_owned());
                    return answer;
                }
                match &route.action {
                    Action::Forward(split) => answer.targets = targets(snapshot, split, &request, block),
                    Action::Redirect(redirect) => {
                        let location = redirect.location(&request, block, listener.key.port);
                        answer.answered = Some(format!("{} to {location}", redirect.status));
                    }
                    Action::Respond(response) => {
                        let size = render::counted(response.body.len(), "byte");
                        answer.answered = Some(format!("{} with {size}", response.status));
                    }
                }
            }
        }
        answer
    }

    fn words(&self) -> String {
        let mut text = format!("{}   revision {}\n\n", self.request, self.revision);
        let mut line = |name: &str, what: &str, place: &str| {
            let _ = writeln!(text, "{}", format!("{name:<10} {what:<60} {place}").trim_end());
        };
        if let Some(port) = &self.port {
            line("port", &port.name, &port.place);
        }
        if let Some(host) = &self.host {
            line("host", &format!("matches {host:?}"), "");
        }
        for rule in &self.rules {
            let mark = if rule.took { "✓" } else { "✗" };
            line(&format!("rule {mark}"), &format!("{}: {}", rule.name, rule.why), &rule.place);
        }
        if let Some(route) = &self.route {
            line("route", &route.name, &route.place);
        }
        for handled in &self.handling {
            line("", handled, "");
        }
        for target in &self.targets {
            let endpoints = match target.endpoints.as_slice() {
                [] => "no endpoint: 503, flag UH".to_owned(),
                endpoints => endpoints.join(", "),
            };
            line("", &format!("{:>5.1} %  {}", target.percent, target.cluster), &endpoints);
            if let Some(sends) = &target.sends {
                line("", &format!("         sends {sends}"), "");
            }
        }
        if let Some(answered) = &self.answered {
            line("answers", answered, "");
        }
        if let Some(nowhere) = &self.nowhere {
            line("nowhere", nowhere, "");
        }
        text
    }
}

fn no_host(hosts: &VirtualHosts, authority: &str) -> String {
    let known: Vec<String> = hosts.values().map(|host| host.pattern.to_string()).collect();
    let hint = match (nearest(authority, known.iter().map(String::as_str)), known.len()) {
        (Some(near), _) => format!("; the nearest is {near:?}"),
        (None, 0) => "; no VirtualService is bound to this port".to_owned(),
        (None, 1..=5) => format!("; there is {}", known.join(", ")),
        (None, _) => String::new(),
    };
    format!("no host matches {authority:?}{hint}: 404, flag NR")
}

fn targets(snapshot: &Snapshot, split: &Split, request: &Request<'_>, block: Option<&Match>) -> Vec<Target> {
    let sum: u64 = split.targets.iter().map(|target| u64::from(target.weight)).sum();
    let target = |target: &trysail_routing::snapshot::Target| {
        let cluster = snapshot.cluster(target.cluster);
        Target {
            cluster: cluster.key.to_string(),
            weight: target.weight,
            percent: 100.0 * f64::from(target.weight) / sum.max(1) as f64,
            endpoints: cluster.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect(),
            sends: target.transform.as_ref().map(|transform| sends(transform, request, block)),
        }
    };
    split.targets.iter().map(target).collect()
}

/// The request as the target gets it: path, authority, and the fields that the route changes.
fn sends(transform: &Transform, request: &Request<'_>, block: Option<&Match>) -> String {
    let rewritten = transform.path.as_ref().and_then(|rewrite| rewrite.apply(request.path, block));
    let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
    let authority = transform.authority.as_ref().and_then(|authority| authority.to_str().ok());
    let mut text = format!("{} {}{query}", request.method, rewritten.as_deref().unwrap_or(request.path));
    let _ = write!(text, ", Host: {}", authority.unwrap_or(request.authority));
    for ops in &transform.request {
        let removed = ops.remove.iter().map(|name| format!(", without {name}"));
        let set = ops.set.iter().map(|(name, value)| format!(", {name}: {value}"));
        let added = ops.add.iter().map(|(name, value)| format!(", and {name}: {value}"));
        text.extend(removed.chain(set).chain(added));
    }
    text
}
