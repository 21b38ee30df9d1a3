//! No traces: what stands in for `traced` where the feature `otlp` is off. None of these can be there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use pingora_core::{Error, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use trysail_routing::snapshot::Route;

use super::ctx::Ctx;
use crate::metrics::Ended;

/// Where spans would go.
#[derive(Clone)]
pub(crate) enum Traces {}

/// A request that would have spans.
pub(super) struct Traced(Traces);

impl Traced {
    pub(super) fn of(traces: &Traces, _: &mut Session, _: SystemTime, _: &'static str) -> Option<Box<Self>> {
        match *traces {}
    }

    pub(super) fn took(&mut self, _: &Arc<Route>) {
        match self.0 {}
    }

    pub(super) fn begin(&mut self, _: u32, _: SocketAddr) {
        match self.0 {}
    }

    pub(super) fn put(&self, _: &mut RequestHeader) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn answered(&mut self, _: u16) {
        match self.0 {}
    }

    pub(super) fn failed(&mut self, _: &Error) {
        match self.0 {}
    }

    pub(super) fn tell(self, _: &Ctx, _: &Ended) {
        match self.0 {}
    }
}
