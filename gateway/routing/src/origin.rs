//! Where a value was written: file, line and column, so that every message can point at it.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A place inside one [`Piece`]: line and column from 1, and the number of the node that stands there.
///
/// The node's number (in reading order, keys and values counted) tells a map from its first key, which
/// share a line and a column; it is what a field path is found by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pos {
    /// Line inside the piece, from 1; 0 when the piece as a whole is meant.
    pub line: u32,
    /// Column in characters, from 1; 0 when the whole line is meant.
    pub column: u32,
    /// The node's number in reading order, from 1; 0 when no node is meant.
    pub node: u32,
}

/// A written node by its number alone, in four bytes: what a snapshot keeps of fields, for those who ask where they stand.
///
/// Line, column and path are found by reading the document again (`wire::Places`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(NonZeroU32);

/// A value with the place where it was written.
#[derive(Clone, Copy, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands in its piece.
    pub pos: Pos,
}

impl Pos {
    /// The node `before` this one in reading order, whose line and column are found when the finding is
    /// finished: a value's key stands one before it.
    pub(crate) fn back(self, before: u32) -> Pos {
        Pos { line: 0, column: 0, node: self.node.saturating_sub(before) }
    }

    /// The same place, said of the other piece where a thing is put together from two.
    pub(crate) fn elsewhere(self) -> Pos {
        Pos { node: self.node | ELSEWHERE, ..self }
    }

    /// Its node alone; `None` where no node is meant.
    pub(crate) fn place(self) -> Option<Place> {
        NonZeroU32::new(self.node).map(Place)
    }

    /// Whether it is of the other piece, and its place there.
    pub(crate) fn resolve(self) -> (bool, Pos) {
        (self.node & ELSEWHERE != 0, Pos { node: self.node & !ELSEWHERE, ..self })
    }
}

impl Place {
    /// Where it is: in a piece, or in the `root` of what is put together from two. Line and column are not known yet.
    pub fn within(self, piece: &Arc<Piece>, root: Option<&Arc<Piece>>) -> Origin {
        let (elsewhere, pos) = Pos { node: self.0.get(), ..Pos::default() }.resolve();
        let piece = root.filter(|_| elsewhere).unwrap_or(piece).clone();
        Origin { piece, pos }
    }
}

/// Marks a node's number as the other piece's: no text has this many nodes.
const ELSEWHERE: u32 = 1 << 31;

impl<T> std::ops::Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// One YAML document of one file, as text. Kept for excerpts; shared by everything that points into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The file as the user would name it (`conf/reviews.yaml`, `-` for standard input); of an object that lies in no
    /// file, the object (`VirtualService default/reviews`).
    pub file: Arc<str>,
    /// Where in the file `text` begins; 0 where it lies in no file, so that its lines are nobody's.
    pub first_line: FirstLine,
    /// The document's text, without the `---` line before it. Empty where a file could not be read.
    pub text: Arc<str>,
}

/// The line of a file, from 1, on which a piece of it begins.
///
/// An edit above a piece moves it and changes nothing that it says, so everything that points into it stays as it is and
/// finds it where it stands now.
#[derive(Debug)]
pub struct FirstLine(AtomicU32);

impl FirstLine {
    /// The line as of now.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// The piece stands elsewhere in its file now.
    pub(crate) fn set(&self, line: u32) {
        self.0.store(line, Ordering::Relaxed);
    }
}

impl From<u32> for FirstLine {
    fn from(line: u32) -> Self {
        FirstLine(AtomicU32::new(line))
    }
}

impl Clone for FirstLine {
    fn clone(&self) -> Self {
        self.get().into()
    }
}

impl PartialEq for FirstLine {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for FirstLine {}

impl Piece {
    /// A piece without text: a file or directory as a whole.
    pub fn whole(file: &str) -> Arc<Self> {
        Arc::new(Piece { file: file.into(), first_line: 1.into(), text: "".into() })
    }
}

/// Where something was written: a piece and a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The document.
    pub piece: Arc<Piece>,
    /// The place in it.
    pub pos: Pos,
}

impl Origin {
    /// The file as a whole, for what has no line.
    pub fn file(file: &str) -> Self {
        Origin { piece: Piece::whole(file), pos: Pos::default() }
    }

    /// The line in the file, from 1; 0 when the file as a whole is meant, or there is none.
    pub fn line(&self) -> u32 {
        match (self.piece.first_line.get(), self.pos.line) {
            (0, _) | (_, 0) => 0,
            (first, line) => first + line - 1,
        }
    }

    /// `file:line`, or as much of it as there is: the column is of no importance to whoever reads it.
    pub fn short(&self) -> impl fmt::Display + '_ {
        struct Short<'o>(&'o Origin);
        impl fmt::Display for Short<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0.piece.file)?;
                match self.0.line() {
                    0 => Ok(()),
                    line => write!(f, ":{line}"),
                }
            }
        }
        Short(self)
    }

    /// The column, from 1; 0 when the whole line is meant, or there is no file.
    pub fn column(&self) -> u32 {
        if self.piece.first_line.get() == 0 { 0 } else { self.pos.column }
    }
}

/// `file:line:column`, as far as it is known: the form editors and terminals make clickable.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.piece.file)?;
        match (self.line(), self.column()) {
            (0, _) => Ok(()),
            (line, 0) => write!(f, ":{line}"),
            (line, column) => write!(f, ":{line}:{column}"),
        }
    }
}
