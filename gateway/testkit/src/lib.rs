//! Fakes for tests: origins, clients, loads, child processes, watched folders and case folders.
//!
//! Threads and blocking sockets only, so that a fake shares no runtime, and no bug, with what it tests. It
//! knows nothing of the other crates: tests of any floor may use it. Faults of the test's own ground (no
//! loopback port, a full disk, a row that cannot be read) panic; what the thing under test may do wrong is an
//! `io::Result`.

pub mod browser;
pub mod case;
pub mod client;
pub mod dns;
pub mod fleet;
pub mod folder;
pub mod frames;
pub mod h2;
pub mod kubernetes;
pub mod load;
mod message;
pub mod origin;
pub mod process;
pub mod raw;
pub mod recorder;
pub mod tls;
pub mod wait;
