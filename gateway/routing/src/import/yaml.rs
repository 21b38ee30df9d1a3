//! YAML as a person would write it: short maps on one line, long ones in blocks, comments above the items of lists.

/// A value that is to be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A number or a boolean, as it is.
    Plain(String),
    /// A text, in quotes where it needs them.
    Text(String),
    List(Vec<Item>),
    Map(Vec<(String, Value)>),
}

/// An item of a list, with the lines of comment above it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) comment: Vec<String>,
    pub(super) value: Value,
}

/// A line is no longer than this, unless a single value is.
const WIDTH: usize = 110;

/// `[(name, value), …]` → a map.
pub(super) fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A list without comments.
pub(super) fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::List(values.into_iter().map(|value| Item { comment: Vec::new(), value }).collect())
}

/// A list of texts.
pub(super) fn texts<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Value {
    list(values.into_iter().map(text))
}

pub(super) fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

pub(super) fn number(number: impl Into<i64>) -> Value {
    Value::Plain(number.into().to_string())
}

pub(super) fn truth(truth: bool) -> Value {
    Value::Plain(truth.to_string())
}

/// One object of Istio's as a document; `comment` stands above it.
pub(super) fn document(kind: &str, name: &str, namespace: &str, comment: &[String], spec: &Value) -> String {
    let mut lines = vec!["---".to_owned()];
    lines.extend(comments(comment));
    lines.push("apiVersion: networking.istio.io/v1".to_owned());
    lines.push(format!("kind: {kind}"));
    lines.push(format!("metadata: {{name: {}, namespace: {}}}", scalar(name), scalar(namespace)));
    lines.push("spec:".to_owned());
    lines.extend(self::lines(spec, WIDTH - 2).into_iter().map(|line| format!("  {line}")));
    lines.push(String::new());
    lines.join("\n")
}

/// A value as lines.
pub(super) fn lines(value: &Value, width: usize) -> Vec<String> {
    match value {
        Value::Map(fields) if !fields.is_empty() => {
            fields.iter().flat_map(|(name, value)| field(&scalar(name), value, width)).collect()
        }
        Value::List(items) if !items.is_empty() => items.iter().flat_map(|item| entry(item, width)).collect(),
        value => vec![flow(value)],
    }
}

fn field(name: &str, value: &Value, width: usize) -> Vec<String> {
    if let Some(short) = on_one_line(value, width.saturating_sub(name.len() + 2)) {
        return vec![format!("{name}: {short}")];
    }
    let indent = if matches!(value, Value::Map(_)) { "  " } else { "" };
    let below = lines(value, width.saturating_sub(indent.len()));
    std::iter::once(format!("{name}:"))
        .chain(below.into_iter().map(|line| format!("{indent}{line}")))
        .collect()
}

fn entry(item: &Item, width: usize) -> Vec<String> {
    let mut all = comments(&item.comment);
    if let Some(short) = on_one_line(&item.value, width.saturating_sub(2)) {
        all.push(format!("- {short}"));
        return all;
    }
    let below = lines(&item.value, width.saturating_sub(2));
    all.extend(below.into_iter().enumerate().map(|(index, line)| match index {
        0 => format!("- {line}"),
        _ => format!("  {line}"),
    }));
    all
}

/// Comments as lines, cut between words. What comes from a file may hold no line end: the rest would be YAML.
pub(super) fn comments(comment: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for text in comment {
        let clean: String =
            text.chars().map(|c| if c.is_control() || is_break(c) { ' ' } else { c }).collect();
        // What is indented is YAML to be put in place.
        if clean.starts_with("  ") {
            lines.push(format!("# {clean}"));
            continue;
        }
        let mut line = "#".to_owned();
        for word in clean.split(' ').filter(|word| !word.is_empty()) {
            if line.len() > 1 && line.chars().count() + 1 + word.chars().count() > WIDTH {
                lines.push(std::mem::replace(&mut line, "#".to_owned()));
            }
            line.push(' ');
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// What YAML takes for the end of a line beside control characters.
fn is_break(letter: char) -> bool {
    matches!(letter, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// The value on one line, where it is short enough and no list of maps.
fn on_one_line(value: &Value, width: usize) -> Option<String> {
    let simple = match value {
        Value::Plain(_) | Value::Text(_) => return Some(flow(value)),
        Value::List(items) => items
            .iter()
            .all(|item| item.comment.is_empty() && matches!(item.value, Value::Plain(_) | Value::Text(_))),
        Value::Map(fields) => fields.iter().all(|(_, value)| on_one_line(value, width).is_some()),
    };
    let short = simple.then(|| flow(value))?;
    (short.chars().count() <= width).then_some(short)
}

fn flow(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Plain(plain) => plain.clone(),
        Value::Text(text) => scalar(text),
        Value::List(items) => format!("[{}]", join(items.iter().map(|item| flow(&item.value)).collect())),
        Value::Map(fields) => {
            let field = |(name, value): &(String, Value)| format!("{}: {}", scalar(name), flow(value));
            format!("{{{}}}", join(fields.iter().map(field).collect()))
        }
    }
}

/// A text as YAML's scalar: bare where nothing can take it for something else.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 11] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"];
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    let is_time =
        text.strip_suffix('s').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let word = WORDS.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is_time || begins && !word && text.chars().all(bare) {
        return text.to_owned();
    }
    if text.chars().any(|c| c.is_control() || is_break(c)) {
        let escaped = |c: char| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() || is_break(c) => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        };
        return format!("\"{}\"", text.chars().map(escaped).collect::<String>());
    }
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_where_they_would_be_something_else() {
        for (text, written) in [
            ("shop", "shop"),
            ("/a/b-c.d_e", "/a/b-c.d_e"),
            ("5s", "5s"),
            ("5", "'5'"),
            ("", "''"),
            ("True", "'True'"),
            ("*", "'*'"),
            ("it's", "'it''s'"),
            ("a: b", "'a: b'"),
            (r"(?i)^/x\.y$", r"'(?i)^/x\.y$'"),
            ("a\nb\"\\", "\"a\\u000ab\\\"\\\\\""),
            ("s", "s"),
            (".5", "'.5'"),
        ] {
            assert_eq!(scalar(text), written);
        }
    }

    #[test]
    fn what_is_short_stands_on_one_line() {
        let rule = map([
            ("match", list([map([("uri", map([("exact", text("/a"))]))])])),
            ("timeout", text("5s")),
            ("none", list([])),
        ]);
        let items = Value::List(vec![Item { comment: vec!["why\n- it is".to_owned()], value: rule }]);
        let written = lines(&map([("http", items)]), WIDTH).join("\n");
        assert_eq!(
            written,
            "http:\n# why - it is\n- match:\n  - {uri: {exact: /a}}\n  timeout: 5s\n  none: []"
        );
    }

    #[test]
    fn comments_are_cut_between_words() {
        let lines = comments(&["word ".repeat(40), "x".repeat(300), "  a: 1".to_owned()]);
        assert!(
            lines[0].starts_with("# word word") && lines[0].len() <= WIDTH && lines[1].starts_with("# word")
        );
        assert_eq!((lines[lines.len() - 2].len(), lines[lines.len() - 1].as_str()), (302, "#   a: 1"));
    }
}
