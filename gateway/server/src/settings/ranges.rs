//! What values settings may have. Each is looked at while it is read, so that an error has the place of the value.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::HeaderValue;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};

use super::units::{Bytes, Span};

/// Reads a text through its `FromStr`, or through a function.
pub(super) struct Text<T, F>(F, PhantomData<T>);

impl<T, F: FnOnce(&str) -> Result<T, String>> Visitor<'_> for Text<T, F> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

/// Reads a text; the error is of its place.
pub(super) fn text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(Text(read, PhantomData))
}

/// A whole number from `LEAST` to `MOST`.
struct Number<const LEAST: usize, const MOST: usize>;

impl<const LEAST: usize, const MOST: usize> Visitor<'_> for Number<LEAST, MOST> {
    type Value = usize;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {LEAST} to {MOST}")
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<usize, E> {
        let fits = usize::try_from(number).ok().filter(|number| (LEAST..=MOST).contains(number));
        fits.ok_or_else(|| E::custom(format!("{number} is not within {LEAST} to {MOST}")))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<usize, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

/// A whole number from `LEAST` to `MOST`.
pub(super) fn number<'de, D: Deserializer<'de>, const LEAST: usize, const MOST: usize>(
    deserializer: D,
) -> Result<usize, D::Error> {
    deserializer.deserialize_u64(Number::<LEAST, MOST>)
}

/// The longest time that can be set; no clock of ours overflows with it.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A time, or none at all.
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    text(deserializer, |text| {
        let span: Span = text.parse()?;
        if span.0 > LONGEST { Err(format!("{text} is over 100 years (876000h)")) } else { Ok(span) }
    })
}

/// A time over zero.
pub(super) fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    text(deserializer, |text| {
        let span: Span = text.parse()?;
        match span.0 {
            Duration::ZERO => Err(format!("{text} is no time; it takes at least 1ms")),
            time if time > LONGEST => Err(format!("{text} is over 100 years (876000h)")),
            _ => Ok(span),
        }
    })
}

/// A size over zero.
pub(super) fn some_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    text(deserializer, |text| {
        let size: Bytes = text.parse()?;
        if size.0 == 0 { Err(format!("{text} is no size; it takes at least 1B")) } else { Ok(size) }
    })
}

/// Kubernetes' name of a namespace: RFC 1123's label.
pub(super) fn namespace<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text(deserializer, |text| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let sound = (1..=63).contains(&text.len())
            && text.bytes().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        match sound {
            true => Ok(text.to_owned()),
            false => {
                Err(format!("{text:?} is not the name of a namespace: up to 63 of a-z, 0-9 and - within"))
            }
        }
    })
}

/// `region/zone/subzone`, or the first of them, or nothing.
pub(super) fn locality<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text(deserializer, |text| {
        let parts: Vec<&str> = text.split('/').collect();
        let sound = text.is_empty() || (parts.len() <= 3 && parts.iter().all(|part| !part.is_empty()));
        if sound { Ok(text.to_owned()) } else { Err(format!("{text:?} is not region/zone/subzone")) }
    })
}

/// An IP address.
pub(super) fn ip<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    text(deserializer, |text| {
        text.parse().map_err(|_| format!("{text:?} is not an IP address; write 0.0.0.0, 127.0.0.1 or '::'"))
    })
}

/// An IP address with a port.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    text(deserializer, |text| {
        text.parse().map_err(|_| {
            format!("{text:?} is not an IP address with a port; write 127.0.0.1:15000 or '[::1]:15000'")
        })
    })
}

/// Several of them.
pub(super) fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    struct One(SocketAddr);
    impl<'de> Deserialize<'de> for One {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            address(deserializer).map(One)
        }
    }
    Ok(Vec::<One>::deserialize(deserializer)?.into_iter().map(|One(address)| address).collect())
}

/// The path of a directory.
pub(super) fn directory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    text(deserializer, |text| match text.contains('\0') || text.is_empty() {
        true => Err(format!("{text:?} is not a path")),
        false => Ok(PathBuf::from(text)),
    })
}

/// The path of a file, or none.
pub(super) fn file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    struct Named(PathBuf);
    impl<'de> Deserialize<'de> for Named {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            directory(deserializer).map(Named)
        }
    }
    Ok(Option::<Named>::deserialize(deserializer)?.map(|Named(path)| path))
}

/// A text that can be a field's value.
pub(super) fn field_value(text: &str) -> Result<String, String> {
    match HeaderValue::from_str(text) {
        Ok(_) if text.is_ascii() => Ok(text.to_owned()),
        _ => Err(format!("{text:?} can't stand in a header field: write printable ASCII")),
    }
}

/// The port map; a port that is opened may be 0, one that a Gateway names may not, nor be there twice.
pub(super) fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<u16, u16>, D::Error> {
    struct Named(u16);
    impl<'de> Deserialize<'de> for Named {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            number::<D, 1, 65_535>(deserializer).map(|port| Named(port as u16))
        }
    }
    struct Opened(u16);
    impl<'de> Deserialize<'de> for Opened {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            number::<D, 0, 65_535>(deserializer).map(|port| Opened(port as u16))
        }
    }
    struct Map;
    impl<'de> Visitor<'de> for Map {
        type Value = BTreeMap<u16, u16>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of ports")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut ports = BTreeMap::new();
            while let Some((Named(from), Opened(to))) = access.next_entry::<Named, Opened>()? {
                if ports.insert(from, to).is_some() {
                    return Err(A::Error::custom(format!("port {from} is there twice")));
                }
            }
            Ok(ports)
        }
    }
    deserializer.deserialize_map(Map)
}

/// Reads a value of one of the units.
pub(super) fn unit<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(
    deserializer: D,
) -> Result<T, D::Error> {
    text(deserializer, str::parse)
}
