//! Lines, filters and the file, as tables.
