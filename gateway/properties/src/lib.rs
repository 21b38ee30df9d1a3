//! What holds for any bytes that a stranger may send or write: one function for each property, which panics where it does not.
//!
//! Each is asked twice: by a fuzzer (`gateway/fuzz`, a target of three lines for each) and by the ordinary tests, which
//! mutate the same seeds some thousand times (`tests/mutated.rs`). The seeds are what people wrote down already: the tables
//! of the wire suite and the folders of cases ([`seeds`]).
//!
//! A property says what has to hold in the plainest way there is; where it can it looks with other eyes than the code does.

#![expect(clippy::missing_panics_doc, reason = "to panic is what these are for")]

mod answers;
mod authorities;
mod bodies;
mod documents;
mod heads;
mod http2;
mod mutate;
mod paths;
mod requests;
pub mod seeds;
mod senders;

pub use heads::means_one_thing;
pub use mutate::mutate;

/// A property, and what it is asked with first.
#[derive(Clone, Copy)]
pub struct Property {
    /// The fuzz target's name.
    pub name: &'static str,
    /// Panics where it does not hold.
    pub holds: fn(&[u8]),
    /// Inputs that mean something.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const ALL: [Property; 10] = [
    Property { name: "answer", holds: answers::hold, seeds: seeds::answers },
    Property { name: "authority", holds: authorities::hold, seeds: seeds::authorities },
    Property { name: "chunks", holds: bodies::hold, seeds: seeds::bodies },
    Property { name: "config", holds: documents::hold, seeds: seeds::documents },
    Property { name: "decide", holds: requests::decided, seeds: seeds::requests },
    Property { name: "explain", holds: requests::explained, seeds: seeds::asked },
    Property { name: "fields", holds: http2::hold, seeds: seeds::fields },
    Property { name: "head", holds: heads::hold, seeds: seeds::heads },
    Property { name: "path", holds: paths::hold, seeds: seeds::paths },
    Property { name: "proxy_header", holds: senders::hold, seeds: seeds::proxy_headers },
];

/// Asks one by its name.
pub fn ask(name: &str, bytes: &[u8]) {
    let property = ALL.iter().find(|property| property.name == name).expect("a property of that name");
    (property.holds)(bytes);
}

/// Fields as lines of `name: value`; what is none is passed over, as no reader would hand it on.
fn fields<'b>(lines: impl Iterator<Item = &'b [u8]>) -> http::HeaderMap {
    let mut map = http::HeaderMap::new();
    for line in lines {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(at);
        let value = value.strip_prefix(b": ").or(value.strip_prefix(b":")).unwrap_or_default();
        let name = http::HeaderName::from_bytes(name);
        let value = http::HeaderValue::from_bytes(value);
        if let (Ok(name), Ok(value)) = (name, value)
            && map.try_append(name, value).is_err()
        {
            break;
        }
    }
    map
}

/// The lines of an input.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}
