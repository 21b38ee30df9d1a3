//! Values that several fields share: Istio's schema and validation, value by value.

use std::net::IpAddr;
use std::time::Duration;

use crate::diagnostic::{Code, Severity};
use crate::origin::{At, Pos};
use crate::snapshot::{Chance, Reference};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::Percent;

/// Istio `ValidateDuration`: at least 1ms, and whole milliseconds.
pub(super) fn duration(written: Option<&At<Duration>>, sink: &mut Sink<'_>) -> Option<Duration> {
    let written = written?;
    let fault = if written.value < Duration::from_millis(1) {
        "under 1ms"
    } else if !written.subsec_nanos().is_multiple_of(1_000_000) {
        "not whole milliseconds"
    } else {
        return Some(written.value);
    };
    // Rust writes no time at all as `0ns`; people do not.
    let said = if written.is_zero() { "0s".to_owned() } else { format!("{:?}", written.value) };
    sink.schema(written.pos, format!("a duration of {said} is {fault}"));
    None
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

/// A percentage as written; `None` where there is none. A block without a value says 0, and what can't be never
/// happens.
pub(super) fn percent(written: Option<&At<Percent>>, sink: &mut Sink<'_>) -> Option<Chance> {
    let Percent { value } = &written?.value;
    Some(share(value.as_ref(), 100.0, sink).and_then(Chance::percent).unwrap_or_default())
}

/// A percentage of the deprecated kind, in whole percent.
pub(super) fn whole_percent(
    written: Option<&At<i64>>,
    name: &str,
    instead: &str,
    sink: &mut Sink<'_>,
) -> Option<Chance> {
    deprecated(&format!("{name:?}"), &format!("{instead:?}"), written?.pos.back(1), sink);
    let percent = number(written, 100, sink).map(f64::from);
    Some(percent.and_then(Chance::percent).unwrap_or_default())
}

/// Istio `ValidateIPSubnet`: an address, or one with the length of its prefix.
pub(super) fn subnet(written: &At<String>, sink: &mut Sink<'_>) {
    let (address, length) = written.split_once('/').unwrap_or((written, "0"));
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => Some(32),
        Ok(IpAddr::V6(_)) => Some(128),
        Err(_) => None,
    };
    if most.zip(length.parse::<u8>().ok()).is_none_or(|(most, length)| length > most) {
        sink.schema(written.pos, format!("{:?} is neither an address nor a subnet", written.value));
    }
}

/// A text in quotes, the beginning of a long one: nobody reads the rest in a message.
pub(super) fn quoted(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
    }
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
pub(super) fn warn(message: impl Into<String>, pos: Pos, sink: &mut Sink<'_>) {
    sink.add(Severity::Warning, Code::SCHEMA_WARNING, pos, message.into());
}

/// A file or credential that is named.
pub(super) fn reference(written: &At<String>) -> Reference {
    Reference { name: written.as_str().into(), place: written.pos.place() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_the_beginning_is_quoted() {
        assert_eq!(quoted("a\"b"), r#""a\"b""#);
        assert_eq!(quoted(&"é".repeat(81)), format!("\"{}\"…", "é".repeat(80)));
        assert_eq!(quoted(&"é".repeat(80)), format!("\"{}\"", "é".repeat(80)));
    }
}
