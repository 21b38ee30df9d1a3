//! Which destination? Istio's objects, compiled into a snapshot, and the decision for a request.
pub mod diagnostic;
pub mod origin;
