//! Faults made on purpose: what is drawn for one request.

use std::time::Duration;

use super::chance::Chance;

/// Istio `HTTPFaultInjection`. The delay comes first, then the abort, each drawn by a lot of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fault {
    /// How often requests wait, and how long.
    pub delay: Option<(Chance, Duration)>,
    /// How often requests are answered here, and with what.
    pub abort: Option<(Chance, Abort)>,
}

/// What an aborted request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// This status, which a gRPC client sees as the status of gRPC that belongs to it.
    Http(u16),
    /// This status of gRPC; whoever does not speak gRPC gets a plain 200, as from Envoy.
    Grpc(u8),
}

impl Fault {
    /// How long a request with this lot waits.
    pub fn delay(&self, lot: u32) -> Option<Duration> {
        self.delay.filter(|(chance, _)| chance.takes(lot)).map(|(_, time)| time)
    }

    /// What a request with this lot is answered with.
    pub fn abort(&self, lot: u32) -> Option<Abort> {
        self.abort.filter(|(chance, _)| chance.takes(lot)).map(|(_, abort)| abort)
    }
}
