//! The process replaced by another one while it serves. Until that one accepts this one goes on as ever; whatever becomes
//! of it before is a line in the log, an answer to whoever asked, and nothing else.

use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use log::{info, warn};
use tokio::sync::oneshot;

use crate::control::Wake;
use crate::listener::{Connections, Open};
use crate::render;
use crate::supervisor::Supervisor;
use crate::upgrade::{Ask, Caller, Door, Handed, Program, Successor, Told};

/// How long a process that is ready may take to accept.
const ACCEPTS: Duration = Duration::from_secs(10);

/// How long the control thread may take to give copies of its sockets: it may be within a reading.
const PAUSES: Duration = Duration::from_secs(60);

/// A process may be waited for this long at most, whatever is asked for.
const LONGEST: Duration = Duration::from_secs(3600);

/// What the process's own ports are for, in their order.
const OWN: [&str; 3] = ["metrics", "health", "admin"];

/// What an upgrade needs of the process.
pub(super) struct Upgrades<'a> {
    /// As what it was started; the error is why that is not known.
    pub(super) program: &'a io::Result<Program>,
    pub(super) waker: mpsc::Sender<Wake>,
    pub(super) own_ports: &'a [Open],
    pub(super) connections: &'a Connections,
    pub(super) supervisor: &'a Supervisor,
    /// How long connections may go on afterwards.
    pub(super) drain: Duration,
}

/// Another process serves.
pub(super) struct HandedOver {
    /// Its id.
    pub(super) process: u32,
    /// Who asked for it, and may wait until this process has left.
    pub(super) _caller: Caller,
}

impl Upgrades<'_> {
    /// Serves until another process has taken over; without a door, for ever.
    pub(super) async fn wait(&self, door: Option<&Door>) -> HandedOver {
        let Some(door) = door else { return std::future::pending().await };
        loop {
            let (ask, mut caller) = door.asked().await;
            match self.hand_over(&ask, &mut caller, door).await {
                Ok(process) => return HandedOver { process, _caller: caller },
                Err(why) => {
                    warn!("no other process takes over, this one goes on: {why}");
                    caller.tell(&Told::Failed { why }).await;
                }
            }
        }
    }

    /// The id of the process that serves now. The error is why there is none.
    async fn hand_over(&self, ask: &Ask, caller: &mut Caller, door: &Door) -> Result<u32, String> {
        if std::process::id() == 1 {
            let why =
                "trysail is process 1 here, with which its container ends; start another container instead";
            return Err(why.to_owned());
        }
        let unknown =
            |error: &io::Error| format!("its own program is not known: {error}; restart it instead");
        let program = self.program.as_ref().map_err(unknown)?;
        let binary = ask.binary.as_deref().unwrap_or(&program.path);
        let within = Duration::from_millis(ask.timeout).min(LONGEST);
        let began = Instant::now();
        step(caller, format!("starting {}", binary.display())).await;
        let mut successor = Successor::start(program, binary)?;
        let prepared = async {
            successor.is_here().await?;
            let (process, version) = (successor.process, &successor.version);
            step(caller, format!("process {process} is trysail {version}")).await;
            let (pause, handed) = self.sockets(door).await?;
            successor.hand(&handed).await?;
            step(caller, format!("process {process} has {}", render::counted(handed.len(), "socket"))).await;
            let revision = successor.is_ready().await?;
            Ok::<_, String>((pause, revision))
        };
        let prepared = tokio::time::timeout(within, prepared).await;
        let (pause, revision) = prepared.map_err(|_| {
            format!("it was not ready within {within:?} and was ended; --timeout gives it longer")
        })??;
        let process = successor.process;
        let took = began.elapsed().as_millis();
        step(caller, format!("process {process} is ready with revision {revision} after {took} ms")).await;
        let accepts = tokio::time::timeout(ACCEPTS, successor.accept()).await;
        accepts.map_err(|_| format!("it did not accept within {} s", ACCEPTS.as_secs()))??;
        self.supervisor.hand_to(process);
        successor.has_all().await;
        let _ = pause.send(());
        let (ours, version) = (env!("CARGO_PKG_VERSION"), &successor.version);
        let done = format!(
            "process {process} serves in place of {}; trysail {ours} → {version}, revision {revision}; the former drains {}, \
             for {} s at most",
            std::process::id(),
            render::counted(self.connections.open(), "connection"),
            self.drain.as_secs(),
        );
        info!("{done}");
        caller.tell(&Told::Done { text: done }).await;
        Ok(process)
    }

    /// Copies of all sockets, and what holds up the control thread while they are on their way.
    async fn sockets(&self, door: &Door) -> Result<(mpsc::Sender<()>, Vec<Handed>), String> {
        let (pause, paused) = mpsc::channel();
        let (asker, given) = oneshot::channel();
        // Who no longer listens does not answer either.
        let _ = self.waker.send(Wake::HandOver(asker, paused));
        let given = tokio::time::timeout(PAUSES, given).await;
        let given =
            given.ok().and_then(Result::ok).ok_or("the control thread does not answer; see the log")?;
        let copy =
            |error: io::Error| format!("the sockets can't be copied: {error}; is LimitNOFILE large enough?");
        let mut handed = given.map_err(copy)?;
        for (open, what) in self.own_ports.iter().zip(OWN) {
            let address = open.address().to_string();
            if !handed.iter().any(|one| one.label.kept && one.label.what == address) {
                handed.push(open.hand_out(what).map_err(copy)?);
            }
        }
        handed.push(door.copy().map_err(copy)?);
        Ok((pause, handed))
    }
}

async fn step(caller: &mut Caller, text: String) {
    info!("upgrade: {text}");
    caller.tell(&Told::Step { text }).await;
}
