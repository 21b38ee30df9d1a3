//! Values as people write them: `10s`, `64KiB`, `80=8080`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// A time as people write it: `500ms`, `10s`, `5m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span(pub(crate) Duration);

/// A size as people write it: `512B`, `64KiB`, `16MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bytes(pub(crate) u64);

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
        let milliseconds =
            with_unit(text, &units).ok_or(format!("{text:?} is not a time; write 500ms, 10s, 5m or 1h"))?;
        Ok(Span(Duration::from_millis(milliseconds)))
    }
}

impl FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
        with_unit(text, &units)
            .map(Bytes)
            .ok_or(format!("{text:?} is not a size; write 512B, 64KiB, 16MiB or 1GiB"))
    }
}

/// A whole number and a unit after it, in the smallest unit.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let number_ends = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(number_ends);
    let (_, size) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*size)
}

/// Reads a text through its `FromStr`.
macro_rules! from_text {
    ($($type:ident)*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}
from_text!(Span Bytes);

/// A part of the port map as the command line says it: `80=8080`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortPair(pub(crate) u16, pub(crate) u16);

impl FromStr for PortPair {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let pair = text.split_once('=').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
        let (from, to) =
            pair.filter(|(from, _)| *from > 0).ok_or(format!("{text:?} is not a port map; write 80=8080"))?;
        Ok(PortPair(from, to))
    }
}

impl fmt::Display for PortPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.0, self.1)
    }
}
