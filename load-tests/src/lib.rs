//! Loads for the whole process: what is asked, who serves it, and how the servers are compared.
//!
//! ```text
//! scenario      what is asked and what must come back        table   many routes, of which the last is asked for
//! wire, tls     what is spoken on the two sides, and with which certificate
//! peer          who serves it: trysail, bare, others; each writes its own configuration
//! yard          where they run, with folders and processors of their own
//! process       a child: pinned, started, heard, its CPU time read
//! load, origin  the two ends of the wire
//! rounds        alternating rounds over all peers       instructions   the same under callgrind
//! figures       latency at a fixed rate, idle memory: of another kind, each by its own file
//! train         what an instrumented build is sent, which `packaging/pgo` builds anew by what it counted
//! changes       what edits and scrapes cost those that are served meanwhile
//! stats, report medians, paired ratios, the page and the JSON      machine   what it ran on
//! ```
//!
//! The binary `bench` is the driver, `instructions` the gate. A new peer is a file in `peer`, a new scenario a constant in `scenario`.

pub mod changes;
pub mod cpus;
pub mod figures;
pub mod idle;
pub mod instructions;
pub mod latency;
pub mod load;
pub mod machine;
pub mod origin;
pub mod peer;
pub mod process;
pub mod report;
pub mod rounds;
pub mod scenario;
pub mod stats;
pub mod table;
mod tls;
pub mod train;
pub mod wire;
pub mod yard;
