//! What lies in `dashboards/`: panels, rules and alerts, and other people's queries, asked of a running gateway by
//! Debian's own Prometheus.
//!
//! Where Prometheus is not installed its tests say so and pass; with `CI=true` they fail.

mod board;
mod busy;
#[expect(dead_code, reason = "written for the other end-to-end tests, of which these need a part")]
#[path = "../it/gateway.rs"]
mod gateway;
mod prometheus;
mod words;

mod alerts;
mod found;
mod names;
mod shape;
