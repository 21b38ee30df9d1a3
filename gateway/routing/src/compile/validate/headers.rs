//! Operations on header fields: values that Envoy could not read.

use crate::origin::At;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{HeaderOperations, Headers};

pub(super) fn check(written: Option<&At<Box<Headers>>>, sink: &mut Sink<'_>) {
    let Some(Headers { request, response }) = written.map(|headers| &*headers.value) else { return };
    for operations in [request, response].into_iter().flatten() {
        let HeaderOperations { set, add, remove: _ } = &operations.value;
        for (_, value) in set.iter().chain(add) {
            if let Err(fault) = balance(value) {
                sink.schema(value.pos, format!("{:?} has {fault}", value.value))
                    .hints
                    .push("write \"%%\" for the sign itself".into());
            }
        }
    }
}

/// Whether every `%` of a value is one of `%%`, `%NAME%` and `%NAME(arguments)%`; else what is wrong.
fn balance(value: &str) -> Result<(), &'static str> {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(after) = after.strip_prefix('%') {
            rest = after;
            continue;
        }
        let Some(end) = after.find(['%', '(']) else { return Err("a \"%\" that nothing closes") };
        let (_, tail) = after.split_at(end);
        rest = match tail.strip_prefix('(') {
            None => tail.get(1..).unwrap_or_default(),
            Some(arguments) => {
                let tail = behind_arguments(arguments).ok_or("a \"(\" that nothing closes")?;
                // Envoy's length behind them, `:10`; Istio's validation knows none, though Envoy takes it.
                let length =
                    tail.strip_prefix(':').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
                let tail = length.unwrap_or(tail).trim_start_matches(' ');
                tail.strip_prefix('%').ok_or("a variable without a \"%\" behind its arguments")?
            }
        };
    }
    Ok(())
}

/// What stands behind the `)` that closes arguments; `\` takes the meaning from the sign behind it.
fn behind_arguments(arguments: &str) -> Option<&str> {
    let mut signs = arguments.char_indices();
    while let Some((at, sign)) = signs.next() {
        match sign {
            '\\' => {
                signs.next()?;
            }
            ')' => return arguments.get(at + 1..),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_closed() {
        for (value, sound) in [
            ("", true),
            ("plain", true),
            ("100%%", true),
            ("%HOSTNAME%", true),
            ("a %HOSTNAME% b %PROTOCOL%", true),
            ("%REQ(x-a?x-b):10%", true),
            ("%REQ(x-a)%", true),
            ("%DYNAMIC_METADATA([\"a\", \"b\"])%", true),
            ("%START_TIME(%Y)%", true),
            ("%REQ(a\\)b)%", true),
            ("%", false),
            ("100%", false),
            ("abc%123", false),
            ("%START_TIME%%", false),
            ("%REQ(x-a%", false),
            ("%REQ(x-a) x%", false),
            ("%REQ(a\\", false),
            ("%%%", false),
        ] {
            assert_eq!(balance(value).is_ok(), sound, "{value}");
        }
    }
}
