//! A file or a credential by its name, with the field that names it.

use std::fmt;
use std::ops::Deref;

use crate::origin::Place;

/// A name that leads outside of the configuration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The path of a file, or the name of a credential.
    pub name: Box<str>,
    /// Where it is written, in the document of what asks for it.
    pub place: Option<Place>,
}

impl Deref for Reference {
    type Target = str;
    fn deref(&self) -> &str {
        &self.name
    }
}

/// The name alone: what is made of it does not depend on the line that it stands on.
impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}
