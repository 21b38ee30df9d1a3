//! One valid authority: a host and perhaps a port, nothing that two readers could read differently.

/// Whether a text is a host with perhaps a port: a name of letters, digits, `-`, `_` and `.`, or an address.
///
/// RFC 3986 lets a name hold more (`!$&'()*+,;=~` and escapes); no host on a network does, and lists, users and
/// escapes are what proxies disagree about.
pub fn is_valid(authority: &[u8]) -> bool {
    let (host, port) = match authority {
        [b'[', rest @ ..] => match rest.iter().position(|byte| *byte == b']') {
            Some(end) => {
                let (address, after) = rest.split_at(end);
                let text = std::str::from_utf8(address).unwrap_or_default();
                (text.parse::<std::net::Ipv6Addr>().is_ok(), after.get(1..).unwrap_or_default())
            }
            None => return false,
        },
        _ => {
            let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
            let (host, after) = authority.split_at(end);
            (is_name(host), after)
        }
    };
    host && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
}

/// A name of which no label is empty; a dot at its end is the root's.
fn is_name(host: &[u8]) -> bool {
    let (mut good, mut before) = (!host.is_empty() && host.len() <= 255, b'.');
    for byte in host {
        good &= IN_NAMES[usize::from(*byte)] & !(*byte == b'.' && before == b'.');
        before = *byte;
    }
    good
}

static IN_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'_' | b'.');
        byte += 1;
    }
    table
};

/// 1 to 65535, in digits only.
fn is_port(digits: &[u8]) -> bool {
    let value = |sum: u32, digit: &u8| sum * 10 + u32::from(digit - b'0');
    (1..=5).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_digit)
        && (1..=65_535).contains(&digits.iter().fold(0, value))
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn one_host_and_perhaps_a_port() {
        for (authority, valid) in [
            ("shop.test", true),
            ("shop.test.", true),
            ("SHOP.test:8080", true),
            ("shop_1-a.test:1", true),
            ("127.0.0.1:80", true),
            ("[::1]", true),
            ("[2001:db8::1]:443", true),
            ("shop.test:65535", true),
            ("", false),
            (".", false),
            (".shop.test", false),
            ("shop..test", false),
            ("shop.test:", false),
            ("shop.test:0", false),
            ("shop.test:65536", false),
            ("shop.test:+80", false),
            ("shop.test:80:80", false),
            ("shop.test:8o", false),
            ("shop.test:123456", false),
            ("shop.test,evil.test", false),
            ("shop.test evil.test", false),
            ("user@shop.test", false),
            ("shop.test/", false),
            ("shop.test?", false),
            ("shop.test#", false),
            ("shop.test\\", false),
            ("shop%2etest", false),
            ("*", false),
            ("sh\u{f6}p.test", false),
            ("[::1", false),
            ("[::1]80", false),
            ("[]", false),
            ("[::g]", false),
            ("[::1%25eth0]", false),
            ("::1", false),
        ] {
            assert_eq!(is_valid(authority.as_bytes()), valid, "{authority}");
        }
    }
}
