//! Files' texts into a [`ConfigSet`]: cut into pieces, each read alone and only once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::object::{self, Object, Read};
use super::sink::Sink;
use super::{ConfigSet, Document, Revision, node};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use crate::origin::{At, Origin, Piece, Pos};

/// Ceilings of what is read. A limit that is met is a finding.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One document, in bytes.
    pub document_bytes: usize,
    /// Objects in all files together.
    pub objects: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { document_bytes: 16 << 20, objects: 1_000_000 }
    }
}

/// Reads texts and remembers the pieces, so that the next reading costs what changed.
pub struct Reader {
    namespace: String,
    limits: Limits,
    seen: Seen,
}

type Seen = HashMap<Arc<str>, Arc<ReadPiece>, BuildHasherDefault<DefaultHasher>>;

/// What a piece of text says, wherever it stands.
pub(super) struct ReadPiece {
    pub(super) objects: Vec<Arc<Object>>,
    ignored: Vec<(String, Pos)>,
    pub(super) findings: Diagnostics,
    pub(super) digest: [u8; 32],
}

impl Reader {
    /// A reader that has read nothing. Objects without a namespace are in `namespace`.
    pub fn new(namespace: &str, limits: Limits) -> Self {
        Reader { namespace: namespace.to_owned(), limits, seen: Seen::default() }
    }

    /// Reads files, given by the names people know them by and their texts. `findings` is what was met while
    /// fetching them.
    pub fn read<'t>(
        &mut self,
        texts: impl IntoIterator<Item = (&'t Arc<str>, &'t Arc<str>)>,
        findings: Diagnostics,
    ) -> ConfigSet {
        let mut files = 0;
        let pieces = texts.into_iter().inspect(|_| files += 1).flat_map(|(file, text)| {
            cut(text).into_iter().map(move |(first_line, piece)| (file, first_line, piece))
        });
        let mut set = self.gather(pieces, findings);
        set.files = files;
        set
    }

    /// Reads again what was cut from files before: pieces of documents that [`ConfigSet`] holds. The revision is the
    /// same, as it is that of the objects alone.
    pub fn read_pieces(&mut self, pieces: &[Piece]) -> ConfigSet {
        let files = pieces.iter().map(|piece| &piece.file).collect::<BTreeSet<_>>().len();
        let cut = pieces.iter().map(|piece| (&piece.file, piece.first_line, &*piece.text));
        let mut set = self.gather(cut, Diagnostics::default());
        set.files = files;
        set
    }

    fn gather<'t>(
        &mut self,
        pieces: impl Iterator<Item = (&'t Arc<str>, u32, &'t str)>,
        findings: Diagnostics,
    ) -> ConfigSet {
        let mut set = ConfigSet { findings, ..ConfigSet::default() };
        let mut now = Seen::default();
        let mut ignored = BTreeMap::new();
        let mut digests = Vec::new();
        for (file, first_line, piece) in pieces {
            self.read_piece(file, first_line, piece, &mut now, &mut set, &mut ignored, &mut digests);
        }
        self.seen = now;
        for (kind, (count, origin)) in ignored {
            let objects = if count == 1 { "object of this kind is" } else { "objects of this kind are" };
            let message = format!("{kind} is not read: {count} {objects} ignored");
            set.findings.push(Diagnostic::new(Code::IGNORED_KIND, Severity::Note, Some(origin), message));
        }
        if set.documents.len() > self.limits.objects {
            let message =
                format!("{} objects are over the limit of {}", set.documents.len(), self.limits.objects);
            set.findings.push(Diagnostic::new(Code::UNREADABLE, Severity::Error, None, message));
            set.documents.truncate(self.limits.objects);
        }
        set.revision = revision(digests);
        set
    }

    #[expect(clippy::too_many_arguments, reason = "the accumulators of one reading, used nowhere else")]
    fn read_piece(
        &self,
        file: &Arc<str>,
        first_line: u32,
        text: &str,
        now: &mut Seen,
        set: &mut ConfigSet,
        ignored: &mut BTreeMap<String, (usize, Origin)>,
        digests: &mut Vec<[u8; 32]>,
    ) {
        let known = now.get_key_value(text).or_else(|| self.seen.get_key_value(text));
        let (text, read) = match known {
            Some((text, read)) => (text.clone(), read.clone()),
            None => {
                let text: Arc<str> = text.into();
                let read = Arc::new(self.parse(&text));
                (text, read)
            }
        };
        now.entry(text.clone()).or_insert_with(|| read.clone());
        let piece = Arc::new(Piece { file: file.clone(), first_line, text });
        let here = |pos| Origin { piece: piece.clone(), pos };
        set.findings.extend(read.findings.iter().map(|finding| Diagnostic {
            origin: finding.origin.as_ref().map(|origin| here(origin.pos)),
            ..finding.clone()
        }));
        set.findings.leave_out(&read.findings);
        for (kind, pos) in &read.ignored {
            ignored.entry(kind.clone()).or_insert_with(|| (0, here(*pos))).0 += 1;
        }
        if !read.objects.is_empty() {
            digests.push(read.digest);
        }
        let documents =
            read.objects.iter().map(|object| Document { piece: piece.clone(), object: object.clone() });
        set.documents.extend(documents);
    }

    /// Reads one piece for the first time.
    pub(super) fn parse(&self, text: &Arc<str>) -> ReadPiece {
        let piece = Arc::new(Piece { file: "".into(), first_line: 1, text: text.clone() });
        let mut findings = Diagnostics::default();
        let mut read = ReadPiece {
            objects: Vec::new(),
            ignored: Vec::new(),
            findings: Diagnostics::default(),
            digest: Sha256::digest(content(text).as_bytes()).into(),
        };
        let mut sink = Sink { piece: &piece, object: "", out: &mut findings, root: None };
        if text.len() > self.limits.document_bytes {
            let message = format!(
                "a document of {} bytes is over the limit of {}",
                text.len(),
                self.limits.document_bytes
            );
            sink.add(Severity::Error, Code::UNREADABLE, Pos { line: 1, ..Pos::default() }, message);
        } else {
            match node::parse(text) {
                Err(error) => {
                    let line =
                        text.lines().nth((error.pos.line as usize).saturating_sub(1)).unwrap_or_default();
                    let finding = sink.add(Severity::Error, Code::SYNTAX, error.pos, error.message);
                    if line.contains("{{") {
                        finding
                            .hints
                            .push("it looks like a template: put in place what it is rendered to".into());
                    }
                }
                Ok(tree) => self.take(&tree, &mut sink, &mut read),
            }
        }
        super::name_paths(&mut findings);
        read.findings = findings;
        read
    }

    fn take(&self, tree: &At<node::Node>, sink: &mut Sink<'_>, read: &mut ReadPiece) {
        if matches!(tree.value, node::Node::Null) {
            return;
        }
        match object::read(tree, &self.namespace, sink) {
            Read::Object(object) => read.objects.push(object.into()),
            Read::List(items) => items.iter().for_each(|item| self.take(item, sink, read)),
            Read::Ignored(kind) => read.ignored.push((kind, tree.pos)),
            Read::Nothing => {}
        }
    }
}

/// What a piece says, without the mark before it and the space around it: the same wherever it stands.
fn content(text: &str) -> &str {
    let text = text.trim();
    match text.strip_prefix("---") {
        Some(rest) if rest.starts_with(['\n', '\r']) => rest.trim_start(),
        _ => text,
    }
}

/// Cuts a file before each line that is `---` or begins with `--- `, which YAML allows inside no scalar, so
/// that a syntax error costs one document. Gives each piece with the line, from 1, that it begins on.
///
/// A piece of nothing but comments, blank lines and directives (`%YAML 1.2`) stays with the one after it.
pub(crate) fn cut(text: &str) -> Vec<(u32, &str)> {
    let mut pieces = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let (mut has_mark, mut has_content) = (false, false);
    let (mut at, mut line) = (0, 1);
    for text_line in text.split_inclusive('\n') {
        let bare = text_line.trim_end_matches(['\n', '\r']);
        if bare == "---" || bare.starts_with("--- ") {
            if has_content {
                pieces.push((start_line, &text[start..at]));
            }
            if has_content || has_mark {
                (start, start_line) = (at, line);
            }
            (has_mark, has_content) = (true, bare.len() > 3);
        } else if !bare.trim_start().is_empty()
            && !bare.trim_start().starts_with('#')
            && !bare.starts_with('%')
        {
            has_content = true;
        }
        at += text_line.len();
        line += 1;
    }
    if has_content {
        pieces.push((start_line, &text[start..]));
    }
    pieces
}

/// The hash of everything that was read: of the pieces' hashes, sorted, so that files' order is irrelevant.
pub(super) fn revision(mut digests: Vec<[u8; 32]>) -> Revision {
    use std::fmt::Write;
    digests.sort_unstable();
    let mut all = Sha256::new();
    for digest in digests {
        all.update(digest);
    }
    let mut hex = String::with_capacity(64);
    for byte in all.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Revision(hex.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_read_again_are_the_same_revision_at_the_same_places() {
        let object = |name: &str| {
            format!(
                "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}}}\n---\n\
                     apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec: {{servers: []}}\n"
            )
        };
        let texts: Vec<(Arc<str>, Arc<str>)> =
            ["a.yaml", "b.yaml"].map(|file| (file.into(), object(&file[..1]).into())).into();
        let mut reader = Reader::new("default", Limits::default());
        let set = reader.read(texts.iter().map(|(file, text)| (file, text)), Diagnostics::default());
        let pieces: Vec<Piece> = set.documents.iter().map(|document| (*document.piece).clone()).collect();
        let again = Reader::new("default", Limits::default()).read_pieces(&pieces);
        assert_eq!((again.revision.hash(), again.files), (set.revision.hash(), 2));
        let lines =
            |set: &ConfigSet| -> Vec<u32> { set.documents.iter().map(|d| d.piece.first_line).collect() };
        assert_eq!((lines(&again), lines(&set)), (vec![5, 5], vec![5, 5]));
    }

    #[test]
    fn files_are_cut_at_document_marks_only() {
        for (text, pieces) in [
            ("", vec![]),
            ("# only a comment\n", vec![]),
            ("a: 1", vec![(1, "a: 1")]),
            ("a: 1\n---\nb: 2\n", vec![(1, "a: 1\n"), (2, "---\nb: 2\n")]),
            ("---\na: 1\n---\n---\nb: 2\n", vec![(1, "---\na: 1\n"), (4, "---\nb: 2\n")]),
            ("a: |\n  x\n  ---\nb: 1", vec![(1, "a: |\n  x\n  ---\nb: 1")]),
            ("a: 1\r\n---\r\nb: 2", vec![(1, "a: 1\r\n"), (2, "---\r\nb: 2")]),
            ("%YAML 1.2\n---\na: 1\n", vec![(1, "%YAML 1.2\n---\na: 1\n")]),
            ("--- {a: 1}\n--- {b: 2}\n", vec![(1, "--- {a: 1}\n"), (2, "--- {b: 2}\n")]),
            ("a: 1\n----\n", vec![(1, "a: 1\n----\n")]),
        ] {
            assert_eq!(cut(text), pieces, "{text:?}");
        }
    }
}
