//! Prefix → list: of many prefixes those that a text begins with, the longest first.

use super::List;

/// Prefixes in order, each with the longest other prefix that it begins with itself.
///
/// Of all prefixes that are not greater than a text the greatest either is one of the text's or begins with all
/// of them, so one binary search finds the longest, and the way up from it the rest.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    entries: Box<[Entry]>,
}

#[derive(Debug)]
struct Entry {
    prefix: Box<str>,
    /// The entry of the longest prefix of this one; always an earlier one.
    parent: Option<u32>,
    list: List,
}

impl Prefixes {
    /// A table of prefixes, none of them twice.
    pub(super) fn new(mut lists: Vec<(Box<str>, List)>) -> Self {
        lists.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut entries: Vec<Entry> = Vec::with_capacity(lists.len());
        let mut parent: Option<u32> = None;
        for ((prefix, list), number) in lists.into_iter().zip(0_u32..) {
            while let Some(above) = parent.and_then(|above| entries.get(above as usize)) {
                if prefix.starts_with(&*above.prefix) {
                    break;
                }
                parent = above.parent;
            }
            entries.push(Entry { prefix, parent, list });
            parent = Some(number);
        }
        Prefixes { entries: entries.into() }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The lists of all prefixes of a text.
    pub(super) fn of(&self, text: &str) -> impl Iterator<Item = List> {
        let after = self.entries.partition_point(|entry| *entry.prefix <= *text);
        let nearest = self.entries[..after].last();
        let shared = nearest.map_or(0, |entry| shared_length(&entry.prefix, text));
        let up = |entry: &&Entry| entry.parent.and_then(|parent| self.entries.get(parent as usize));
        std::iter::successors(nearest, move |entry| up(entry))
            .skip_while(move |entry| entry.prefix.len() > shared)
            .map(|entry| entry.list)
    }
}

/// How many bytes two texts begin with alike.
fn shared_length(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_prefixes_of_a_text_are_found_the_longest_first() {
        let words = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/b", ""];
        let number = |at: usize| List { from: at as u32, to: at as u32 };
        let lists = words.iter().enumerate().map(|(at, word)| ((*word).into(), number(at))).collect();
        let table = Prefixes::new(lists);
        for (text, found) in [
            ("/a/b/d", &["/a/b", "/a", "/", ""][..]),
            ("/a/b/c", &["/a/b/c", "/a/b", "/a", "/", ""]),
            ("/a/c", &["/a", "/", ""]),
            ("/abc", &["/ab", "/a", "/", ""]),
            ("/zz", &["/", ""]),
            ("x", &[""]),
            ("", &[""]),
        ] {
            let lists: Vec<&str> = table.of(text).map(|list| words[list.from as usize]).collect();
            assert_eq!(lists, found, "{text:?}");
        }
        assert_eq!(Prefixes::default().of("/a").count(), 0);
    }
}
