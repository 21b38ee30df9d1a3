//! `mirror` and `mirrors`: copies of requests for other destinations.

use super::values;
use crate::origin::At;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{Destination, MirrorPolicy, Percent};

pub(super) fn check(
    mirror: Option<&At<Box<Destination>>>,
    mirrors: &[At<MirrorPolicy>],
    percentage: Option<&At<Percent>>,
    sink: &mut Sink<'_>,
) {
    if let Some(destination) = mirror {
        values::destination(destination, sink);
    }
    for MirrorPolicy { destination, percentage } in mirrors.iter().map(|at| &at.value) {
        values::destination(destination, sink);
        if let Some(percentage) = percentage {
            values::share(percentage, sink);
        }
    }
    if let Some(percentage) = percentage {
        values::share(percentage, sink);
    }
}
