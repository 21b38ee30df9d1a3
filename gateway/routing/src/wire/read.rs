//! Files' texts into a [`ConfigSet`]: cut into pieces, each read alone and only once.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::documents::Bundle;
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
    files: Map<Arc<str>, ReadFile>,
    parsed: usize,
}

type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// The pieces of one file, in order, and what they come to: a file that is as it was is not walked again.
struct ReadFile {
    pieces: Vec<ReadAt>,
    documents: Arc<Bundle>,
    sum: Sum,
    /// Some piece has a [`Rest`].
    has_rest: bool,
}

/// A piece where it stands, and what it says.
#[derive(Clone)]
struct ReadAt {
    piece: Arc<Piece>,
    read: Arc<ReadPiece>,
}

/// What a piece of text says, wherever it stands.
pub(super) struct ReadPiece {
    pub(super) objects: Box<[Arc<Object>]>,
    /// What most pieces have nothing of.
    pub(super) rest: Option<Box<Rest>>,
    pub(super) digest: [u8; 32],
}

#[derive(Default)]
pub(super) struct Rest {
    ignored: Vec<(String, Pos)>,
    pub(super) findings: Diagnostics,
}

impl ReadAt {
    /// The same piece, where it stands now.
    fn stands(self, first_line: u32) -> Self {
        self.piece.first_line.set(first_line);
        self
    }
}

impl ReadFile {
    fn of(pieces: Vec<ReadAt>) -> Self {
        let mut sum = Sum::default();
        let with_objects = pieces.iter().filter(|at| !at.read.objects.is_empty());
        with_objects.for_each(|at| sum.add(&at.read.digest));
        let documents = |ReadAt { piece, read }: &ReadAt| {
            let document = |object: &Arc<Object>| Document { piece: piece.clone(), object: object.clone() };
            read.objects.iter().map(document).collect::<Vec<_>>()
        };
        let documents = Arc::new(pieces.iter().flat_map(documents).collect());
        let has_rest = pieces.iter().any(|at| at.read.rest.is_some());
        ReadFile { pieces, documents, sum, has_rest }
    }

    /// Whether it is this text: its pieces, one after the other, and nothing between them.
    fn is(&self, text: &str) -> bool {
        let mut rest = text;
        let next = |at: &ReadAt| match rest.strip_prefix(&*at.piece.text) {
            Some(after) => {
                rest = after;
                true
            }
            None => false,
        };
        self.pieces.iter().all(next) && rest.is_empty()
    }
}

/// Pieces that were read, by their texts.
#[derive(Default)]
struct Known(Map<Arc<str>, Arc<ReadPiece>>);

impl Reader {
    /// A reader that has read nothing. Objects without a namespace are in `namespace`.
    pub fn new(namespace: &str, limits: Limits) -> Self {
        Reader { namespace: namespace.to_owned(), limits, files: Map::default(), parsed: 0 }
    }

    /// How many pieces the last reading had to parse; the others were known.
    pub fn parsed(&self) -> usize {
        self.parsed
    }

    /// Reads files, given by the names people know them by and their texts. `findings` is what was met while
    /// fetching them.
    pub fn read<'t>(
        &mut self,
        texts: impl IntoIterator<Item = (&'t Arc<str>, &'t Arc<str>)>,
        findings: Diagnostics,
    ) -> ConfigSet {
        self.read_changed(texts.into_iter().map(|(file, text)| (file, Some(text))), findings)
    }

    /// The same, where whoever fetches them knows that some are what they were at the last reading: those have no text.
    pub fn read_changed<'t>(
        &mut self,
        texts: impl IntoIterator<Item = (&'t Arc<str>, Option<&'t Arc<str>>)>,
        mut findings: Diagnostics,
    ) -> ConfigSet {
        self.parsed = 0;
        let mut before = std::mem::take(&mut self.files);
        // Those that are as they were are set aside, so that only pieces of others are looked for elsewhere.
        let texts: Vec<(&Arc<str>, Option<&Arc<str>>)> = texts.into_iter().collect();
        let as_before = |&(file, text): &(&Arc<str>, Option<&Arc<str>>)| match before.get(file) {
            Some(old) if text.is_none_or(|text| old.is(text)) => before.remove(file),
            _ => None,
        };
        let same: Vec<Option<ReadFile>> = texts.iter().map(as_before).collect();
        let mut known = None;
        let mut files: Vec<(Arc<str>, ReadFile)> = Vec::with_capacity(texts.len());
        for ((file, text), same) in texts.into_iter().zip(same) {
            let read = match (same, text) {
                (Some(same), _) => same,
                (None, Some(text)) => {
                    let known = known.get_or_insert_with(|| Known::of(&before));
                    ReadFile::of(self.read_file(file, &cut(text), before.get(file), known))
                }
                (None, None) => {
                    let message = format!("{file} is not known from the last reading, and has no text");
                    let origin = Some(Origin::file(file));
                    findings.push(Diagnostic::new(Code::UNREADABLE, Severity::Error, origin, message));
                    continue;
                }
            };
            files.push((file.clone(), read));
        }
        self.gather(files, findings)
    }

    /// Reads again what was cut from files before: pieces of documents that [`ConfigSet`] holds. The revision is the
    /// same, as it is that of the objects alone.
    pub fn read_pieces(&mut self, pieces: &[Piece]) -> ConfigSet {
        self.parsed = 0;
        let mut known = Known::default();
        let mut files: BTreeMap<Arc<str>, Vec<(u32, &str)>> = BTreeMap::new();
        for piece in pieces {
            files.entry(piece.file.clone()).or_default().push((piece.first_line.get(), &piece.text));
        }
        let read = |(file, cut): (Arc<str>, Vec<(u32, &str)>)| {
            let read = self.read_file(&file, &cut, None, &mut known);
            (file, ReadFile::of(read))
        };
        let files: Vec<_> = files.into_iter().map(read).collect();
        self.gather(files, Diagnostics::default())
    }

    /// Reads the pieces of one file. Those that stand where they stood are the same ones.
    fn read_file(
        &mut self,
        file: &Arc<str>,
        cut: &[(u32, &str)],
        before: Option<&ReadFile>,
        known: &mut Known,
    ) -> Vec<ReadAt> {
        let mut old = before.map_or(&[][..], |before| &before.pieces);
        let mut new = cut;
        let (mut front, mut back) = (Vec::with_capacity(cut.len()), Vec::new());
        while let ([at, old_rest @ ..], [(line, text), new_rest @ ..]) = (old, new)
            && *at.piece.text == **text
        {
            front.push(at.clone().stands(*line));
            (old, new) = (old_rest, new_rest);
        }
        while let ([old_rest @ .., at], [new_rest @ .., (line, text)]) = (old, new)
            && *at.piece.text == **text
        {
            back.push(at.clone().stands(*line));
            (old, new) = (old_rest, new_rest);
        }
        let mut moved: Map<&str, Vec<&ReadAt>> = Map::default();
        old.iter().rev().for_each(|at| moved.entry(&at.piece.text).or_default().push(at));
        for &(line, text) in new {
            front.push(match moved.get_mut(text).and_then(Vec::pop) {
                Some(at) => at.clone().stands(line),
                None => {
                    let (text, read) = self.find_or_parse(text, known);
                    ReadAt {
                        piece: Arc::new(Piece { file: file.clone(), first_line: line.into(), text }),
                        read,
                    }
                }
            });
        }
        front.extend(back.into_iter().rev());
        front
    }

    fn find_or_parse(&mut self, text: &str, known: &mut Known) -> (Arc<str>, Arc<ReadPiece>) {
        if let Some((text, read)) = known.0.get_key_value(text) {
            return (text.clone(), read.clone());
        }
        let text: Arc<str> = text.into();
        self.parsed += 1;
        let read = Arc::new(self.parse(&text));
        known.0.insert(text.clone(), read.clone());
        (text, read)
    }

    /// Puts together what files say, and keeps them.
    fn gather(&mut self, files: Vec<(Arc<str>, ReadFile)>, findings: Diagnostics) -> ConfigSet {
        let mut set = ConfigSet { findings, files: files.len(), ..ConfigSet::default() };
        let mut ignored: BTreeMap<&str, (usize, Origin)> = BTreeMap::new();
        let mut sum = Sum::default();
        for (_, file) in &files {
            sum.take(&file.sum);
            set.documents.push(&file.documents);
        }
        for ReadAt { piece, read } in
            files.iter().filter(|(_, file)| file.has_rest).flat_map(|(_, file)| &file.pieces)
        {
            if let Some(rest) = &read.rest {
                let here = |pos| Origin { piece: piece.clone(), pos };
                set.findings.extend(rest.findings.iter().map(|finding| Diagnostic {
                    origin: finding.origin.as_ref().map(|origin| here(origin.pos)),
                    ..finding.clone()
                }));
                set.findings.leave_out(&rest.findings);
                for (kind, pos) in &rest.ignored {
                    ignored.entry(kind).or_insert_with(|| (0, here(*pos))).0 += 1;
                }
            }
        }
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
        set.revision = sum.revision();
        self.files = files.into_iter().collect();
        set
    }

    /// Reads one piece for the first time.
    pub(super) fn parse(&self, text: &Arc<str>) -> ReadPiece {
        let piece = Arc::new(Piece { file: "".into(), first_line: 1.into(), text: text.clone() });
        let mut findings = Diagnostics::default();
        let (mut objects, mut rest) = (Vec::new(), Rest::default());
        let mut sink = Sink { piece: &piece, object: "", out: &mut findings, root: None };
        if text.len() > self.limits.document_bytes {
            let message = format!(
                "a document of {} bytes is over the limit of {}",
                text.len(),
                self.limits.document_bytes
            );
            sink.add(Severity::Error, Code::UNREADABLE, Pos::new(1, 0, 0), message);
        } else {
            match node::parse(text) {
                Err(error) => {
                    let line =
                        text.lines().nth((error.pos.line() as usize).saturating_sub(1)).unwrap_or_default();
                    let finding = sink.add(Severity::Error, Code::SYNTAX, error.pos, error.message);
                    if line.contains("{{") {
                        finding
                            .hints
                            .push("it looks like a template: put in place what it is rendered to".into());
                    }
                }
                Ok(tree) => self.take(&tree, &mut sink, &mut objects, &mut rest.ignored),
            }
        }
        super::name_paths(&mut findings);
        rest.findings = findings;
        let has_rest = !rest.ignored.is_empty() || !rest.findings.is_empty();
        ReadPiece {
            objects: objects.into(),
            rest: has_rest.then(|| Box::new(rest)),
            digest: Sha256::digest(content(text).as_bytes()).into(),
        }
    }

    fn take(
        &self,
        tree: &At<node::Node>,
        sink: &mut Sink<'_>,
        objects: &mut Vec<Arc<Object>>,
        ignored: &mut Vec<(String, Pos)>,
    ) {
        if matches!(tree.value, node::Node::Null) {
            return;
        }
        match object::read(tree, &self.namespace, sink) {
            Read::Object(object) => objects.push(object.into()),
            Read::List(items) => items.iter().for_each(|item| self.take(item, sink, objects, ignored)),
            Read::Ignored(kind) => ignored.push((kind, tree.pos)),
            Read::Nothing => {}
        }
    }
}

impl Known {
    fn of(files: &Map<Arc<str>, ReadFile>) -> Self {
        let pieces = files.values().flat_map(|file| &file.pieces);
        Known(pieces.map(|at| (at.piece.text.clone(), at.read.clone())).collect())
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

/// What pieces come to, whatever file they are in and in whatever order: how many they are, and their hashes, added up. That of
/// many is put together from those of files, so that an edit costs no walk over all that was not edited.
#[derive(Default)]
pub(super) struct Sum {
    pieces: u64,
    hashes: [u64; 4],
}

impl Sum {
    /// Adds a piece.
    pub(super) fn add(&mut self, digest: &[u8; 32]) {
        self.pieces += 1;
        let (words, _) = digest.as_chunks::<8>();
        self.plus(words.iter().map(|word| u64::from_le_bytes(*word)));
    }

    /// Adds what others come to.
    fn take(&mut self, other: &Sum) {
        self.pieces += other.pieces;
        self.plus(other.hashes);
    }

    fn plus(&mut self, words: impl IntoIterator<Item = u64>) {
        for (sum, word) in self.hashes.iter_mut().zip(words) {
            *sum = sum.wrapping_add(word);
        }
    }

    /// The hash of everything that was read.
    pub(super) fn revision(&self) -> Revision {
        use std::fmt::Write;
        let mut all = Sha256::new();
        for word in std::iter::once(self.pieces).chain(self.hashes) {
            all.update(word.to_le_bytes());
        }
        let mut hex = String::with_capacity(64);
        for byte in all.finalize() {
            let _ = write!(hex, "{byte:02x}");
        }
        Revision(hex.into())
    }
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
        let lines = |set: &ConfigSet| -> Vec<u32> {
            set.documents.iter().map(|d| d.piece.first_line.get()).collect()
        };
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
