//! Rules that nothing can reach, whatever it asks for: no server of their gateways is of their kind, or has their port,
//! or a rule for connections before them takes all of them. What rules of `http` take from each other is in [`super::reach`].

use super::gateways::{GatewayServer, Serves};
use super::streams::{StreamMatch, StreamRule};
use crate::diagnostic::{Code, Severity};
use crate::origin::Pos;
use crate::wire::ObjectName;
use crate::wire::sink::Sink;

/// A list of rules of a VirtualService.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum List {
    Http,
    Tls,
    Tcp,
}

impl List {
    fn word(self) -> &'static str {
        match self {
            List::Http => "http",
            List::Tls => "tls",
            List::Tcp => "tcp",
        }
    }

    /// Which servers look at it.
    fn wants(self) -> &'static str {
        match self {
            List::Http => "one of HTTP, HTTP2 or GRPC, or of HTTPS where TLS ends",
            List::Tls => "one with tls.mode PASSTHROUGH",
            List::Tcp => "one of TCP, or of TLS that ends there",
        }
    }

    fn is_looked_at_by(self, server: &GatewayServer<'_>) -> bool {
        match server.serves {
            Serves::Http { .. } | Serves::Https(_) => self == List::Http,
            Serves::Passthrough => self == List::Tls,
            Serves::Tcp | Serves::InsideTls(_) => self == List::Tcp,
        }
    }
}

/// Servers that a VirtualService is bound to, as one of its lists sees them.
pub(super) struct Served<'a, 's> {
    list: List,
    servers: Vec<&'a GatewayServer<'s>>,
}

impl<'a, 's> Served<'a, 's> {
    /// Those that look at a list whose first rule stands at a place; `None`, and a finding, where none does.
    pub(super) fn by(
        list: List,
        servers: &[&'a GatewayServer<'s>],
        first: Pos,
        sink: &mut Sink<'_>,
    ) -> Option<Self> {
        let servers: Vec<_> = servers.iter().filter(|server| list.is_looked_at_by(server)).copied().collect();
        if servers.is_empty() {
            let (word, wants) = (list.word(), list.wants());
            let message = format!("no rule of {word} is ever looked at: no server of its gateways does");
            sink.add(Severity::Warning, Code::UNREACHABLE_RULE, first, message)
                .hints
                .push(format!("a server that does is {wants}"));
            return None;
        }
        Some(Served { list, servers })
    }

    /// Says so where every match of a rule asks for a port that no server has. Each match is its port and its gateways.
    pub(super) fn look<'m>(
        &self,
        rule: Pos,
        mut matches: impl Iterator<Item = (Option<u16>, &'m [ObjectName])>,
        sink: &mut Sink<'_>,
    ) {
        let named = |gateways: &[ObjectName], server: &GatewayServer<'_>| {
            gateways.is_empty() || gateways.contains(server.gateway)
        };
        // One that is for other gateways is none of ours to judge.
        let is_closed = |(port, gateways): (Option<u16>, &[ObjectName])| {
            let mut servers = self.servers.iter().filter(|server| named(gateways, server)).peekable();
            servers.peek()?;
            port.filter(|port| servers.all(|server| server.listener.port != *port))
        };
        let Some(first) = matches.next().and_then(is_closed) else { return };
        if !matches.all(|one| is_closed(one).is_some()) {
            return;
        }
        let mut open: Vec<u16> = self.servers.iter().map(|server| server.listener.port).collect();
        open.sort_unstable();
        open.dedup();
        let open: Vec<String> = open.iter().map(u16::to_string).collect();
        let word = self.list.word();
        let message =
            format!("this rule can never match: no server that looks at {word} rules has port {first}");
        sink.add(Severity::Warning, Code::UNREACHABLE_RULE, rule, message)
            .hints
            .push(format!("its gateways have {}", open.join(", ")));
    }

    /// The same of rules for connections; and says which of them stand behind others that take all that they take.
    pub(super) fn look_at_streams(&self, rules: &[StreamRule], sink: &mut Sink<'_>) {
        for (at, rule) in rules.iter().enumerate() {
            let earlier = rules.get(..at).unwrap_or_default();
            let taker = |one: &StreamMatch| {
                // A rule of tls for several names may give each to another.
                let takes = |name| {
                    let mut takers =
                        earlier.iter().filter(|rule| rule.matches.iter().any(|it| it.takes(one, name)));
                    takers.next()
                };
                match one.names.as_slice() {
                    [] => takes(None),
                    names => names.iter().map(|name| takes(Some(name))).collect::<Option<Vec<_>>>()?.pop(),
                }
            };
            let takers: Option<Vec<&StreamRule>> = rule.matches.iter().map(taker).collect();
            let place = rule.split.origin.pos;
            match takers.as_deref() {
                Some([first, ..]) => {
                    let message = format!(
                        "this rule can never match: {} already takes all that it takes",
                        first.split.name
                    );
                    sink.add(Severity::Warning, Code::UNREACHABLE_RULE, place, message);
                }
                Some([]) | None => {
                    let matches = rule.matches.iter().map(|one| (one.port, one.gateways.as_slice()));
                    self.look(place, matches, sink);
                }
            }
        }
    }
}
