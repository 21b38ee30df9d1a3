//! A body in chunks that is let through is one body to a reader that forgives nothing, however it is cut into packets.

use trysail_edge::Reason;
use trysail_edge::chunks::Chunks;

pub(crate) fn hold(bytes: &[u8]) {
    let whole = Chunks::default().take(bytes);
    let (mut chunks, mut used, mut pieces) = (Chunks::default(), 0, Ok(false));
    for byte in bytes {
        pieces = chunks.take(&[*byte]);
        if !matches!(pieces, Ok(false)) {
            break;
        }
        used += 1;
    }
    assert_eq!(whole, pieces, "cut into pieces it is another");
    match whole {
        Ok(true) => {
            let body = bytes.get(..=used).expect("it ended within what came");
            let end = plain(body).expect("a body that is let through is one");
            assert_eq!(end, body.len(), "it ends elsewhere");
        }
        Ok(false) => {}
        Err(reason) => assert_eq!(reason, Reason::Chunk),
    }
}

/// Where a body ends, as RFC 9112 7.1 has it and no more.
fn plain(bytes: &[u8]) -> Option<usize> {
    let line = |at: usize| {
        let rest = bytes.get(at..)?;
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        Some((std::str::from_utf8(rest.get(..end)?).unwrap_or("\u{fffd}"), at + end + 2))
    };
    let mut at = 0;
    loop {
        let rest = bytes.get(at..)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = u64::from_str_radix(std::str::from_utf8(rest.get(..digits)?).ok()?, 16).ok()?;
        if !matches!(rest.get(digits), Some(b'\r' | b';')) {
            return None;
        }
        (_, at) = line(at)?;
        if size == 0 {
            break;
        }
        at = at.checked_add(usize::try_from(size).ok()?)?;
        if bytes.get(at..at.checked_add(2)?) != Some(b"\r\n") {
            return None;
        }
        at += 2;
    }
    loop {
        let (trailer, next) = line(at)?;
        at = next;
        match trailer {
            "" => return Some(at),
            trailer if trailer.contains(':') || trailer == "\u{fffd}" => {}
            _ => return None,
        }
    }
}
