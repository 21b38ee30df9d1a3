//! HTTPFaultInjection → what is drawn for each request.

use super::handling::percent;
use crate::origin::At;
use crate::snapshot::{Abort, Chance, Fault};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{Abort as WrittenAbort, Delay, Fault as Written};

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
        sink.schema(written.pos, "a fault needs a delay or an abort".into());
    }
    let delay = delay.as_ref().and_then(|delay| {
        let Delay { fixed_delay, exponential_delay, percent: whole, percentage } = &delay.value;
        if let Some(exponential) = exponential_delay {
            sink.schema(exponential.pos, "exponentialDelay is not executed by Istio either".into());
        }
        let Some(time) = fixed_delay else {
            if exponential_delay.is_none() {
                sink.schema(delay.pos, "a delay needs fixedDelay".into());
            }
            return None;
        };
        let chance = match (percentage, whole) {
            (None, Some(whole)) => super::handling::whole_percent(whole, sink),
            (percentage, _) => percent(percentage.as_ref(), sink).unwrap_or_default(),
        };
        Some((chance, time.value))
    });
    let abort = abort.as_ref().and_then(|abort| {
        let WrittenAbort { http_status, grpc_status, http2_error, percentage } = &abort.value;
        let kind = match (http_status, grpc_status, http2_error) {
            (Some(status), None, None) => http(status, sink)?,
            (None, Some(status), None) => grpc(status, sink)?,
            (None, None, Some(error)) => {
                sink.schema(error.pos, "http2Error is not executed by Istio either".into());
                return None;
            }
            _ => {
                sink.schema(abort.pos, "an abort needs one of httpStatus and grpcStatus".into());
                return None;
            }
        };
        Some((percent(percentage.as_ref(), sink).unwrap_or_default(), kind))
    });
    let happens = |chance: &Chance| !chance.is_never();
    let fault = Fault {
        delay: delay.filter(|(chance, _)| happens(chance)),
        abort: abort.filter(|(chance, _)| happens(chance)),
    };
    (fault != Fault::default()).then_some(fault)
}

/// Istio's validation admits 600, which no client understands.
fn http(status: &At<i64>, sink: &mut Sink<'_>) -> Option<Abort> {
    let code = u16::try_from(status.value).ok().filter(|code| (200..600).contains(code));
    if code.is_none() {
        sink.schema(status.pos, format!("httpStatus {} is not within 200 to 599", status.value));
    }
    code.map(Abort::Http)
}

fn grpc(status: &At<String>, sink: &mut Sink<'_>) -> Option<Abort> {
    let number = GRPC.iter().position(|name| *name == status.value).and_then(|n| u8::try_from(n).ok());
    if number.is_none() {
        let meant = crate::nearest::nearest(status, GRPC).map(|near| format!("; did you mean {near}?"));
        let message = format!("{:?} is no status of gRPC{}", status.value, meant.unwrap_or_default());
        sink.schema(status.pos, message).hints.push(format!("it is one of {}", GRPC.join(", ")));
    }
    number.map(Abort::Grpc)
}
