//! `trysail`: an ingress gateway that executes Istio's traffic-management API without a mesh.
//!
//! Rooms by floor, arrows pointing down only; `boot` is the one that names them all.
//!
//! ```text
//! cli
//! demo
//! boot
//! control  admin
//! health
//! listener  resolver
//! proxy
//! access
//! metrics  render  settings  logging  supervisor
//! sanitise
//! ```

mod access;
mod admin;
mod boot;
mod cli;
mod control;
mod demo;
mod explain;
mod health;
mod listener;
mod logging;
mod metrics;
mod proxy;
mod render;
mod resolver;
mod sanitise;
mod settings;
mod supervisor;
mod tls;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
