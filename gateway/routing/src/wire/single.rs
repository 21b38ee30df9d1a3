//! Objects that come one by one and lie in no file, as an API server gives them: each is a document of its own, and is
//! named in findings by its kind and name.

use std::sync::Arc;

use super::read::{Reader, Sum};
use super::{ConfigSet, Document};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::origin::{Origin, Piece};

/// One object, read.
#[derive(Debug)]
pub struct Single {
    piece: Arc<Piece>,
    document: Option<Document>,
    findings: Diagnostics,
    digest: [u8; 32],
}

impl Reader {
    /// Reads one object. `title` is how people know it, as `VirtualService default/reviews`; `text` is YAML or JSON.
    pub fn read_single(&self, title: &str, text: &str) -> Single {
        let text: Arc<str> = text.into();
        let read = self.parse(&text);
        let piece = Arc::new(Piece { file: title.into(), first_line: 0.into(), text });
        let mut findings = Diagnostics::default();
        let found = read.rest.map(|rest| rest.findings).unwrap_or_default();
        findings.leave_out(&found);
        findings.extend(found.into_iter().map(|finding| Diagnostic {
            origin: finding.origin.map(|origin| Origin { piece: piece.clone(), pos: origin.pos }),
            ..finding
        }));
        let object = read.objects.into_iter().next();
        let document = object.map(|object| Document { piece: piece.clone(), object });
        Single { piece, document, findings, digest: read.digest }
    }
}

impl Single {
    /// How people know it, as `VirtualService default/reviews`: also the file of findings about it.
    pub fn title(&self) -> &Arc<str> {
        &self.piece.file
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.piece.text
    }
}

impl ConfigSet {
    /// Everything that single objects say together.
    pub fn of_singles<'s>(singles: impl IntoIterator<Item = &'s Single>) -> ConfigSet {
        let mut set = ConfigSet::default();
        let (mut documents, mut sum) = (Vec::new(), Sum::default());
        for single in singles {
            set.findings.leave_out(&single.findings);
            set.findings.extend(single.findings.iter().cloned());
            if let Some(document) = &single.document {
                documents.push(document.clone());
                sum.add(&single.digest);
            }
        }
        set.documents = documents.into_iter().collect();
        set.revision = sum.revision();
        set
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;

    #[test]
    fn findings_name_the_object_and_the_field() {
        let reader = Reader::new("default", Limits::default());
        let text = r#"{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"a","namespace":"shop"},
            "spec":{"hosts":["x"],"http":[{"route":[{"destination":{"host":"x","port":{"number":"no"}}}]}]}}"#;
        let single = reader.read_single("VirtualService shop/a", text);
        let set = ConfigSet::of_singles([&single]);
        let first = set.findings.iter().next().expect("a finding");
        assert_eq!(first.path, "spec.http[0].route[0].destination.port.number");
        let origin = first.origin.as_ref().expect("an origin");
        assert_eq!(origin.to_string(), "VirtualService shop/a");
        assert_eq!(&origin.piece.file, single.title());
    }

    #[test]
    fn any_text_that_json_can_hold_is_read() {
        let reader = Reader::new("default", Limits::default());
        let long = "x".repeat(300_000);
        let texts = [
            "",
            " ",
            "true",
            "1.0",
            "null",
            "~",
            "---",
            "a: b",
            "# no",
            "*a &b !c %d @e `f",
            "'\\\"",
            "\\n\\t\\u0000\\u001b\\u007f",
            "\u{a0}\u{1f600}\u{e000}\u{fffd}\u{10ffff}",
            "\\u0085\\u2028\\u2029\\ufeff\\uffff",
            "\\ud83d\\ude00",
            "\\/",
            &long,
        ];
        for text in texts {
            let json = format!(
                r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"a","annotations":{{"a/b":"{text}","{}":"x"}}}},"spec":{{"ports":[{{"port":80}}]}}}}"#,
                "k".repeat(1000)
            );
            let single = reader.read_single("Service default/a", &json);
            let found: Vec<&str> = single.findings.iter().map(|finding| finding.message.as_str()).collect();
            assert!(
                single.document.is_some() && found.is_empty(),
                "{}: {found:?}",
                &text[..text.len().min(50)]
            );
        }
    }

    #[test]
    fn order_is_irrelevant_to_the_revision() {
        let reader = Reader::new("default", Limits::default());
        let singles = ["a", "b"].map(|name| {
            let text = format!(
                r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}"}},"spec":{{"ports":[{{"port":80}}]}}}}"#
            );
            reader.read_single(&format!("Service default/{name}"), &text)
        });
        let [a, b] = &singles;
        assert_eq!(ConfigSet::of_singles([a, b]).revision, ConfigSet::of_singles([b, a]).revision);
        assert_ne!(ConfigSet::of_singles([a]).revision, ConfigSet::of_singles([b]).revision);
    }
}
