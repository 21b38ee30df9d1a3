//! Which endpoint, and is it fit? State that lives longer than a snapshot, and the choices made by it.
//!
//! Sans-IO: time and chance come in as arguments; the server connects, measures and tells. A snapshot's dense
//! ids index everything here, so a request finds its state without looking anything up.

pub mod balance;
mod endpoint;
pub mod health;
mod held;
pub mod limits;
pub mod outlier;
pub mod retry;
mod state;
mod ticket;

pub use endpoint::{Active, EndpointState, Health, State};
pub use held::Held;
pub use state::{ClusterState, Upstreams};
pub use ticket::Ticket;
