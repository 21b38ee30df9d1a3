//! What lies in `kubernetes/`: the chart as helm renders it and the plain manifests, held against the program that they start.
//!
//! helm is asked by the path in `TRYSAIL_HELM`, else by its name. Where there is none its tests say so and pass; with
//! `CI=true` they fail.

#[expect(dead_code, reason = "written for the other end-to-end tests, of which these need a part")]
#[path = "../it/gateway.rs"]
mod gateway;
mod helm;

mod image;
mod plain;
mod pod;
mod shapes;
mod values;
