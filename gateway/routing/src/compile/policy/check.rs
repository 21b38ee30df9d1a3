//! What values of a traffic policy may be: Istio's schema and validation, value by value.

use std::time::Duration;

use crate::diagnostic::{Code, Severity};
use crate::origin::{At, Pos};
use crate::wire::sink::Sink;

/// Istio `ValidateDuration`: at least 1ms, and whole milliseconds.
pub(super) fn duration(written: Option<&At<Duration>>, sink: &mut Sink<'_>) -> Option<Duration> {
    let written = written?;
    let nanoseconds = written.subsec_nanos();
    if written.value < Duration::from_millis(1) {
        sink.schema(written.pos, format!("a duration of {:?} is under 1ms", written.value));
        return None;
    }
    if !nanoseconds.is_multiple_of(1_000_000) {
        sink.schema(written.pos, format!("a duration of {:?} is not whole milliseconds", written.value));
        return None;
    }
    Some(written.value)
}

/// The same, or zero.
pub(super) fn duration_or_zero(written: Option<&At<Duration>>, sink: &mut Sink<'_>) -> Option<Duration> {
    match written {
        Some(At { value: Duration::ZERO, .. }) => Some(Duration::ZERO),
        written => duration(written, sink),
    }
}

/// A whole number from 0 to `most`.
pub(super) fn number(written: Option<&At<i64>>, most: u32, sink: &mut Sink<'_>) -> Option<u32> {
    within(written, 0, most, sink)
}

/// A whole number from `least` to `most`.
pub(super) fn within(written: Option<&At<i64>>, least: u32, most: u32, sink: &mut Sink<'_>) -> Option<u32> {
    let written = written?;
    let number = u32::try_from(written.value).ok().filter(|number| (least..=most).contains(number));
    if number.is_none() {
        sink.schema(written.pos, format!("{} is not within {least} to {most}", written.value));
    }
    number
}

/// A number from 0 to `most`.
pub(super) fn share(written: Option<&At<f64>>, most: f64, sink: &mut Sink<'_>) -> Option<f64> {
    let written = written?;
    let sound = (0.0..=most).contains(&written.value);
    if !sound {
        let wanted = if most.is_finite() { format!("within 0 to {most}") } else { "0 or more".to_owned() };
        sink.schema(written.pos, format!("{} is not {wanted}", written.value));
    }
    sound.then_some(written.value)
}

/// Reports every field but one of those that exclude each other; at most one may be there.
pub(super) fn one_of(fields: &[(&str, Option<Pos>)], sink: &mut Sink<'_>) {
    let mut written = fields.iter().filter_map(|(name, pos)| Some((name, (*pos)?)));
    if let (Some((first, _)), Some((second, pos))) = (written.next(), written.next()) {
        sink.schema(pos, format!("\"{first}\" and \"{second}\" exclude each other"));
    }
}

/// A field that Istio has replaced by another.
pub(super) fn deprecated(name: &str, instead: &str, pos: Pos, sink: &mut Sink<'_>) {
    sink.add(Severity::Warning, Code::DEPRECATED, pos, format!("{name} is deprecated"))
        .hints
        .push(format!("write {instead} in its place"));
}

/// What Istio's validation warns of.
pub(super) fn warn(message: &str, pos: Pos, sink: &mut Sink<'_>) {
    sink.add(Severity::Warning, Code::SCHEMA_WARNING, pos, message.to_owned());
}
