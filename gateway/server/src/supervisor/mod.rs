//! The service manager, where there is one: it is told how the process fares, and that it still answers.
//!
//! It is systemd's protocol of one datagram for each thing told, to the socket that `NOTIFY_SOCKET` names; without
//! that, all of this does nothing. What is told is a line of `systemctl status`, so that a refused reload or a drain
//! is seen without looking for it. The sockets that it hands over are the listeners' business (`listener/inherited`).

mod watchdog;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::warn;
use sd_notify::NotifyState;

pub(crate) use watchdog::Watchdog;

/// Who watches over the process. Clones speak to the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supervisor {
    /// Whether telling it has failed, which is said once.
    deaf: Arc<AtomicBool>,
    /// Whether another process is the one that it listens to.
    silent: Arc<AtomicBool>,
}

impl Supervisor {
    /// To be told nothing before [`Supervisor::speak`], as it listens to the process before this one.
    pub(crate) fn silent() -> Self {
        Supervisor { silent: Arc::new(true.into()), ..Supervisor::default() }
    }

    /// It listens to us now.
    pub(crate) fn speak(&self) {
        self.silent.store(false, Ordering::Release);
    }

    /// Another process is the one to watch over from now on, and nothing is told by this one any more.
    pub(crate) fn hand_to(&self, process: u32) {
        self.tell(&[NotifyState::MainPid(process)]);
        self.silent.store(true, Ordering::Release);
    }

    /// The process serves.
    pub(crate) fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// It reads its configuration anew; [`Supervisor::ready`] ends it.
    pub(crate) fn reloading(&self) {
        // Only together with the time does a newer systemd take it for the answer to what it asked.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    /// How it fares, in a sentence.
    pub(crate) fn status(&self, status: &str) {
        self.tell(&[NotifyState::Status(&line(status))]);
    }

    /// It ends, which will take so long at most: whatever limit of its own the service manager has for that.
    pub(crate) fn stopping(&self, status: &str, within: Duration) {
        let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
        self.tell(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(within),
            NotifyState::Status(&line(status)),
        ]);
    }

    fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    fn tell(&self, told: &[NotifyState<'_>]) {
        if self.silent.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = sd_notify::notify(told)
            && !self.deaf.swap(true, Ordering::Relaxed)
        {
            warn!(
                "the service manager can't be told how the process fares: {error}; is NOTIFY_SOCKET right?"
            );
        }
    }
}

/// A line break would end what is said, and begin what is not.
fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
