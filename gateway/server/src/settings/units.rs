//! Values as people write them: `10s`, `64KiB`, `80=8080`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::Deserializer;

use super::template::Template;
use super::tracing::Endpoint;

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

/// A share of a whole as people write it: `100%`, `2.5%`; kept in millionths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(u32);

impl Share {
    /// All of it.
    pub(crate) const ALL: Share = Share(1_000_000);

    /// So many of a hundred.
    pub(super) const fn percent(percent: u32) -> Share {
        Share(percent * 10_000)
    }

    /// Whether the nth of many is in it. Of as many as one likes in a row, whichever they are, the share is met within
    /// two or three, and without a rhythm that requests might have too: multiples of the golden ratio fill a range as
    /// evenly as can be.
    pub(crate) fn takes(self, nth: u64) -> bool {
        let place = nth.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self == Share::ALL || u128::from(place) * 1_000_000 < u128::from(self.0) << 64
    }
}

impl FromStr for Share {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let percent: f64 = text.strip_suffix('%')?.trim_end().parse().ok()?;
            (0.0..=100.0).contains(&percent).then(|| Share((percent * 10_000.0).round() as u32))
        };
        read().ok_or(format!("{text:?} is not a share; write 100%, 10% or 0.5%"))
    }
}

/// A range of addresses as people write it: `10.0.0.0/8`, `::1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl FromStr for Cidr {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let read = || {
            let address: IpAddr = address.parse().ok()?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(longest), |bits| bits.parse().ok())?;
            (bits <= longest).then_some(Cidr { address, bits })
        };
        read().ok_or(format!("{text:?} is not a range of addresses; write 10.0.0.0/8 or 127.0.0.1"))
    }
}

impl Cidr {
    /// Whether an address lies in it. One of IPv4 is the same where it is written as one of IPv6.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let bits = |address| match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, true),
            IpAddr::V6(address) => (address.to_bits(), false),
        };
        let (own, four) = bits(self.address);
        let (other, also_four) = bits(address.to_canonical());
        let ignored = 128 - u32::from(self.bits);
        four == also_four && (ignored == 128 || own >> ignored == other >> ignored)
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
                super::ranges::unit(deserializer)
            }
        }
    )*};
}
from_text!(Span Bytes Cidr Share Template Endpoint);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_met() {
        for (text, of, least, most) in [
            ("100%", 1000, 1000, 1000),
            ("0%", 1000, 0, 0),
            ("10%", 1000, 97, 103),
            ("2.5 %", 1000, 23, 28),
            ("50%", 10, 4, 6),
        ] {
            let share: Share = text.parse().unwrap();
            for from in [0, 1, 12_345, u64::MAX - of] {
                let taken = (from..from + of).filter(|nth| share.takes(*nth)).count();
                assert!((least..=most).contains(&taken), "{text} of {of} from {from}: {taken}");
            }
        }
        for wrong in ["10", "101%", "-1%", "%", "NaN%", "ten%"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_of_addresses() {
        for (range, address, inside) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "::1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("fd00::/8", "fd12::1", true),
            ("::/0", "::1", true),
        ] {
            let range: Cidr = range.parse().unwrap();
            assert_eq!(range.contains(address.parse().unwrap()), inside, "{range:?} {address}");
        }
        for wrong in ["10.0.0.0/33", "10.0.0/8", "host", "::1/129", "10.0.0.0/x", ""] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }
}
