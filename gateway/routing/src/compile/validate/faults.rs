//! `fault`: delays and errors made on purpose.

use super::super::support::Written;
use super::{deprecated, values, warn};
use crate::nearest::nearest;
use crate::origin::At;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{Abort, Delay, Fault};

pub(super) fn check(fault: &At<Box<Fault>>, sink: &mut Sink<'_>) {
    let Fault { delay, abort } = &*fault.value;
    if delay.is_none() && abort.is_none() {
        sink.schema(fault.pos, "a fault needs a delay, an abort or both".into());
    }
    if let Some(delay) = delay {
        check_delay(delay, sink);
    }
    if let Some(abort) = abort {
        check_abort(abort, sink);
    }
}

fn check_delay(delay: &Delay, sink: &mut Sink<'_>) {
    let Delay { fixed_delay, exponential_delay, percent, percentage } = delay;
    if let Some(fixed) = fixed_delay {
        values::duration(fixed, sink);
    }
    if let Some(key) = exponential_delay.key() {
        sink.schema(key, "\"exponentialDelay\" is not supported by Istio; use \"fixedDelay\"".into());
    }
    if let (Some(percent), Some(key)) = (percent, percent.key()) {
        if !(0..=100).contains(&percent.value) {
            sink.schema(percent.pos, format!("{} is not within 0 to 100", percent.value));
        }
        deprecated(key, "percent", "percentage", sink);
    }
    if let Some(percentage) = percentage {
        values::percentage(percentage, sink);
    }
}

fn check_abort(abort: &At<Abort>, sink: &mut Sink<'_>) {
    let Abort { http_status, grpc_status, http2_error, percentage } = &abort.value;
    if let Some(key) = http2_error.key() {
        sink.schema(key, "\"http2Error\" is not supported by Istio; use \"httpStatus\"".into());
    }
    match (http_status, grpc_status) {
        (None, None) if http2_error.is_none() => {
            warn(abort.pos, "an abort without httpStatus or grpcStatus aborts nothing".into(), sink);
        }
        (Some(_), Some(status)) => {
            sink.schema(status.pos.back(1), "httpStatus and grpcStatus exclude each other".into());
        }
        _ => {}
    }
    // Istio's validation takes 600 too, which is no status.
    if let Some(status) = http_status.as_ref().filter(|status| !(200..=599).contains(&status.value)) {
        sink.schema(status.pos, format!("status {} is not within 200 to 599", status.value));
    }
    if let Some(status) = grpc_status.as_ref().filter(|status| !GRPC.contains(&status.as_str())) {
        let meant = nearest(status, GRPC).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        sink.schema(status.pos, format!("{:?} is not a status of gRPC{meant}", status.value))
            .hints
            .push(format!("it is one of {}", GRPC.join(", ")));
    }
    if let Some(percentage) = percentage {
        values::percentage(percentage, sink);
    }
}

/// The names of gRPC's statuses, as Istio takes them.
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
