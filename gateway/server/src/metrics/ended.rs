//! What is told of a request once it is over, however it ended.

use std::time::Duration;

use super::Flags;

/// One request that is over.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended {
    /// The status that the client got; 0 where it got none.
    pub(crate) status: u16,
    /// Why the answer is what it is.
    pub(crate) flags: Flags,
    /// Whether it spoke gRPC, and what gRPC's status was.
    pub(crate) grpc: Grpc,
    /// From the request's head to the answer's end.
    pub(crate) duration: Duration,
    /// Bytes of the request's body.
    pub(crate) received: u64,
    /// Bytes of the answer's body.
    pub(crate) sent: u64,
    /// Bytes of the request's head, and of the answer's.
    pub(crate) heads: (u64, u64),
}

/// What gRPC says of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grpc {
    /// It is none of its own.
    #[default]
    No,
    /// It is, and ended without a status.
    Unknown,
    /// Its status, one that gRPC knows: 0 to 16.
    Status(u8),
}

impl Ended {
    /// One that was answered here, before it was looked at.
    pub(crate) fn at_once(status: u16, flags: impl Into<Flags>) -> Self {
        Ended { status, flags: flags.into(), ..Ended::default() }
    }
}
