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
//! metrics  render  settings  logging
//! ```

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
mod settings;
mod tls;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
