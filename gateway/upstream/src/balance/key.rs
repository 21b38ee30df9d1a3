//! From what a request carries to the number that is looked up on a ring. As Envoy does it, bit by bit.

use super::xxh64::xxh64;

/// The key of a header field's values; `None` where there is none. Several are sorted and hashed together, so
/// their order is of no importance.
pub fn of_values<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> Option<u64> {
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(xxh64(first, 0)) };
    let mut all: Vec<&[u8]> = [first, second].into_iter().chain(values).collect();
    all.sort_unstable();
    Some(all.iter().fold(0, |hash, value| xxh64(value, hash)))
}

/// The key of one value.
pub fn of_value(value: &[u8]) -> u64 {
    xxh64(value, 0)
}

/// The value of a cookie among the `cookie` fields, without quotes; `None` for none, or an empty one.
pub fn cookie<'c>(fields: impl Iterator<Item = &'c [u8]>, name: &str) -> Option<&'c [u8]> {
    let pairs = fields.flat_map(|field| field.split(|&byte| byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let middle = pair.iter().position(|&byte| byte == b'=')?;
        let (key, value) = pair.split_at(middle);
        (key.trim_ascii() == name.as_bytes()).then(|| value.get(1..).unwrap_or_default().trim_ascii())
    });
    let value = values.next()?;
    let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    (!bare.is_empty()).then_some(bare)
}

/// The value of a cookie for a client that has none: the same for all requests of a connection, which is known
/// by its two addresses.
pub fn new_cookie(client: &str, server: &str) -> String {
    format!("{:016x}", xxh64(format!("{client}{server}").as_bytes(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_any_order_are_one_key() {
        let of = |values: &[&str]| of_values(values.iter().map(|value| value.as_bytes()));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["a"]), Some(of_value(b"a")));
        assert_eq!(of(&["a", "b", "c"]), of(&["c", "a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["a"]));
        assert_eq!(of(&["b", "a"]), Some(xxh64(b"b", xxh64(b"a", 0))));
    }

    #[test]
    fn cookies_are_found() {
        for (fields, value) in [
            (&["user=ann"][..], Some("ann")),
            (&["a=1; user=\"ann\"; user=bob"], Some("ann")),
            (&["a=1", "b=2;user = ann "], Some("ann")),
            (&["user="], None),
            (&["user"], None),
            (&["superuser=ann"], None),
            (&[], None),
            (&["user=\""], Some("\"")),
            (&["user=a=b"], Some("a=b")),
        ] {
            let found = cookie(fields.iter().map(|field| field.as_bytes()), "user");
            assert_eq!(found, value.map(str::as_bytes), "{fields:?}");
        }
        assert_eq!(new_cookie("127.0.0.1:1", "127.0.0.1:80").len(), 16);
    }
}
