//! One name asked for: `/etc/hosts` first, then DNS, for both families of addresses.
//!
//! The search list is walked here and not by the crate, which takes the last answer for the answer: a server that is
//! down for `api.test` and says "no such name" of `api.test.search.list` would empty a service that is well.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use hickory_resolver::{Hosts, Resolver, TokioResolver, system_conf};
use parking_lot::Mutex;

use crate::metrics::Looked;

/// What the system says of names; read again when one of them is another file.
const FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// Asks for names, as the system or the settings say.
pub(super) struct Lookup {
    servers: Vec<SocketAddr>,
    made: Mutex<Option<(Stamps, Arc<Asker>)>>,
}

/// What tells of each of [`FILES`] that it is another: its length and its time.
type Stamps = [Option<(u64, Option<SystemTime>)>; 2];

struct Asker {
    hosts: Hosts,
    /// Why nobody can be asked, if so.
    resolver: Result<TokioResolver, String>,
    search: Vec<Name>,
    ndots: usize,
}

/// What became of one name.
pub(super) struct Answer {
    pub(super) four: Part,
    pub(super) six: Part,
}

/// What became of one family of addresses.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// Never empty; how long it holds.
    Found(Vec<IpAddr>, Duration),
    /// There is none: that was the answer.
    Nothing,
    /// There was no answer, for a reason.
    Failed(String),
}

impl Answer {
    pub(super) fn failed(why: String) -> Self {
        Answer { four: Part::Failed(why.clone()), six: Part::Failed(why) }
    }

    /// How it is counted.
    pub(super) fn result(&self) -> Looked {
        match (&self.four, &self.six) {
            (Part::Found(..), _) | (_, Part::Found(..)) => Looked::Found,
            (Part::Nothing, Part::Nothing) => Looked::Nothing,
            _ => Looked::Failed,
        }
    }
}

impl Lookup {
    /// These servers are asked; where there are none, those of the system.
    pub(super) fn new(servers: Vec<SocketAddr>) -> Self {
        Lookup { servers, made: Mutex::new(None) }
    }

    /// Asks for a name, now.
    pub(super) async fn ask(&self, name: &str) -> Answer {
        let asker = self.asker();
        let Ok(name) = Name::from_ascii(name) else { return Answer::failed("it is no name".to_owned()) };
        asker.ask(name).await
    }

    fn asker(&self) -> Arc<Asker> {
        let stamps =
            FILES.map(|file| fs::metadata(file).ok().map(|facts| (facts.len(), facts.modified().ok())));
        let mut made = self.made.lock();
        match &*made {
            Some((before, asker)) if *before == stamps => asker.clone(),
            _ => made.insert((stamps, Arc::new(Asker::new(&self.servers)))).1.clone(),
        }
    }
}

impl Asker {
    fn new(servers: &[SocketAddr]) -> Self {
        let hosts = Hosts::from_system().unwrap_or_default();
        let read = match servers.is_empty() {
            true => system_conf::read_system_conf().map_err(|error| format!("/etc/resolv.conf: {error}")),
            false => {
                let servers = servers.iter().map(|server| {
                    let connections =
                        [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                            connection.port = server.port();
                            connection
                        });
                    NameServerConfig::new(server.ip(), true, connections.into())
                });
                Ok((ResolverConfig::from_name_servers(servers.collect()), ResolverOpts::default()))
            }
        };
        let (config, mut options) = match read {
            Ok(read) => read,
            Err(why) => return Asker { hosts, resolver: Err(why), search: Vec::new(), ndots: 1 },
        };
        // Whoever asks again wants to know what is so now, and asks no sooner than the answer allows.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let mut search = config.search().to_vec();
        if search.is_empty() {
            search.extend(config.domain().cloned());
        }
        let ndots = options.ndots;
        let builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        let resolver = builder.with_options(options).build().map_err(|error| error.to_string());
        Asker { hosts, resolver, search, ndots }
    }

    async fn ask(&self, name: Name) -> Answer {
        let mut answer = self.of_hosts(&name);
        if answer.result() == Looked::Found {
            return answer;
        }
        let resolver = match &self.resolver {
            Ok(resolver) => resolver,
            Err(why) => return Answer::failed(why.clone()),
        };
        for name in candidates(&name, &self.search, self.ndots) {
            let (four, six) = tokio::join!(
                ask(resolver, name.clone(), RecordType::A),
                ask(resolver, name, RecordType::AAAA)
            );
            let next = Answer { four, six };
            match next.result() {
                Looked::Found => return next,
                // Whatever is said of other names, this one may be well.
                Looked::Failed => answer = next,
                Looked::Nothing => {}
            }
        }
        answer
    }

    /// What `/etc/hosts` says; a name that is there at all is asked for nowhere else.
    fn of_hosts(&self, name: &Name) -> Answer {
        let of = |kind| {
            let found = self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
            found.map_or(Part::Nothing, |found| part(found.answers()))
        };
        Answer { four: of(RecordType::A), six: of(RecordType::AAAA) }
    }
}

async fn ask(resolver: &TokioResolver, name: Name, kind: RecordType) -> Part {
    match resolver.lookup(name, kind).await {
        Ok(found) => part(found.answers()),
        Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Part::Nothing,
        Err(error) => Part::Failed(why(&error)),
    }
}

/// The addresses among records, which may also be of the names between; they hold as long as the shortest.
fn part(records: &[Record]) -> Part {
    let addresses: Vec<IpAddr> = records.iter().filter_map(|record| record.data.ip_addr()).collect();
    let shortest = records.iter().map(|record| record.ttl).min().unwrap_or_default();
    match addresses.is_empty() {
        true => Part::Nothing,
        false => Part::Found(addresses, Duration::from_secs(shortest.into())),
    }
}

/// The complete names that a name may stand for, in the order of resolv.conf(5).
fn candidates(name: &Name, search: &[Name], ndots: usize) -> Vec<Name> {
    let mut complete = name.clone();
    complete.set_fqdn(true);
    if name.is_fqdn() {
        return vec![complete];
    }
    let dots = usize::from(name.num_labels()).saturating_sub(1);
    let mut names: Vec<Name> =
        search.iter().filter_map(|domain| name.clone().append_domain(domain).ok()).collect();
    names.insert(if dots >= ndots { 0 } else { names.len() }, complete);
    names.dedup();
    names
}

/// A failure in words.
fn why(error: &NetError) -> String {
    match error {
        NetError::Timeout => "no server answered in time".to_owned(),
        NetError::NoConnections => "no server can be reached".to_owned(),
        NetError::Io(error) => crate::listener::reason(error),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the server says {code}"),
        other => other.to_string(),
    }
}

/// Whether this machine has a route to an address. To connect a socket of UDP sends nothing.
pub(super) fn has_route(address: &IpAddr) -> bool {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((*address, 9))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_in_order() {
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let search = [name("a.test."), name("b.test.")];
        for (asked, ndots, expected) in [
            ("shop.", 1, "shop."),
            ("shop", 1, "shop.a.test. shop.b.test. shop."),
            ("api.shop", 1, "api.shop. api.shop.a.test. api.shop.b.test."),
            ("api.shop", 5, "api.shop.a.test. api.shop.b.test. api.shop."),
        ] {
            let names: Vec<String> =
                candidates(&name(asked), &search, ndots).iter().map(ToString::to_string).collect();
            assert_eq!(names.join(" "), expected, "{asked} {ndots}");
        }
    }

    #[test]
    fn loopback_has_a_route() {
        assert!(has_route(&Ipv4Addr::LOCALHOST.into()));
    }
}
