//! The cluster as a source: what a Kubernetes API server says, as the documents that files give, and what is found wrong
//! with them, written back.
//!
//! ```text
//! API server ─list, watch─▶ follow ─▶ cut ─▶ held ─settle─▶ whoever compiles
//!                             └▶ standing: who is heard, and who is not       report, lease ─▶ API server
//! ```
//! Each kind is followed alone, so that one that may not be read, or is not there, stops no other. What was heard stays
//! until the API server says otherwise: that it is gone for an hour changes no traffic.

#[cfg(feature = "client")]
mod api;
#[cfg(not(feature = "client"))]
#[path = "no_api.rs"]
mod api;
mod cluster;
mod connect;
mod cut;
mod follow;
mod held;
mod kind;
mod lease;

mod pace;
#[cfg_attr(not(feature = "client"), expect(dead_code, reason = "nobody is there who could answer"))]
mod question;
mod report;

mod standing;

pub use cluster::{Cluster, Options, Timing};
pub use connect::Connection;
pub use held::{Entry, Facts, Key, Secret, View};
pub use kind::Kind;
pub use question::{NotConnected, Whence};
pub use report::{Judgement, Message, Verdict};

pub use standing::{Line, Standing, Totals};
