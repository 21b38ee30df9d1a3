//! What the control thread gives away: copies of its ports' sockets to the process after this one, the ports themselves to
//! be drained, and the last good revision on disk to whoever is in charge of it.

use std::io;
use std::time::Instant;

use super::Reloader;
use crate::listener::Ports;
use crate::upgrade::Handed;

impl Reloader {
    /// Copies of the sockets of all ports, for the process after this one.
    pub(crate) fn hand_out(&self) -> io::Result<Vec<Handed>> {
        self.ports.hand_out()
    }

    /// Leaves the last good revision to the process before this one, or takes it over: the next reading keeps it.
    pub(crate) fn hold_kept(&mut self, held: bool) {
        self.kept.hold(held);
    }

    /// Keeps on disk what waits for it, if it is time; at the end of all at once.
    pub(super) fn keep_what_waits(&mut self, is_end: bool) {
        match is_end {
            true => self.kept.finish(),
            false => self.kept.tick(Instant::now()),
        }
    }

    /// The revision in force, in short.
    pub(crate) fn revision(&self) -> String {
        self.active.load().revision.short().to_owned()
    }

    /// Gives the ports away, to be drained.
    pub(crate) fn into_ports(self) -> Ports {
        self.ports
    }
}
