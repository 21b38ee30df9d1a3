//! HTTPFaultInjection → what is drawn for each request.

use std::time::Duration;

use super::support::Written as _;
use super::values::{duration, one_of, percent, warn, whole_percent, within};
use crate::nearest::nearest;
use crate::origin::At;
use crate::snapshot::{Abort, Chance, Fault};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{Abort as WrittenAbort, Delay, Fault as Written, Percent};

/// gRPC's statuses, by number.
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

/// Compiles a fault; `None` where it never happens. Istio: no percentage is 0 %.
pub(super) fn compile(written: &At<Box<Written>>, sink: &mut Sink<'_>) -> Option<Fault> {
    let Written { delay, abort } = &*written.value;
    if delay.is_none() && abort.is_none() {
        sink.schema(written.pos, "a fault needs a delay, an abort or both".into());
    }
    let fault = Fault {
        delay: delay.as_ref().and_then(|delay| compile_delay(delay, sink)),
        abort: abort.as_ref().and_then(|abort| compile_abort(abort, sink)),
    };
    (fault != Fault::default()).then_some(fault)
}

fn compile_delay(written: &At<Delay>, sink: &mut Sink<'_>) -> Option<(Chance, Duration)> {
    let Delay { fixed_delay, exponential_delay, percent: whole, percentage } = &written.value;
    if let Some(key) = exponential_delay.key() {
        sink.schema(key, "\"exponentialDelay\" is not supported by Istio; use \"fixedDelay\"".into());
    } else if fixed_delay.is_none() {
        sink.schema(written.pos, "a delay needs fixedDelay".into());
    }
    let whole = whole_percent(whole.as_ref(), "percent", "percentage", sink);
    let chance = sampled(percentage.as_ref(), sink);
    let time = duration(fixed_delay.as_ref(), sink)?;
    let chance = if percentage.is_some() { chance } else { whole };
    Some((chance.filter(|chance| !chance.is_never())?, time))
}

fn compile_abort(written: &At<WrittenAbort>, sink: &mut Sink<'_>) -> Option<(Chance, Abort)> {
    let WrittenAbort { http_status, grpc_status, http2_error, percentage } = &written.value;
    if let Some(key) = http2_error.key() {
        sink.schema(key, "\"http2Error\" is not supported by Istio; use \"httpStatus\"".into());
    }
    // Istio's validation takes 600 too, which is no status.
    let http = within(http_status.as_ref(), 200, 599, sink).and_then(|code| u16::try_from(code).ok());
    let grpc = grpc_status.as_ref().and_then(|status| grpc(status, sink));
    let chance = sampled(percentage.as_ref(), sink);
    match (http_status, grpc_status) {
        (None, None) if http2_error.is_none() => {
            warn("an abort without httpStatus or grpcStatus aborts nothing", written.pos, sink);
        }
        (Some(_), Some(_)) => {
            one_of(&[("httpStatus", http_status.key()), ("grpcStatus", grpc_status.key())], sink);
            return None;
        }
        _ => {}
    }
    Some((chance.filter(|chance| !chance.is_never())?, http.map(Abort::Http).or(grpc)?))
}

/// Istio `validatePercentage`: 0, or 0.0001 to 100. Envoy samples in millionths.
fn sampled(written: Option<&At<Percent>>, sink: &mut Sink<'_>) -> Option<Chance> {
    let value = written?.value.value.as_ref();
    if let Some(value) = value.filter(|value| value.value != 0.0 && !(0.0001..=100.0).contains(&value.value))
    {
        sink.schema(value.pos, format!("{} is neither 0 nor within 0.0001 to 100", value.value));
        return None;
    }
    percent(written, sink)
}

fn grpc(status: &At<String>, sink: &mut Sink<'_>) -> Option<Abort> {
    let number = GRPC.iter().position(|name| *name == status.value).and_then(|n| u8::try_from(n).ok());
    if number.is_none() {
        let meant = nearest(status, GRPC).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        sink.schema(status.pos, format!("{:?} is not a status of gRPC{meant}", status.value))
            .hints
            .push(format!("it is one of {}", GRPC.join(", ")));
    }
    number.map(Abort::Grpc)
}
