//! Tables of many routes: what a row is called, by which requests find it, and where it leads.
//!
//! Every row leads to the same versions, so that only the look-up differs from a table of one row. The last row is asked: it is
//! the first that a linear search would be late at.

/// What tells one row from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A host of its own for each.
    Host,
    /// One host, and a prefix of the path for each.
    Prefix,
    /// One host, and a value of the field `x-row` for each.
    Header,
}

/// So many rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// What tells them apart.
    pub by: By,
    /// At least one.
    pub rows: usize,
}

impl Table {
    /// The hosts of a row.
    #[must_use]
    pub fn host(&self, row: usize) -> String {
        match self.by {
            By::Host => format!("h{row}.shop.test"),
            By::Prefix | By::Header => "shop.test".to_owned(),
        }
    }

    /// The prefix of its paths.
    #[must_use]
    pub fn prefix(&self, row: usize) -> String {
        match self.by {
            By::Prefix => format!("/r{row}/"),
            By::Host | By::Header => "/".to_owned(),
        }
    }

    /// The value of its field `x-row`, where that tells it.
    #[must_use]
    pub fn value(&self, row: usize) -> Option<String> {
        (self.by == By::Header).then(|| format!("t{row}"))
    }

    /// The one that is asked.
    #[must_use]
    pub fn last(&self) -> usize {
        self.rows.saturating_sub(1)
    }
}
