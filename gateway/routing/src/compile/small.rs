//! A map of few entries: sorted, in one block of memory of just their size. A tree keeps room for eleven of each, and there
//! are several for every endpoint.

use std::borrow::Borrow;

/// Entries by key, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SmallMap<K, V>(Box<[(K, V)]>);

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        SmallMap(Box::default())
    }
}

impl<K: Ord, V> SmallMap<K, V> {
    /// What is under a key.
    pub(super) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let at = self.0.binary_search_by(|(own, _)| own.borrow().cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Whether there is no entry.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Puts entries in, over those with their keys.
    pub(super) fn extend(&mut self, more: impl IntoIterator<Item = (K, V)>) {
        *self = std::mem::take(&mut self.0).into_iter().chain(more).collect();
    }

    /// Leaves out the entries that are not wanted.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(&K, &V) -> bool) {
        let before = std::mem::take(&mut self.0).into_iter();
        self.0 = before.filter(|(key, value)| wanted(key, value)).collect();
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SmallMap<K, V> {
    /// Of several entries of one key the last counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut all: Vec<(K, V)> = entries.into_iter().collect();
        all.reverse();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all.dedup_by(|(a, _), (b, _)| a == b);
        SmallMap(all.into_boxed_slice())
    }
}

impl<K, V> IntoIterator for SmallMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_key_counts() {
        fn all<'m>(map: &SmallMap<&'m str, u8>) -> Vec<(&'m str, u8)> {
            map.iter().map(|(key, value)| (*key, *value)).collect()
        }
        let mut map: SmallMap<&str, u8> = [("b", 1), ("a", 2), ("b", 3)].into_iter().collect();
        assert_eq!(all(&map), [("a", 2), ("b", 3)]);
        map.extend([("c", 4), ("a", 5)]);
        assert_eq!((map.get("a"), map.get("c"), map.get("d")), (Some(&5), Some(&4), None));
        map.retain(|_, value| *value > 4);
        assert_eq!(all(&map), [("a", 5)]);
        map.retain(|_, _| false);
        assert!(map.is_empty());
    }
}
