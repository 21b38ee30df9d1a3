//! Listeners: a port that is open, and what is done with its connections.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::host_table::HostTable;
use super::route::Split;
use super::tls::TlsId;
use super::virtual_host::VirtualHost;
use crate::origin::Origin;

/// What a listener is, over all revisions: it stays open while this stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerKey {
    /// The port that the Gateway names, before any port map.
    pub port: u16,
    /// Istio `Server.bind`: the address to listen on; `None` for all.
    pub bind: Option<IpAddr>,
}

impl fmt::Display for ListenerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bind {
            Some(address) => write!(f, "{}", std::net::SocketAddr::new(address, self.port)),
            None => write!(f, "{}", self.port),
        }
    }
}

/// One port. A clone shares its tables.
#[derive(Clone, Debug)]
pub struct Listener {
    /// What it is.
    pub key: ListenerKey,
    /// What its connections are.
    pub protocol: ListenerProtocol,
    /// Where the first Gateway that asks for it does so.
    pub origin: Origin,
}

/// Virtual hosts by their patterns.
pub type VirtualHosts = HostTable<Arc<VirtualHost>>;

/// What is spoken on a port. All servers of one port are of one family; which one, the oldest Gateway says.
#[derive(Clone, Debug)]
pub enum ListenerProtocol {
    /// HTTP/1 and HTTP/2 in the clear. All HTTP servers of a port share their hosts.
    Http(VirtualHosts),
    /// TLS, by the name that the client asks for; a client that names none meets only `*`. There is no falling
    /// back from a name to a broader one, and none found closes the connection.
    Tls(HostTable<Arc<TlsServer>>),
    /// Bytes, passed on; `None` closes each connection, as no rule is there for it.
    Tcp(Option<Arc<Split>>),
}

/// What becomes of a TLS connection once its name is known. Two servers never share their hosts, so a request
/// for another server's host is answered 404 on this connection (Istio `gatewayRDSRouteName`).
#[derive(Debug)]
pub enum TlsServer {
    /// TLS ends here, and HTTP is inside.
    Http(TlsId, VirtualHosts),
    /// TLS ends here, and its content is passed on; `None` closes the connection.
    Tcp(TlsId, Option<Arc<Split>>),
    /// Passed on unopened.
    Passthrough(Arc<Split>),
}

impl Listener {
    /// The virtual hosts for requests on a connection that asked for a server name, if it did; `None` where it
    /// leads to no HTTP.
    pub fn virtual_hosts(&self, server_name: Option<&str>) -> Option<&VirtualHosts> {
        match &self.protocol {
            ListenerProtocol::Http(hosts) => Some(hosts),
            ListenerProtocol::Tls(names) => match &**names.find(server_name.unwrap_or_default())? {
                TlsServer::Http(_, hosts) => Some(hosts),
                TlsServer::Tcp(..) | TlsServer::Passthrough(_) => None,
            },
            ListenerProtocol::Tcp(_) => None,
        }
    }

    /// Whether any server of TLS here has a virtual host for an authority: a client that got nothing for it on a
    /// connection for another server would get something on one of its own.
    pub fn serves_elsewhere(&self, authority: &str) -> bool {
        self.virtual_hosts(Some(authority)).is_some_and(|hosts| hosts.find(authority).is_some())
    }

    /// All virtual hosts of all its servers, in no particular order.
    pub fn all_virtual_hosts(&self) -> impl Iterator<Item = &VirtualHost> {
        let (plain, names) = match &self.protocol {
            ListenerProtocol::Http(hosts) => (Some(hosts), None),
            ListenerProtocol::Tls(names) => (None, Some(names)),
            ListenerProtocol::Tcp(_) => (None, None),
        };
        let inside = names.into_iter().flat_map(HostTable::values).filter_map(|server| match &**server {
            TlsServer::Http(_, hosts) => Some(hosts),
            TlsServer::Tcp(..) | TlsServer::Passthrough(_) => None,
        });
        plain.into_iter().chain(inside).flat_map(HostTable::values).map(|host| &**host)
    }

    /// What it speaks, as people say it.
    pub fn speaks(&self) -> &'static str {
        match &self.protocol {
            ListenerProtocol::Http(_) => "HTTP",
            ListenerProtocol::Tls(_) => "TLS",
            ListenerProtocol::Tcp(_) => "TCP",
        }
    }
}
