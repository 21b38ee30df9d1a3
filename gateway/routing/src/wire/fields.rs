//! Typed fields out of a tree: a cursor that takes fields by name, reports a wrong type at the value and goes
//! on, and at the end reports what is left, naming the nearest known field.

use std::time::Duration;

use super::node::Node;
use super::sink::Sink;
use crate::nearest::nearest;
use crate::origin::{At, Pos};

/// What can be read from a node. `None` means that it could not, and that a finding says why.
pub(crate) trait FromNode: Sized {
    fn from_node(node: &At<Node>, sink: &mut Sink<'_>) -> Option<Self>;
}

impl FromNode for String {
    fn from_node(node: &At<Node>, sink: &mut Sink<'_>) -> Option<Self> {
        if let Node::Text(text) = &node.value {
            return Some(text.clone());
        }
        sink.wrong_type(node, "text");
        None
    }
}

impl FromNode for bool {
    fn from_node(node: &At<Node>, sink: &mut Sink<'_>) -> Option<Self> {
        if let Node::Bool(value) = node.value {
            return Some(value);
        }
        sink.wrong_type(node, "true or false");
        None
    }
}

impl FromNode for i64 {
    fn from_node(node: &At<Node>, sink: &mut Sink<'_>) -> Option<Self> {
        match node.value {
            Node::Int(value) => Some(value),
            // Argo Rollouts writes weights as JSON floats: 20.0 is the number 20.
            Node::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(value as i64),
            _ => {
                sink.wrong_type(node, "a whole number");
                None
            }
        }
    }
}

impl FromNode for u16 {
    fn from_node(node: &At<Node>, sink: &mut Sink<'_>) -> Option<Self> {
        let value = i64::from_node(node, sink)?;
        let port = u16::try_from(value).ok().filter(|port| *port > 0);
        if port.is_none() {
            sink.schema(node.pos, format!("port {value} is not within 1 to 65535"));
        }
        port
    }
}

impl FromNode for f64 {
    fn from_node(node: &At<Node>, sink: &mut Sink<'_>) -> Option<Self> {
        match node.value {
            Node::Int(value) => Some(value as f64),
            Node::Float(value) => Some(value),
            _ => {
                sink.wrong_type(node, "a number");
                None
            }
        }
    }
}

/// Go's notation, as Istio takes it: `1h30m`, `1.5s`, `100ms`.
impl FromNode for Duration {
    fn from_node(node: &At<Node>, sink: &mut Sink<'_>) -> Option<Self> {
        let hint = "write 10s, 1m30s or 100ms; at most 2562047h";
        // A number in quotes would be no duration either, so the unit is what is said to be missing.
        if matches!(node.value, Node::Int(_) | Node::Float(_)) {
            let message = format!("a duration is wanted here, not {}", node.value.describe());
            sink.schema(node.pos, message).hints.push(hint.into());
            return None;
        }
        let text = String::from_node(node, sink)?;
        let duration = parse_duration(&text);
        if duration.is_none() {
            sink.schema(node.pos, format!("{text:?} is not a duration")).hints.push(hint.into());
        }
        duration
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    (!text.is_empty() && total <= LONGEST).then_some(total)
}

/// What Go can say: 64 bits of nanoseconds, with a sign. Istio does not read what is longer.
const LONGEST: Duration = Duration::from_nanos(i64::MAX as u64);

/// A boxed slice, not a vector: there may be millions of them, and none grows.
impl<T: FromNode> FromNode for Box<[At<T>]> {
    fn from_node(node: &At<Node>, sink: &mut Sink<'_>) -> Option<Self> {
        let Node::List(items) = &node.value else {
            sink.wrong_type(node, "a list");
            return None;
        };
        Some(items.iter().filter_map(|item| At::<T>::from_node(item, sink)).collect())
    }
}

/// A map with free keys, in written order. A null value is a wrong type, as in Kubernetes' schemas.
impl<T: FromNode> FromNode for Box<[(At<String>, At<T>)]> {
    fn from_node(node: &At<Node>, sink: &mut Sink<'_>) -> Option<Self> {
        let Node::Map(entries) = &node.value else {
            sink.wrong_type(node, "a map");
            return None;
        };
        let read =
            |(key, value): &(At<String>, At<Node>)| Some((key.clone(), At::<T>::from_node(value, sink)?));
        Some(entries.iter().filter_map(read).collect())
    }
}

impl<T: FromNode> FromNode for At<T> {
    fn from_node(node: &At<Node>, sink: &mut Sink<'_>) -> Option<Self> {
        T::from_node(node, sink).map(|value| At { value, pos: node.pos })
    }
}

impl<T: FromNode> FromNode for Box<T> {
    fn from_node(node: &At<Node>, sink: &mut Sink<'_>) -> Option<Self> {
        T::from_node(node, sink).map(Box::new)
    }
}

/// The fields of one map, taken by name until [`Fields::finish`] reports what nobody took.
pub(crate) struct Fields<'n> {
    entries: &'n [(At<String>, At<Node>)],
    pos: Pos,
}

impl<'n> Fields<'n> {
    pub(crate) fn of(node: &'n At<Node>, sink: &mut Sink<'_>) -> Option<Self> {
        match &node.value {
            Node::Map(entries) => Some(Fields { entries, pos: node.pos }),
            _ => {
                sink.wrong_type(node, "a map");
                None
            }
        }
    }

    /// The node of a field; a field that is null is as good as absent, as in proto3's JSON.
    pub(crate) fn node(&self, name: &str) -> Option<&'n At<Node>> {
        let (_, value) = self.entries.iter().find(|(key, _)| key.value == name)?;
        (!matches!(value.value, Node::Null)).then_some(value)
    }

    pub(crate) fn optional<T: FromNode>(&self, name: &str, sink: &mut Sink<'_>) -> Option<T> {
        T::from_node(self.node(name)?, sink)
    }

    /// Notes a field that is written and of which less was read than is there: compile must not take it for absent.
    pub(crate) fn note_unread(&self, name: &'static str, read: usize, sink: &mut Sink<'_>) {
        let written = match self.node(name).map(|node| &node.value) {
            None => 0,
            Some(Node::List(items)) => items.len(),
            Some(_) => 1,
        };
        if read < written {
            sink.out.note_unread(self.pos.node(), name);
        }
    }

    /// A port; 0 means none.
    pub(crate) fn port(&self, name: &str, sink: &mut Sink<'_>) -> Option<At<u16>> {
        let node = self.node(name)?;
        if matches!(node.value, Node::Int(0)) { None } else { At::from_node(node, sink) }
    }

    pub(crate) fn required<T: FromNode>(&self, name: &str, sink: &mut Sink<'_>) -> Option<T> {
        if self.node(name).is_none() {
            sink.schema(self.pos, format!("the field {name:?} is missing"));
        }
        self.optional(name, sink)
    }

    /// Reports every field that is not among `known`. The one that was meant is as good as written, and not read.
    pub(crate) fn finish(&self, known: &[&'static str], sink: &mut Sink<'_>) {
        for (key, _) in self.entries.iter().filter(|(key, _)| !known.contains(&key.value.as_str())) {
            let guess = nearest(key, known.iter().copied());
            let meant = guess.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
            let finding = sink.schema(key.pos, format!("unknown field {:?}{meant}", key.value));
            if guess.is_none() {
                finding.hints.push(format!("the fields here are {}", known.join(", ")));
            }
            if let Some(meant) = known.iter().find(|name| Some(**name) == guess) {
                sink.out.note_unread(self.pos.node(), meant);
            }
        }
    }
}

/// Defines a wire type: `name: kind Type` lines become a struct and its reader.
///
/// `must` fields are required by Istio's schema, `may` fields are `Option`s, `list` and `map` fields are
/// empty when absent. `need` is `may` that Istio
/// requires; a `port` is `may` whose 0 is as good as absent, as in proto3. A field's name in YAML is its name here in camelCase, or what `as` says.
/// A type that is `open` has fields that are not ours to know, and nothing is said of them.
macro_rules! wire {
    ($($(#[$doc:meta])* $name:ident $($open:ident)? { $($(#[$field_doc:meta])* $field:ident: $kind:ident $type:ty $(= $written:literal)?;)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[allow(dead_code, reason = "every field is read for its schema, also one that compile refuses as a whole")]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: wire!(@type $kind $type),)*
        }

        impl $crate::wire::fields::FromNode for $name {
            fn from_node(
                node: &$crate::origin::At<$crate::wire::node::Node>,
                sink: &mut $crate::wire::sink::Sink<'_>,
            ) -> Option<Self> {
                let fields = $crate::wire::fields::Fields::of(node, sink)?;
                $(let $field = wire!(@read $kind $type, fields sink wire!(@name $field $($written)?));)*
                wire!(@finish $($open)? fields sink [$(wire!(@name $field $($written)?)),*]);
                Some($name { $($field: wire!(@got $kind $field)),* })
            }
        }

        impl $crate::wire::elsewhere::Elsewhere for $name {
            fn mark(&mut self) {
                $($crate::wire::elsewhere::Elsewhere::mark(&mut self.$field);)*
            }
        }
    )*};
    (@type must $type:ty) => { $crate::origin::At<$type> };
    (@type may $type:ty) => { Option<$crate::origin::At<$type>> };
    (@type need $type:ty) => { Option<$crate::origin::At<$type>> };
    (@type port $type:ty) => { Option<$crate::origin::At<$type>> };
    (@type list $type:ty) => { Box<[$crate::origin::At<$type>]> };
    (@type map $type:ty) => { Box<[($crate::origin::At<String>, $crate::origin::At<$type>)]> };
    (@read must $type:ty, $fields:ident $sink:ident $name:expr) => { $fields.required($name, $sink) };
    (@read need $type:ty, $fields:ident $sink:ident $name:expr) => { $fields.required($name, $sink) };
    (@read port $type:ty, $fields:ident $sink:ident $name:expr) => { $fields.port($name, $sink) };
    (@read may $type:ty, $fields:ident $sink:ident $name:expr) => {{
        let read: Option<$crate::origin::At<$type>> = $fields.optional($name, $sink);
        $fields.note_unread($name, usize::from(read.is_some()), $sink);
        read
    }};
    (@read list $type:ty, $fields:ident $sink:ident $name:expr) => {{
        let read: Option<Box<[$crate::origin::At<$type>]>> = $fields.optional($name, $sink);
        $fields.note_unread($name, read.as_ref().map_or(0, |read| read.len()), $sink);
        read
    }};
    (@read map $type:ty, $fields:ident $sink:ident $name:expr) => { $fields.optional($name, $sink) };
    (@got must $got:ident) => { $got? };
    (@got need $got:ident) => { $got };
    (@got port $got:ident) => { $got };
    (@got may $got:ident) => { $got };
    (@got $kind:ident $got:ident) => { $got.unwrap_or_default() };
    (@finish open $fields:ident $sink:ident [$($known:expr),*]) => {};
    (@finish $fields:ident $sink:ident [$($known:expr),*]) => { $fields.finish(&[$($known),*], $sink) };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $written:literal) => { $written };
}

/// Defines an enum of upper-case words, as proto3's JSON writes enums.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(dead_code, reason = "every word is read for its schema, also one that compile refuses as a whole")]
        pub(crate) enum $name { $($variant,)* }

        impl $crate::wire::elsewhere::Elsewhere for $name {
            fn mark(&mut self) {}
        }

        impl $crate::wire::fields::FromNode for $name {
            fn from_node(
                node: &$crate::origin::At<$crate::wire::node::Node>,
                sink: &mut $crate::wire::sink::Sink<'_>,
            ) -> Option<Self> {
                let text = String::from_node(node, sink)?;
                match text.as_str() {
                    $($word => Some($name::$variant),)*
                    _ => {
                        let known = [$($word),*];
                        let guess = $crate::nearest::nearest(&text, known);
                        let meant = guess.map(|word| format!("; did you mean {word}?")).unwrap_or_default();
                        let hint = format!("it is one of {}", known.join(", "));
                        sink.schema(node.pos, format!("{text:?} is not known here{meant}")).hints.push(hint);
                        None
                    }
                }
            }
        }
    )*};
}

pub(crate) use {wire, words};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        for (text, milliseconds) in [
            ("10s", Some(10_000)),
            ("1h30m", Some(5_400_000)),
            ("1.5s", Some(1_500)),
            ("100ms", Some(100)),
            ("1m0.5s", Some(60_500)),
            ("0s", Some(0)),
            ("0", Some(0)),
            ("", None),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("1..5s", None),
            ("1d", None),
            ("99999999999999999999h", None),
            ("2562047h", Some(9_223_369_200_000)),
            ("2562048h", None),
            ("2562047h48m", None),
        ] {
            assert_eq!(parse_duration(text).map(|d| d.as_millis()), milliseconds, "{text:?}");
        }
    }
}
