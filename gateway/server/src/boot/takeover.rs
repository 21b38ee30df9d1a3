//! A start in the place of a process that serves: its sockets are taken, nothing is accepted until all is there, and the
//! service manager hears of us only once it has been told who we are. On its own a process finds all of it done.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use trysail_routing::diagnostic::Diagnostics;

use super::fault;
use crate::control::Reloader;
use crate::health::Prober;
use crate::listener::Inherited;
use crate::render;
use crate::settings::Settings;
use crate::supervisor::Supervisor;
use crate::upgrade::{Door, Former, UPGRADE};

/// Between two looks at whether endpoints with a probe have been asked.
const LOOK: Duration = Duration::from_millis(10);

/// What is not ours yet while another process serves.
pub(super) struct TakeOver {
    pub(super) supervisor: Supervisor,
    /// Where the next upgrade is asked for; without a directory for it, nowhere.
    pub(super) door: Option<Door>,
    gate: watch::Sender<bool>,
}

/// Takes what the former process gives, or the service manager.
pub(super) fn begin(
    former: Option<&Former>,
    settings: &Settings,
    runtime: &Runtime,
) -> Result<(Arc<Inherited>, TakeOver), Diagnostics> {
    let (mut door, mut inherited) = (None, None);
    if let Some(former) = former {
        let (mut handed, process, version) = former.sockets().map_err(fault)?;
        if let Some(at) = handed.iter().position(|one| one.label.what == UPGRADE) {
            door = Some(handed.swap_remove(at).socket);
        }
        let count = render::counted(handed.len(), "socket");
        info!("in the place of process {process} (trysail {version}), with {count} of its");
        inherited = Some(Inherited::handed(handed));
    }
    let _runtime = runtime.enter();
    let door = settings.runtime().and_then(|directory| match Door::open(&directory, door) {
        Ok(door) => Some(door),
        Err(why) => {
            warn!("{why}");
            None
        }
    });
    let supervisor = if former.is_some() { Supervisor::silent() } else { Supervisor::default() };
    let inherited = Arc::new(inherited.unwrap_or_else(Inherited::take));
    Ok((inherited, TakeOver { supervisor, door, gate: watch::Sender::new(former.is_none()) }))
}

impl TakeOver {
    /// What ports wait for before they accept.
    pub(super) fn gate(&self) -> watch::Receiver<bool> {
        self.gate.subscribe()
    }

    /// Serves from here on. The error is why the former process goes on.
    pub(super) fn finish(
        &self,
        former: Option<&Former>,
        reloader: &mut Reloader,
        prober: &Prober,
        began: Instant,
    ) -> Result<(), String> {
        let Some(former) = former else { return Ok(()) };
        // As for a load balancer that asks whether we are ready; whom that would take too long is not waited for.
        while !prober.is_settled() {
            thread::sleep(LOOK);
        }
        reloader.reopen();
        former.ready(&reloader.revision())?;
        self.gate.send_replace(true);
        former.accepting()?;
        info!("took over after {} ms", began.elapsed().as_millis());
        self.supervisor.speak();
        reloader.hold_kept(false);
        Ok(())
    }
}
