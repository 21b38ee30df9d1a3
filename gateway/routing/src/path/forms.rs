//! Forms of paths in which servers differ about what they say, looked for as they are written.
//!
//! To refuse one is the only way that is safe whoever stands behind: what is made canonical for one of them is not for another.

use super::escaped;

/// A form of a path in which readers differ about what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `%2F`.
    EscapedSlash,
    /// `\` or `%5C`.
    Backslash,
    /// `;` or `%3B`: some cut parameters off there.
    Semicolon,
    /// `%00`, or the byte itself.
    ZeroByte,
    /// A `%` that two hexadecimal digits do not follow.
    BrokenEscape,
    /// An escaped `%` that would begin an escape, as in `%252F`.
    DoubleEscape,
    /// Bytes that are not UTF-8 once unescaped; overlong forms, such as `%C0%AF` for a slash, are not.
    NotUtf8,
}

impl Form {
    const ALL: [Form; 7] = [
        Form::EscapedSlash,
        Form::Backslash,
        Form::Semicolon,
        Form::ZeroByte,
        Form::BrokenEscape,
        Form::DoubleEscape,
        Form::NotUtf8,
    ];

    /// What a path holds that has it.
    pub fn words(self) -> &'static str {
        match self {
            Form::EscapedSlash => "an escaped slash",
            Form::Backslash => "a backslash",
            Form::Semicolon => "a semicolon",
            Form::ZeroByte => "a zero byte",
            Form::BrokenEscape => "a broken escape",
            Form::DoubleEscape => "a doubly escaped character",
            Form::NotUtf8 => "bytes that are not UTF-8",
        }
    }
}

/// A set of [`Form`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forms(u8);

impl Forms {
    /// None.
    pub const NONE: Forms = Forms(0);
    /// All there are.
    pub const ALL: Forms = Forms(0x7f);

    /// With one more.
    #[must_use]
    pub fn with(self, form: Form) -> Forms {
        Forms(self.0 | 1 << form as u8)
    }

    fn has(self, form: Form) -> bool {
        self.0 & 1 << form as u8 != 0
    }

    /// The first of these that a path has.
    pub(super) fn find(self, path: &[u8]) -> Option<Form> {
        if self == Forms::NONE {
            return None;
        }
        let (mut said, mut found) = (Vec::with_capacity(path.len()), Forms::NONE);
        let mut rest = path;
        while let [byte, after @ ..] = rest {
            let (byte, escape) = match (byte, escaped(after)) {
                (b'%', Some(byte)) => (byte, true),
                (b'%', None) => {
                    found = found.with(Form::BrokenEscape);
                    (b'%', false)
                }
                (byte, _) => (*byte, false),
            };
            rest = if escape { after.get(2..).unwrap_or_default() } else { after };
            found = match byte {
                b'/' if escape => found.with(Form::EscapedSlash),
                b'\\' => found.with(Form::Backslash),
                b';' => found.with(Form::Semicolon),
                0 => found.with(Form::ZeroByte),
                b'%' if escape && escaped(rest).is_some() => found.with(Form::DoubleEscape),
                _ => found,
            };
            said.push(byte);
        }
        // `%%32F`, `%2%35`: escapes that are made of escapes.
        let again = said.iter().enumerate().filter(|(_, byte)| **byte == b'%');
        if again.into_iter().any(|(at, _)| escaped(said.get(at + 1..).unwrap_or_default()).is_some()) {
            found = found.with(Form::DoubleEscape);
        }
        if std::str::from_utf8(&said).is_err() {
            found = found.with(Form::NotUtf8);
        }
        Form::ALL.into_iter().find(|form| self.has(*form) && found.has(*form))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PathRules, Refusal, canonical};
    use super::*;

    #[test]
    fn forms_are_found_as_they_are_written() {
        for (path, form) in [
            ("/a/b-c.d~e_f%20g%C3%A9", None),
            ("/a%2Fb", Some(Form::EscapedSlash)),
            ("/a%2f", Some(Form::EscapedSlash)),
            ("/a\\b", Some(Form::Backslash)),
            ("/a%5cb", Some(Form::Backslash)),
            ("/a;b=c/d", Some(Form::Semicolon)),
            ("/a%3Bb", Some(Form::Semicolon)),
            ("/a%00", Some(Form::ZeroByte)),
            ("/a%", Some(Form::BrokenEscape)),
            ("/a%4", Some(Form::BrokenEscape)),
            ("/a%zz", Some(Form::BrokenEscape)),
            ("/a%u002f", Some(Form::BrokenEscape)),
            ("/a%252fb", Some(Form::DoubleEscape)),
            ("/a%2%35", Some(Form::BrokenEscape)),
            ("/a%25", None),
            ("/a%25zz", None),
            ("/a%c0%af", Some(Form::NotUtf8)),
            ("/a%e0%80%af", Some(Form::NotUtf8)),
            ("/a%ff", Some(Form::NotUtf8)),
        ] {
            assert_eq!(Forms::ALL.find(path.as_bytes()), form, "{path}");
            assert_eq!(Forms::NONE.find(path.as_bytes()), None, "{path}");
            if let Some(form) = form {
                assert_eq!(Forms::NONE.with(form).find(path.as_bytes()), Some(form), "{path}");
                let rules = PathRules { refused: Forms::NONE.with(form), ..PathRules::default() };
                assert_eq!(canonical(path.as_bytes(), rules), Err(Refusal::Form(form)), "{path}");
                let query = format!("/?{path}");
                assert!(canonical(query.as_bytes(), rules).is_ok(), "{path}");
            }
        }
        assert_eq!(Forms::NONE.with(Form::DoubleEscape).find(b"/a%2%35f"), Some(Form::DoubleEscape));
        assert_eq!(Form::ALL.into_iter().fold(Forms::NONE, Forms::with), Forms::ALL);
    }
}
