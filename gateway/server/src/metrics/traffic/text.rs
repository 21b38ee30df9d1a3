//! Istio's series as text, written straight from the accounts, piece by piece.
//!
//! Ten thousand workloads with two reporters are over a million lines of a kilobyte. So nothing is built of them but the
//! piece that is sent next: no lock is held and no more memory is taken while a scraper reads, however slowly. The labels
//! of an account are put together once for all its lines.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::vec;

use super::account::{Account, Key, Outcome, Requests, Spreads};
use super::histogram::{BOUNDS, Histogram};
use super::source::{Reporter, Source};
use crate::metrics::Grpc;

/// One family of series.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Requests.
    Count,
    /// What a histogram has of them, and how many of its units are one of those exported.
    Spread(fn(&Spreads) -> &Histogram, u64),
    /// One of the counts of messages.
    Messages(usize),
    /// One of the counts of connections.
    Streams(usize),
}

const FAMILIES: [Family; 10] = [
    Family {
        name: "istio_requests_total",
        help: "Requests that ended, by who answered them, with what status and why.",
        kind: Kind::Count,
    },
    Family {
        name: "istio_request_duration_milliseconds",
        help: "Time from a request's head to its answer's end, in milliseconds.",
        kind: Kind::Spread(|spreads| &spreads.duration, 1000),
    },
    Family {
        name: "istio_request_bytes",
        help: "Bytes of requests, heads and bodies.",
        kind: Kind::Spread(|spreads| &spreads.received, 1),
    },
    Family {
        name: "istio_response_bytes",
        help: "Bytes of answers, heads and bodies.",
        kind: Kind::Spread(|spreads| &spreads.sent, 1),
    },
    Family {
        name: "istio_request_messages_total",
        help: "Messages of gRPC that came from clients.",
        kind: Kind::Messages(0),
    },
    Family {
        name: "istio_response_messages_total",
        help: "Messages of gRPC that came from upstreams.",
        kind: Kind::Messages(1),
    },
    Family {
        name: "istio_tcp_connections_opened_total",
        help: "Connections of TCP or TLS that were taken, to be passed on.",
        kind: Kind::Streams(0),
    },
    Family {
        name: "istio_tcp_connections_closed_total",
        help: "Those of them that have ended.",
        kind: Kind::Streams(1),
    },
    Family {
        name: "istio_tcp_received_bytes_total",
        help: "Bytes that clients sent on them.",
        kind: Kind::Streams(2),
    },
    Family {
        name: "istio_tcp_sent_bytes_total",
        help: "Bytes that clients were sent on them.",
        kind: Kind::Streams(3),
    },
];

/// One scrape, and how far it has come.
pub(crate) struct Scrape {
    source: String,
    reporters: Vec<Reporter>,
    accounts: Vec<Arc<Account>>,
    /// The family that is being written, and whether it was introduced.
    family: usize,
    introduced: bool,
    /// The account that comes next.
    account: usize,
    /// What is left of the one before.
    requests: vec::IntoIter<(Outcome, Arc<Requests>)>,
    /// The labels of that one, and those of a line.
    labels: String,
    line: String,
}

impl Scrape {
    pub(super) fn new(source: &Source, accounts: Vec<Arc<Account>>) -> Self {
        let Source { workload, namespace, app, version, canonical_service, canonical_revision, reporters } =
            source;
        let mut text = String::new();
        label(&mut text, "source_workload", workload);
        label(&mut text, "source_workload_namespace", namespace);
        label(&mut text, "source_app", app);
        label(&mut text, "source_version", version);
        label(&mut text, "source_canonical_service", canonical_service);
        label(&mut text, "source_canonical_revision", canonical_revision);
        text.push_str("source_principal=\"unknown\",source_cluster=\"Kubernetes\",");
        Scrape {
            source: text,
            reporters: reporters.clone(),
            accounts,
            family: 0,
            introduced: false,
            account: 0,
            requests: Vec::new().into_iter(),
            labels: String::new(),
            line: String::new(),
        }
    }

    /// Appends the next lines, some dozens of KiB at most; `false` once there are no more.
    pub(crate) fn next(&mut self, text: &mut Vec<u8>) -> bool {
        let Some(family) = FAMILIES.get(self.family) else { return false };
        if let Some((outcome, requests)) = self.requests.next() {
            self.introduce(family, text);
            self.write_requests(family, outcome, &requests, text);
            return true;
        }
        let Some(account) = self.accounts.get(self.account).cloned() else {
            (self.family, self.introduced, self.account) = (self.family + 1, false, 0);
            return true;
        };
        self.account += 1;
        match family.kind {
            Kind::Count | Kind::Spread(..) => {
                let requests = account.requests();
                if !requests.is_empty() {
                    self.label(&account.key);
                }
                self.requests = requests.into_iter();
            }
            Kind::Messages(of) => {
                let count = account.messages_so_far()[of];
                if count > 0 {
                    self.introduce(family, text);
                    self.label(&account.key);
                    for reporter in &self.reporters {
                        let labels = &self.labels;
                        let _ = writeln!(text, "{}{{{labels}{}}} {count}", family.name, reporter.label());
                    }
                }
            }
            Kind::Streams(of) => {
                let streams = account.all_streams();
                if !streams.is_empty() {
                    self.introduce(family, text);
                    self.label(&account.key);
                }
                for (flags, streams) in streams {
                    let (count, flags) = (streams.counts()[of], flags.text());
                    for reporter in &self.reporters {
                        let (labels, who, security) = (&self.labels, reporter.label(), reporter.security());
                        let _ = writeln!(
                            text,
                            "{}{{{labels}request_protocol=\"tcp\",response_flags=\"{flags}\",connection_security_policy=\"{security}\",{who}}} {count}",
                            family.name
                        );
                    }
                }
            }
        }
        true
    }

    /// What comes before the first line of a family.
    fn introduce(&mut self, family: &Family, text: &mut Vec<u8>) {
        if !self.introduced {
            self.introduced = true;
            let kind = if matches!(family.kind, Kind::Spread(..)) { "histogram" } else { "counter" };
            let Family { name, help, .. } = family;
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
    }

    fn write_requests(&mut self, family: &Family, outcome: Outcome, requests: &Requests, text: &mut Vec<u8>) {
        let Outcome { status, flags, grpc } = outcome;
        let (protocol, number) = match grpc {
            Grpc::No => ("http", String::new()),
            Grpc::Unknown => ("grpc", String::new()),
            Grpc::Status(number) => ("grpc", number.to_string()),
        };
        let flags = flags.text();
        for reporter in &self.reporters {
            let (labels, security) = (&self.labels, reporter.security());
            self.line.clear();
            let _ = write!(
                self.line,
                "{{{labels}request_protocol=\"{protocol}\",response_code=\"{status}\",grpc_response_status=\"{number}\",response_flags=\"{flags}\",connection_security_policy=\"{security}\",{}",
                reporter.label()
            );
            let (name, line) = (family.name, &self.line);
            let Kind::Spread(of, unit) = family.kind else {
                let ([.., count], _) = requests.cumulated(|spreads| &spreads.duration);
                let _ = writeln!(text, "{name}{line}}} {count}");
                continue;
            };
            let (up_to, sum) = requests.cumulated(of);
            for (count, bound) in up_to.iter().zip(BOUNDS) {
                for part in [name, "_bucket", line, ",le=\"", bound, "\"} "] {
                    text.extend_from_slice(part.as_bytes());
                }
                let _ = writeln!(text, "{count}");
            }
            let [.., count] = up_to;
            let sum = sum as f64 / unit as f64;
            let _ = writeln!(text, "{name}_sum{line}}} {sum}\n{name}_count{line}}} {count}");
        }
    }

    /// Puts the labels of an account together.
    fn label(&mut self, key: &Key) {
        let Key { host, namespace, workload } = key;
        let cluster_local = host.strip_suffix(".svc.cluster.local").and_then(|rest| rest.split_once('.'));
        let name = cluster_local.map_or(&**host, |(name, _)| name);
        let text = &mut self.labels;
        text.clear();
        text.push_str(&self.source);
        for (name, value) in [
            ("destination_workload", &*workload.name),
            ("destination_workload_namespace", &workload.namespace),
            ("destination_app", &workload.app),
            ("destination_version", &workload.version),
            ("destination_canonical_service", &workload.canonical_service),
            ("destination_canonical_revision", &workload.canonical_revision),
            ("destination_service", host),
            ("destination_service_name", name),
            ("destination_service_namespace", namespace),
        ] {
            label(text, name, value);
        }
        text.push_str("destination_principal=\"unknown\",destination_cluster=\"Kubernetes\",");
    }
}

/// Appends a label and a comma.
fn label(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str("=\"");
    for part in value.split_inclusive(['\\', '"', '\n']) {
        let special = part.chars().last().filter(|last| matches!(last, '\\' | '"' | '\n'));
        match special {
            None => text.push_str(part),
            Some(special) => {
                text.push_str(&part[..part.len() - 1]);
                text.push_str(match special {
                    '\n' => "\\n",
                    '"' => "\\\"",
                    _ => "\\\\",
                });
            }
        }
    }
    text.push_str("\",");
}
