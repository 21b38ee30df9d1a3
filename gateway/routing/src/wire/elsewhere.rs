//! What was written in one object and stands in another: its places marked, so that findings still point where it is.

use std::time::Duration;

use crate::origin::At;

/// Something that was written, with places in it.
pub(crate) trait Elsewhere {
    /// Marks every place in it as the other piece's.
    fn mark(&mut self);
}

impl<T: Elsewhere> Elsewhere for At<T> {
    fn mark(&mut self) {
        self.pos = self.pos.elsewhere();
        self.value.mark();
    }
}

impl<T: Elsewhere> Elsewhere for Option<T> {
    fn mark(&mut self) {
        self.iter_mut().for_each(T::mark);
    }
}

impl<T: Elsewhere> Elsewhere for Box<[T]> {
    fn mark(&mut self) {
        self.iter_mut().for_each(T::mark);
    }
}

impl<T: Elsewhere> Elsewhere for Box<T> {
    fn mark(&mut self) {
        (**self).mark();
    }
}

impl<A: Elsewhere, B: Elsewhere> Elsewhere for (A, B) {
    fn mark(&mut self) {
        self.0.mark();
        self.1.mark();
    }
}

macro_rules! placeless {
    ($($type:ty),*) => {$(
        impl Elsewhere for $type {
            fn mark(&mut self) {}
        }
    )*};
}

placeless!(String, bool, i64, u16, f64, Duration);
