//! Who serves a scenario. A peer writes its own configuration, says what to run, and knows its own words for
//! "I listen here".

mod bare;
mod trysail;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::process::Launch;
use crate::scenario::{Exactness, Scenario};

/// A server that is compared with others.
pub trait Peer {
    /// As it is named on the command line and in the report.
    fn name(&self) -> &'static str;

    /// How closely it keeps the weights.
    fn exactness(&self) -> Exactness;

    /// Writes its configuration for `scenario` into the site's folder and says what to run.
    fn prepare(&self, scenario: &Scenario, site: &Site<'_>) -> anyhow::Result<Launch>;

    /// The address it listens on, if this line of its output says so.
    fn heard(&self, line: &str) -> Option<SocketAddr>;
}

/// What a peer is given.
#[derive(Debug)]
pub struct Site<'a> {
    /// A folder of its own.
    pub folder: &'a Path,
    /// Where our executables are.
    pub binaries: &'a Path,
    /// The origins, in the order of the scenario's split.
    pub origins: &'a [SocketAddr],
    /// Worker threads.
    pub threads: usize,
}

/// The names that [`find`] knows.
pub const NAMES: [&str; 2] = ["trysail", "bare"];

/// The peer of that name.
#[must_use]
pub fn find(name: &str) -> Option<Box<dyn Peer>> {
    match name {
        "trysail" => Some(Box::new(trysail::Trysail)),
        "bare" => Some(Box::new(bare::Bare)),
        _ => None,
    }
}

/// Where to connect to for something bound to `address`: any address is also loopback's.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}
