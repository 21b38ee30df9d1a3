//! YAML text as a tree of nodes with places: what is left of a document before it has a schema.
//!
//! Deriving the objects with serde would give one fault at a time and lose places (`flatten`), so text
//! becomes this tree first, and [`super::fields`] takes the objects' fields from it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::origin::{At, Pos};

/// One YAML value, as written.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<At<Node>>),
    Map(Vec<(At<String>, At<Node>)>),
}

impl Node {
    /// What the value is, in a user's words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Node::Null => "nothing".into(),
            Node::Bool(value) => format!("the boolean {value}"),
            Node::Int(value) => format!("the number {value}"),
            Node::Float(value) => format!("the number {value:?}"),
            Node::Text(value) => format!("the text {value:?}"),
            Node::List(_) => "a list".into(),
            Node::Map(_) => "a map".into(),
        }
    }
}

/// A text that is not YAML: what the parser says, and where in the text.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) message: String,
    pub(crate) pos: Pos,
}

/// Nesting deeper than this is refused; no object of Istio's comes near.
const MAX_DEPTH: usize = 64;

/// Reads one document. Aliases cannot amplify it: it may not have more nodes than its text has bytes.
pub(crate) fn parse(text: &str) -> Result<At<Node>, SyntaxError> {
    let nodes = text.len().max(16);
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: nodes,
            max_events: nodes.saturating_mul(3),
            max_depth: MAX_DEPTH,
            max_total_scalar_bytes: nodes.saturating_mul(2),
        },
    };
    let read: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location();
        let pos = place.map_or(Pos::default(), |l| Pos::new(l.line() as u32, l.column() as u32, 0));
        SyntaxError { message: in_our_words(&error.without_snippet().to_string()), pos }
    })?;
    Ok(number(read, &mut 0))
}

/// The parser's message without the place that it appends (the finding has its own) and without the names
/// of its options, which are not the user's.
fn in_our_words(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let message = message.split(" at line ").next().unwrap_or_default();
    if let Some(rest) = message.strip_prefix("duplicate mapping key: ") {
        let key = rest.split(", set ").next().unwrap_or(rest);
        return format!("the key {key:?} is written twice in one map");
    }
    if message.starts_with("budget breached") {
        return "the document unfolds to more than its text: too many aliases, or nested too deep".into();
    }
    message.to_owned()
}

/// Gives every node its number, in reading order: a map's key before its value.
fn number(raw: Spanned<Raw>, last: &mut u32) -> At<Node> {
    let pos = place(&raw.referenced, last);
    let value = match raw.value {
        Raw::Null => Node::Null,
        Raw::Bool(value) => Node::Bool(value),
        Raw::Int(value) => Node::Int(value),
        Raw::Float(value) => Node::Float(value),
        Raw::Text(value) => Node::Text(value),
        Raw::List(items) => Node::List(items.into_iter().map(|item| number(item, last)).collect()),
        Raw::Map(entries) => Node::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let pos = place(&key.referenced, last);
                    (At { value: key.value, pos }, number(value, last))
                })
                .collect(),
        ),
    };
    At { value, pos }
}

fn place(location: &serde_saphyr::Location, last: &mut u32) -> Pos {
    *last += 1;
    Pos::new(location.line() as u32, location.column() as u32, *last)
}

/// The tree as serde hands it over, before its nodes have numbers.
enum Raw {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
                Raw::deserialize(deserializer)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
                Ok(Raw::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
                Ok(Raw::Int(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
                Ok(i64::try_from(value).map_or(Raw::Float(value as f64), Raw::Int))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
                Ok(Raw::Float(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
                Ok(Raw::Text(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<Raw, E> {
                Ok(Raw::Text(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = access.next_element()? {
                    items.push(item);
                }
                Ok(Raw::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    entries.push(entry);
                }
                Ok(Raw::Map(entries))
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}
