//! One process takes another's place without a port ever being closed: what they say to each other, and what whoever
//! asks for it is told. Who waits for what, and who serves meanwhile, is `boot`'s business.
//!
//! ```text
//! trysail upgrade ──socket──▶ former ──starts──▶ launcher ──starts──▶ successor      (the launcher ends at once)
//!                                │◀────────────── Here ────────────────── │
//!                                │ ─────────── Sockets, descriptors ────▶ │  reads, compiles, binds what is new
//!                                │◀────────────── Ready ───────────────── │
//!                                │ ─────────────  Accept ───────────────▶ │  both accept
//!                                │◀──────────── Accepting ─────────────── │
//!             MAINPID=successor  │ ─────────────  Yours ────────────────▶ │  speaks to the service manager
//!                                ▼ drains
//! ```
//! Up to `Accept` the successor has served nobody, so that whatever becomes of it is no loss. The two speak over a pair
//! of sockets that only they have. The launcher is there so that the successor is a child of whoever takes in orphans,
//! which is the service manager: else it would not see it die. Decision 0043 has the reasons.

mod channel;
mod door;
mod former;
mod successor;

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

pub(crate) use door::{Ask, Caller, Door, Told, socket_in};
pub(crate) use former::{Former, Stage};
pub(crate) use successor::{Program, Successor};

/// The version of what is said here. A process of another one is not handed anything.
const FORMAT: u32 = 1;

/// What a process was started as: by hand it is not set.
const STAGE: &str = "TRYSAIL_UPGRADE";

/// One message between the two. What a later version adds is passed over by an earlier one.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "is", rename_all = "camelCase")]
enum Message {
    /// Successor: this is who I am.
    Here { format: u32, process: u32, version: String },
    /// Former: these are the sockets, one descriptor for each; `more` of them follow.
    Sockets { process: u32, version: String, sockets: Vec<Label>, more: bool },
    /// Successor: all is there, and nothing is accepted yet.
    Ready { revision: String },
    /// Successor: there is nothing to wait for.
    Failed { why: String },
    /// Former: accept.
    Accept,
    /// Successor: I do.
    Accepting,
    /// Former: it is all yours.
    Yours,
    /// Former: end; I go on.
    Abort { why: String },
}

/// What a socket is for.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Label {
    /// A listener as it is written (`80`, `443 on 10.0.0.1`), or `metrics`, `health`, `admin`, `upgrade`.
    pub(crate) what: String,
    /// Whether it is the service manager's, which holds it open whatever we do.
    pub(crate) kept: bool,
}

/// A socket on its way from one process to the other.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) label: Label,
    pub(crate) socket: OwnedFd,
}

/// The label of the socket at which upgrades are asked for.
pub(crate) const UPGRADE: &str = "upgrade";
