//! Where a value was written: file, line and column, so that every message can point at it.

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicU32};

/// A place inside one [`Piece`]: line and column from 1, and the number of the node that stands there.
///
/// The node's number (in reading order, keys and values counted) tells a map from its first key, which
/// share a line and a column; it is what a field path is found by.
///
/// There is one for each value that was written, millions of them, so it is eight bytes: lines to a million with columns to
/// 2,047, or the other way round, which is JSON on one line. A column beyond is 0.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Pos {
    /// Line and column, packed: [`Pos::new`].
    place: u32,
    node: u32,
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
    /// A place: line and column from 1, 0 where the whole piece or the whole line is meant, and the node's number in reading
    /// order, from 1, 0 where no node is meant.
    pub const fn new(line: u32, column: u32, node: u32) -> Self {
        let place = if line < LONG && column < SHORT {
            line * SHORT + column
        } else if line < SHORT && column < LONG {
            FLAT | (column * SHORT + line)
        } else if line < LONG {
            line * SHORT
        } else {
            0
        };
        Pos { place, node }
    }

    /// Line inside the piece, from 1; 0 when the piece as a whole is meant.
    pub const fn line(self) -> u32 {
        let (high, low) = self.unpacked();
        if self.place & FLAT == 0 { high } else { low }
    }

    /// Column in characters, from 1; 0 when the whole line is meant.
    pub const fn column(self) -> u32 {
        let (high, low) = self.unpacked();
        if self.place & FLAT == 0 { low } else { high }
    }

    /// What is packed in the upper 20 bits, and in the lower eleven.
    const fn unpacked(self) -> (u32, u32) {
        let packed = self.place & !FLAT;
        (packed / SHORT, packed % SHORT)
    }

    /// The node's number in reading order, from 1; 0 when no node is meant.
    pub const fn node(self) -> u32 {
        self.node
    }

    /// The node `before` this one in reading order, whose line and column are found when the finding is
    /// finished: a value's key stands one before it.
    pub(crate) fn back(self, before: u32) -> Pos {
        Pos { place: 0, node: self.node.saturating_sub(before) }
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

/// Marks a place as a column above a line: one of few lines, which are long.
const FLAT: u32 = 1 << 31;

/// Below what the smaller of the two is, and the greater.
const SHORT: u32 = 1 << 11;
const LONG: u32 = 1 << 20;

impl PartialOrd for Pos {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pos {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |pos: &Pos| (pos.line(), pos.column(), pos.node);
        key(self).cmp(&key(other))
    }
}

impl fmt::Debug for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} node {}", self.line(), self.column(), self.node)
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
        self.0.load(atomic::Ordering::Relaxed)
    }

    /// The piece stands elsewhere in its file now.
    pub(crate) fn set(&self, line: u32) {
        self.0.store(line, atomic::Ordering::Relaxed);
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
        match (self.piece.first_line.get(), self.pos.line()) {
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
        if self.piece.first_line.get() == 0 { 0 } else { self.pos.column() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_small_and_what_fits_is_kept() {
        assert_eq!((size_of::<Pos>(), size_of::<At<u32>>(), size_of::<Origin>()), (8, 12, 16));
        for (line, column, kept) in [
            (0, 0, (0, 0)),
            (1, 1, (1, 1)),
            (1_048_575, 2_047, (1_048_575, 2_047)),
            (1, 1_048_575, (1, 1_048_575)),
            (2_047, 2_048, (2_047, 2_048)),
            (2_048, 2_048, (2_048, 0)),
            (7, 1_048_576, (7, 0)),
            (1_048_576, 3, (0, 0)),
        ] {
            let pos = Pos::new(line, column, 9);
            assert_eq!((pos.line(), pos.column(), pos.node()), (kept.0, kept.1, 9), "{line}:{column}");
        }
        // By line, however they are packed.
        assert!(Pos::new(2, 9_000, 1) < Pos::new(3, 1, 2) && Pos::new(3, 1, 2) < Pos::new(3, 9_000, 1));
    }
}
