//! Seeds that are changed at random places.

const PIECES: [&[u8]; 24] = [
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b"\0",
    b",",
    b":",
    b"@",
    b"/",
    b"..",
    b"%2e",
    b"%00",
    b"%",
    b";",
    b"\\",
    b"\xff",
    b"0",
    b"Host: c\r\n",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: x\r\n",
    b"http://",
    b"\r\n\r\n",
];

/// The seed whose turn it is, changed at one to four places: bytes left out, replaced, doubled, put in, or the rest of another
/// seed in their place.
///
/// # Panics
///
/// When there is no seed.
pub fn mutate(seeds: &[Vec<u8>], turn: usize, chance: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = seeds[turn % seeds.len()].clone();
    for _ in 0..chance.usize(1..=4) {
        let at = chance.usize(..=bytes.len());
        match chance.u8(..5) {
            0 if at < bytes.len() => drop(bytes.remove(at)),
            1 if at < bytes.len() => bytes[at] = chance.u8(..),
            2 => bytes.extend_from_within(at..),
            3 => {
                let other = &seeds[chance.usize(..seeds.len())];
                let from = chance.usize(..=other.len());
                drop(bytes.splice(at.., other[from..].iter().copied()));
            }
            _ => drop(bytes.splice(at..at, PIECES[chance.usize(..PIECES.len())].iter().copied())),
        }
    }
    bytes
}
