//! The yard in which peers are measured: origins and peers as processes, with folders and processors of their own.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::cpus::{self, Placement};
use crate::peer::{self, Site};
use crate::process::{Launch, Process};
use crate::rounds::Contender;
use crate::scenario::Scenario;

/// Where peers are started: origins run, processors are given out.
#[derive(Debug)]
pub struct Yard {
    /// Where the executables are.
    pub binaries: PathBuf,
    /// Of all versions.
    pub origin: Process,
    origins: Vec<SocketAddr>,
    threads: usize,
    /// Who has which processor.
    pub placement: Placement,
    /// Holds a folder for each started peer.
    scratch: TempDir,
}

impl Yard {
    /// Starts the origins of a scenario; `threads` are each peer's workers.
    pub fn new(placement: Placement, scenario: &Scenario, threads: usize) -> anyhow::Result<Self> {
        let executable = std::env::current_exe()?;
        let binaries = executable.parent().context("an executable is in a folder")?.to_owned();
        if let Some(cpus) = &placement.ends {
            cpus::pin_self(cpus)?;
        }
        // All endpoints of the first version, then those of the next.
        let each = |(version, _): &(&'static str, u64)| std::iter::repeat_n(*version, scenario.endpoints);
        let versions: Vec<&str> = scenario.split.iter().flat_map(each).collect();
        let launch = Launch {
            program: binaries.join("origin"),
            args: ["--versions", &versions.join(","), "--body", &scenario.body.to_string()]
                .into_iter()
                .chain(["--speaks", scenario.wire.upstream()])
                .map(Into::into)
                .collect(),
            address: None,
        };
        ensure_built(&launch)?;
        let heard = |line: &str| -> Option<Vec<SocketAddr>> {
            let bound = line.strip_prefix("listening ")?.split(' ');
            bound.map(|bound| bound.split_once('=')?.1.parse().ok()).collect()
        };
        let (origin, origins) = Process::start("origin", &launch, placement.ends.as_deref(), &[], heard)?;
        let scratch = tempfile::Builder::new().prefix("trysail-bench-").tempdir()?;
        Ok(Yard { binaries, origin, origins, threads, placement, scratch })
    }

    /// The origins, in the order of the scenario's split.
    #[must_use]
    pub fn origins(&self) -> &[SocketAddr] {
        &self.origins
    }

    /// A folder that lasts as long as the yard.
    pub fn folder(&self, name: &str) -> std::io::Result<PathBuf> {
        Ok(tempfile::Builder::new().prefix(name).tempdir_in(&self.scratch)?.keep())
    }

    /// Starts a peer in a folder of its own, which is returned and lasts as long as the yard.
    pub fn start(
        &self,
        scenario: &Scenario,
        name: &str,
        label: String,
        wrapper: impl Fn(&Path) -> Vec<OsString>,
    ) -> anyhow::Result<(Contender, PathBuf)> {
        let peer = peer::find(name).with_context(|| format!("no peer is called {name}"))?;
        let folder = self.folder(&label)?;
        let site =
            Site { folder: &folder, binaries: &self.binaries, origins: &self.origins, threads: self.threads };
        let launch = peer.prepare(scenario, &site)?;
        ensure_built(&launch)?;
        let cpus = self.placement.proxy.as_deref();
        let wrapper = wrapper(&folder);
        let (process, address) = match launch.address {
            Some(address) => (Process::start_at(&label, &launch, cpus, &wrapper, address)?, address),
            None => Process::start(&label, &launch, cpus, &wrapper, |line| peer.heard(line))?,
        };
        let contender =
            Contender { name: label, exactness: peer.exactness(), process, address, scenario: *scenario };
        Ok((contender, folder))
    }
}

fn ensure_built(launch: &Launch) -> anyhow::Result<()> {
    ensure!(
        launch.program.is_file(),
        "{} is not there; build it: cargo build --release -p trysail -p trysail-load-tests",
        launch.program.display()
    );
    Ok(())
}
