//! Who serves a scenario. A peer writes its own configuration, says what to run, and knows its own words for
//! "I listen here".

mod bare;
mod envoy;
mod haproxy;
mod nginx;
mod trysail;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use self::trysail::Feature;
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
    fn heard(&self, _line: &str) -> Option<SocketAddr> {
        None
    }

    /// Whether it is on this machine; `binaries` are ours.
    fn is_there(&self, _binaries: &Path) -> bool {
        true
    }
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

/// Trysail with a feature in use, by the name of that peer: without any first.
pub use trysail::FEATURES;

/// The names that [`find`] knows, beside those of [`FEATURES`].
pub const NAMES: [&str; 8] =
    ["trysail", "packaged", "pingora", "packaged-pingora", "bare", "nginx", "haproxy", "envoy"];

/// Those that are Trysail, in one way or another.
pub const OURS: [&str; 4] = ["trysail", "packaged", "pingora", "packaged-pingora"];

/// The peer of that name.
#[must_use]
pub fn find(name: &str) -> Option<Box<dyn Peer>> {
    let trysail = |name, program, feature| -> Option<Box<dyn Peer>> {
        Some(Box::new(trysail::Trysail { name, program, feature }))
    };
    match name {
        "packaged" => trysail("packaged", "trysail-pgo", Feature::None),
        "pingora" => trysail("pingora", "trysail", Feature::Pingora),
        "packaged-pingora" => trysail("packaged-pingora", "trysail-pgo", Feature::Pingora),
        "bare" => Some(Box::new(bare::Bare)),
        "nginx" => Some(Box::new(nginx::Nginx)),
        "haproxy" => Some(Box::new(haproxy::Haproxy)),
        "envoy" => Some(Box::new(envoy::Envoy)),
        _ => {
            let &(name, feature) = FEATURES.iter().find(|(own, _)| *own == name)?;
            trysail(name, "trysail", feature)
        }
    }
}

/// Where a program of others is: what `load-tests/peers` fetched, else what is installed.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let fetched = std::env::var_os("TRYSAIL_PEERS").map(PathBuf::from);
    let fetched = fetched.into_iter().flat_map(|folder| [folder.join("usr/sbin"), folder.join("bin")]);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    fetched.chain(installed).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// A port of loopback that was free a moment ago, for those who do not let the kernel pick one.
pub(crate) fn free() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Where to connect to for something bound to `address`: any address is also loopback's.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}
