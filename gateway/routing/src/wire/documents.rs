//! All documents that were read, in bundles: what came together, as those of one file. What is as it was is the same
//! bundle, so that nobody has to look at what is in it.

use std::sync::Arc;

use super::Document;

/// Documents in order.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// None is empty.
    bundles: Vec<Arc<Bundle>>,
    count: usize,
}

/// Documents that came together.
#[derive(Debug)]
pub(crate) struct Bundle {
    documents: Box<[Document]>,
    /// On which lines of their files they stood then: a piece tells only where it stands now.
    lines: Box<[u32]>,
}

/// A place among documents.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'d> {
    bundles: &'d [Arc<Bundle>],
    /// Within the first of them.
    at: usize,
}

impl Documents {
    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Document> {
        self.bundles.iter().flat_map(|bundle| &bundle.documents)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Puts others behind them.
    pub fn append(&mut self, others: Documents) {
        self.count += others.count;
        self.bundles.extend(others.bundles);
    }

    /// Forgets all but the first so many.
    pub(super) fn truncate(&mut self, count: usize) {
        if count < self.count {
            *self = self.iter().take(count).cloned().collect();
        }
    }

    pub(super) fn push(&mut self, bundle: &Arc<Bundle>) {
        if !bundle.documents.is_empty() {
            self.count += bundle.documents.len();
            self.bundles.push(bundle.clone());
        }
    }

    /// The first.
    pub(crate) fn begin(&self) -> Cursor<'_> {
        Cursor { bundles: &self.bundles, at: 0 }
    }
}

impl FromIterator<Document> for Documents {
    fn from_iter<I: IntoIterator<Item = Document>>(documents: I) -> Self {
        let mut all = Documents::default();
        all.push(&Arc::new(documents.into_iter().collect()));
        all
    }
}

impl FromIterator<Document> for Bundle {
    fn from_iter<I: IntoIterator<Item = Document>>(documents: I) -> Self {
        let documents: Box<[Document]> = documents.into_iter().collect();
        let lines = documents.iter().map(|document| document.piece.first_line.get()).collect();
        Bundle { documents, lines }
    }
}

impl<'d> Cursor<'d> {
    /// The document here, and on which line of its file it stood when it was read; `None` behind the last.
    pub(crate) fn get(&self) -> Option<(&'d Document, u32)> {
        let bundle = self.bundles.first()?;
        bundle.documents.get(self.at).zip(bundle.lines.get(self.at).copied())
    }

    /// Goes to the next.
    pub(crate) fn step(&mut self) {
        self.at += 1;
        if self.bundles.first().is_some_and(|bundle| self.at >= bundle.documents.len()) {
            self.skip();
        }
    }

    /// Whether one bundle begins at both, which is then behind them.
    pub(crate) fn skip_same(&mut self, other: &mut Self) -> bool {
        let same = match (self.bundles, other.bundles) {
            ([own, ..], [others, ..]) => self.at == 0 && other.at == 0 && Arc::ptr_eq(own, others),
            _ => false,
        };
        if same {
            self.skip();
            other.skip();
        }
        same
    }

    fn skip(&mut self) {
        (self.bundles, self.at) = (self.bundles.get(1..).unwrap_or_default(), 0);
    }
}
