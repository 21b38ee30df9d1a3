//! Listeners: a port that is open, and the virtual hosts on it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::host_table::HostTable;
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

/// One port with its hosts.
#[derive(Debug)]
pub struct Listener {
    /// What it is.
    pub key: ListenerKey,
    /// Its virtual hosts.
    pub hosts: HostTable<Arc<VirtualHost>>,
    /// Where the first Gateway that asks for it does so.
    pub origin: Origin,
}
