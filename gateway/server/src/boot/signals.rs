//! The signals that the process listens to.

use std::io;
use std::sync::mpsc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::access::AccessLog;
use crate::control::Wake;

/// Handlers of signals, from their making on until the process ends.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: Signal,
}

impl Signals {
    /// Must be called on the runtime.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for SIGTERM or SIGINT, before there is anything to hand the others on to.
    pub(super) async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for SIGTERM or SIGINT; hands SIGHUP and SIGUSR1 on.
    pub(super) async fn stop(&mut self, waker: &mpsc::Sender<Wake>, access: Option<&AccessLog>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                // Who no longer listens has ended, and the process with it.
                _ = self.hang_up.recv() => { let _ = waker.send(Wake::Asked(None)); }
                // As Envoy and nginx have it.
                _ = self.user.recv() => if let Some(access) = access { access.reopen() },
            }
        }
    }
}
