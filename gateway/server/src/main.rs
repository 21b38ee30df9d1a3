//! `trysail`: an ingress gateway that executes Istio's traffic-management API without a mesh.
//!
//! Rooms by floor, arrows pointing down only; `boot` is the one that names them all.
//!
//! ```text
//! cli
//! demo
//! boot
//! control  admin
//! page
//! health  otlp  status
//! listener  resolver
//! proxy
//! access  trace  board
//! metrics  render  settings  logging  supervisor  upgrade
//! ```

mod access;
mod admin;
mod board;
mod boot;
mod cli;
mod control;
mod demo;
mod explain;
mod health;
mod listener;
mod logging;
mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
mod page;
mod proxy;
mod render;
mod resolver;
mod settings;
mod shards;
mod status;
mod supervisor;
mod tls;
#[cfg(feature = "otlp")]
mod trace;
mod upgrade;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: trysail_malloc::Mimalloc = trysail_malloc::Mimalloc;

fn main() -> ExitCode {
    cli::run()
}
