//! What is asked of every peer, and which answers are right.

use std::borrow::Cow;

use anyhow::Context;

use crate::peer::FEATURES;
use crate::report;
use crate::table::{By, Table};
use crate::wire::{self, Wire};

/// One kind of request, the answer to it, and the split that every peer is configured for.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Names the result files.
    pub name: &'static str,
    /// One line for the head of the report.
    pub title: &'static str,
    /// Sent as `Host`.
    pub host: &'static str,
    /// The path that is asked for.
    pub path: &'static str,
    /// The prefix that the route of each peer matches.
    pub prefix: &'static str,
    /// Length of the request's body in bytes: a POST, or a GET without one.
    pub send: usize,
    /// Length of the answer's body in bytes.
    pub body: usize,
    /// Whether each request comes on a new connection.
    pub fresh: bool,
    /// What is spoken.
    pub wire: Wire,
    /// Requests at a time on each connection: of HTTP/2, streams.
    pub streams: usize,
    /// The routes there are; `None` for that of `host` and `prefix` alone. Its last row is what is asked for.
    pub table: Option<Table>,
    /// Endpoints of each version.
    pub endpoints: usize,
    /// Lines of the request's head beside those of every request.
    pub fields: &'static str,
    /// Who is compared with whom.
    pub against: Against,
    /// Versions with their weights; counts elsewhere are in this order.
    pub split: &'static [(&'static str, u64)],
    /// Peers that we compare with, and the ratio that is aimed at, at most.
    pub aims: &'static [(&'static str, f64)],
}

/// Who is compared with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The first peer with each of the others.
    Others,
    /// Every peer with itself, by tables of so many rows: with its smallest. The last number is for the first peer alone.
    Sizes(&'static [usize]),
    /// Trysail with features in use, with Trysail without.
    Features,
}

/// Every scenario, in the order of the pages.
pub const ALL: [Scenario; 14] = [
    SMALL_KEEPALIVE,
    BIG,
    POST,
    NEW_CONNECTION,
    wire::TLS_KEEPALIVE,
    wire::TLS_HANDSHAKE,
    wire::H2C,
    wire::H2,
    wire::GRPC,
    wire::WEBSOCKET,
    BY_HOST,
    BY_PREFIX,
    BY_HEADER,
    PRICES,
];

/// The scenario of that name.
#[must_use]
pub fn find(name: &str) -> Option<Scenario> {
    ALL.into_iter().find(|scenario| scenario.name == name)
}

/// The smallest useful request: all that is measured is the proxy's price for one.
pub const SMALL_KEEPALIVE: Scenario = Scenario {
    name: "small-keepalive",
    title: "small GET, HTTP/1.1 keep-alive on both sides, 100-byte answer, 90/10 over v1 and v2",
    host: "shop.test",
    path: "/reviews/0",
    prefix: "/reviews",
    send: 0,
    body: 100,
    fresh: false,
    wire: Wire::Http1,
    streams: 1,
    table: None,
    endpoints: 1,
    fields: "",
    against: Against::Others,
    split: &[("v1", 90), ("v2", 10)],
    aims: &[("bare", 1.05), ("nginx", 1.5), ("haproxy", 1.5), ("envoy", 0.38)],
};

/// What is passed on, rather than what is decided.
const BIG: Scenario = Scenario {
    name: "big-answer",
    title: "GET, HTTP/1.1 keep-alive on both sides, 64 KiB answer, 90/10 over v1 and v2",
    body: 64 << 10,
    aims: &[("nginx", 0.85)],
    ..SMALL_KEEPALIVE
};

/// A body to the upstream.
const POST: Scenario = Scenario {
    name: "post",
    title: "POST of 1 KiB, HTTP/1.1 keep-alive on both sides, 100-byte answer, 90/10 over v1 and v2",
    send: 1 << 10,
    aims: &[("nginx", 1.8)],
    ..SMALL_KEEPALIVE
};

/// Accepting and closing.
const NEW_CONNECTION: Scenario = Scenario {
    name: "new-connection",
    title: "small GET, a new connection of the client for each, keep-alive to the upstreams, 90/10 over v1 and v2",
    fresh: true,
    aims: &[("nginx", 1.6)],
    ..SMALL_KEEPALIVE
};

const SIZES: &[usize] = &[10, 1_000, 10_000, 100_000];

/// A table of hosts.
const BY_HOST: Scenario = Scenario {
    name: "routes-by-host",
    title: "small GET for the last of many hosts, each with a route of its own, 90/10 over v1 and v2",
    table: Some(Table { by: By::Host, rows: 10 }),
    against: Against::Sizes(SIZES),
    aims: &[("trysail@10", 1.03)],
    ..SMALL_KEEPALIVE
};

/// A table of prefixes.
const BY_PREFIX: Scenario = Scenario {
    name: "routes-by-prefix",
    title: "small GET for the last of many prefixes of one host, 90/10 over v1 and v2",
    table: Some(Table { by: By::Prefix, rows: 10 }),
    ..BY_HOST
};

/// A table of values of a field.
const BY_HEADER: Scenario = Scenario {
    name: "routes-by-header",
    title: "small GET whose field x-row has the value of the last of many rules of one host, 90/10 over v1 and v2",
    table: Some(Table { by: By::Header, rows: 10 }),
    ..BY_HOST
};

/// What each feature adds to a request.
const PRICES: Scenario = Scenario {
    name: "prices",
    title: "small GET by Trysail with one feature in use, beside the same without: four endpoints for each of v1 and v2, 90/10",
    endpoints: 4,
    fields: "Cookie: user=u1234567\r\nx-user: u1234567\r\n",
    against: Against::Features,
    aims: &[],
    ..SMALL_KEEPALIVE
};

/// How closely a peer promises to keep the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exactness {
    /// Every prefix of the requests is within one of each share.
    Exact,
    /// Each request is drawn for itself.
    Drawn,
}

/// Deviations a drawn split may be off: one wrong alarm in 500 million rounds.
const DEVIATIONS: f64 = 6.0;

/// A peer by its name, the label that it has in reports, and what it is configured for and asked.
pub type Contending = (String, String, Scenario);

impl Scenario {
    /// The request as it goes over the wire, of HTTP/1.1.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        let (method, length) = match self.send {
            0 => ("GET", String::new()),
            length => ("POST", format!("Content-Length: {length}\r\n")),
        };
        let (mut host, mut path) = (Cow::from(self.host), Cow::from(self.path));
        let mut fields = self.fields.to_owned();
        if let Some(table) = self.table {
            host = table.host(table.last()).into();
            path = (table.prefix(table.last()) + "0").into();
            fields.extend(table.value(table.last()).map(|value| format!("x-row: {value}\r\n")));
        }
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: load\r\nAccept: */*\r\n{fields}{length}\r\n"
        );
        let mut request = head.into_bytes();
        request.resize(request.len() + self.send, b'x');
        request
    }

    /// Who takes part, as (peer, label, scenario), where those are that are wanted and there; and whose CPU is divided by
    /// whose, by their labels.
    #[must_use]
    pub fn contenders(&self, peers: &[String]) -> (Vec<Contending>, Vec<(String, String)>) {
        let (mut all, mut pairs) = (Vec::new(), Vec::new());
        match self.against {
            Against::Others => {
                for (at, name) in peers.iter().enumerate() {
                    let nth = peers[..=at].iter().filter(|other| *other == name).count();
                    let label = if nth == 1 { name.clone() } else { format!("{name}-{nth}") };
                    all.push((name.clone(), label, *self));
                }
                let pair =
                    |((_, own, _), (_, other, _)): (&Contending, &Contending)| (own.clone(), other.clone());
                pairs.extend(report::pairs(&all, |(_, label, _)| label).map(pair));
            }
            Against::Sizes(sizes) => {
                let label = |peer: &str, rows: usize| format!("{peer}@{rows}");
                for (at, peer) in peers
                    .iter()
                    .filter(|peer| {
                        !["bare", "packaged", "pingora", "packaged-pingora"].contains(&peer.as_str())
                    })
                    .enumerate()
                {
                    let most = sizes.len() - usize::from(at > 0);
                    for (nth, &rows) in sizes[..most].iter().enumerate() {
                        let table = self.table.map(|table| Table { rows, ..table });
                        all.push((peer.clone(), label(peer, rows), Scenario { table, ..*self }));
                        pairs.extend((nth > 0).then(|| (label(peer, rows), label(peer, sizes[0]))));
                    }
                }
            }
            Against::Features => {
                for (at, (name, _)) in FEATURES.iter().enumerate() {
                    all.push(((*name).to_owned(), (*name).to_owned(), *self));
                    pairs.extend((at > 0).then(|| ((*name).to_owned(), FEATURES[0].0.to_owned())));
                }
            }
        }
        (all, pairs)
    }

    /// The place of a version in the split, as an answer names it.
    pub fn version(&self, named: &[u8]) -> anyhow::Result<usize> {
        let version = self.split.iter().position(|(version, _)| version.as_bytes() == named);
        version.context("an answer of no version of the scenario")
    }

    /// Says what is wrong with the counts of a run; `slack` is how far an exact split may be off: 1 from a
    /// peer's first request or over whole cycles, 2 between two points of its life.
    pub fn judge(&self, counts: &[u64], exactness: Exactness, slack: f64) -> Result<(), String> {
        let requests = counts.iter().sum::<u64>() as f64;
        let weights = self.split.iter().map(|(_, weight)| weight).sum::<u64>() as f64;
        for (&(version, weight), &count) in self.split.iter().zip(counts) {
            let share = weight as f64 / weights;
            let allowed = match exactness {
                Exactness::Exact => slack,
                Exactness::Drawn => DEVIATIONS * (requests * share * (1.0 - share)).sqrt(),
            };
            if (count as f64 - requests * share).abs() > allowed {
                return Err(format!(
                    "{version} answered {count} of {requests} requests; its share is {:.1}, give or take {allowed:.0}",
                    requests * share
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_long_as_they_say() {
        for scenario in ALL {
            let text = String::from_utf8(scenario.request()).expect("UTF-8");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert_eq!(body.len(), scenario.send);
            assert_eq!(
                head.contains(&format!("Content-Length: {}", scenario.send)),
                scenario.send > 0,
                "{head}"
            );
            assert_eq!(find(scenario.name).map(|found| found.title), Some(scenario.title));
        }
    }

    #[test]
    fn exact_means_within_the_slack_and_drawn_within_chance() {
        let judge =
            |counts: [u64; 2], exactness, slack| SMALL_KEEPALIVE.judge(&counts, exactness, slack).is_ok();
        assert!(judge([900, 100], Exactness::Exact, 1.0));
        assert!(judge([901, 99], Exactness::Exact, 1.0));
        assert!(!judge([902, 98], Exactness::Exact, 1.0));
        assert!(judge([902, 98], Exactness::Exact, 2.0));
        assert!(judge([870, 130], Exactness::Drawn, 1.0));
        assert!(!judge([500, 500], Exactness::Drawn, 1.0));
        assert!(!judge([1000, 0], Exactness::Drawn, 1.0));
    }
}
