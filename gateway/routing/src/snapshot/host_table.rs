//! Host → what is for it: exact, then the longest suffix, then any.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use crate::host::HostPattern;

/// A table of host patterns. A look-up costs one hash for the host and one for each of its dots. A clone shares the maps
/// until one of the two is changed.
#[derive(Clone, Debug)]
pub struct HostTable<T> {
    exact: Arc<Map<T>>,
    suffix: Arc<Map<T>>,
    any: Option<T>,
}

/// Keys come from files that we trust not to attack us, so the hash needs no secret.
type Map<T> = HashMap<Box<str>, T, BuildHasherDefault<DefaultHasher>>;

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        HostTable { exact: Arc::default(), suffix: Arc::default(), any: None }
    }
}

impl<T> HostTable<T> {
    /// Puts `value` under a pattern and gives back what was there.
    pub(crate) fn insert(&mut self, pattern: &HostPattern, value: T) -> Option<T>
    where
        T: Clone,
    {
        match pattern {
            HostPattern::Exact(host) => Arc::make_mut(&mut self.exact).insert(host.clone(), value),
            HostPattern::Suffix(suffix) => Arc::make_mut(&mut self.suffix).insert(suffix.clone(), value),
            HostPattern::Any => self.any.replace(value),
        }
    }

    /// What is under exactly this pattern.
    pub(crate) fn get(&self, pattern: &HostPattern) -> Option<&T> {
        match pattern {
            HostPattern::Exact(host) => self.exact.get(host),
            HostPattern::Suffix(suffix) => self.suffix.get(suffix),
            HostPattern::Any => self.any.as_ref(),
        }
    }

    /// What is for a host: `authority` in any case, with or without a port.
    ///
    /// Envoy `VirtualHost.domains`: exact, then the longest `*.suffix`, then `*`; there is no falling through
    /// from one to the next once one was found.
    pub fn find(&self, authority: &str) -> Option<&T> {
        let host = without_port(authority);
        if self.exact.is_empty() && self.suffix.is_empty() {
            return self.any.as_ref();
        }
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.find_lower(&host.to_ascii_lowercase())
        } else {
            self.find_lower(host)
        }
    }

    fn find_lower(&self, host: &str) -> Option<&T> {
        if let Some(found) = self.exact.get(host) {
            return Some(found);
        }
        if !self.suffix.is_empty() {
            // A leading dot has no character before it for the wildcard to stand for.
            for (dot, _) in host.match_indices('.').filter(|(dot, _)| *dot > 0) {
                if let Some(found) = self.suffix.get(&host[dot..]) {
                    return Some(found);
                }
            }
        }
        self.any.as_ref()
    }

    /// How many patterns a host fulfils, of which [`HostTable::find`] gives the narrowest.
    pub fn count(&self, authority: &str) -> usize {
        let host = without_port(authority).to_ascii_lowercase();
        let dots = host.match_indices('.').filter(|(dot, _)| *dot > 0);
        let suffixes = dots.filter(|(dot, _)| self.suffix.contains_key(&host[*dot..])).count();
        usize::from(self.exact.contains_key(&*host)) + suffixes + usize::from(self.any.is_some())
    }

    /// All values, in no particular order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.suffix.values()).chain(&self.any)
    }
}

/// The host of an authority: `shop.test:8080` is `shop.test`, `[::1]:80` is `::1`.
fn without_port(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_then_longest_suffix_then_any() {
        let mut table = HostTable::default();
        for pattern in ["shop.test", "*.test", "*.shop.test", "::1"] {
            table.insert(&HostPattern::parse(pattern).unwrap(), pattern);
        }
        for (authority, found) in [
            ("shop.test", Some("shop.test")),
            ("SHOP.Test:8080", Some("shop.test")),
            ("a.shop.test", Some("*.shop.test")),
            ("a.b.shop.test:1", Some("*.shop.test")),
            ("b.test", Some("*.test")),
            (".test", None),
            ("test", None),
            ("shop.test.", None),
            ("[::1]:80", Some("::1")),
            ("shop.test:x", None),
            ("", None),
        ] {
            assert_eq!(table.find(authority).copied(), found, "{authority}");
            assert_eq!(table.count(authority) > 0, found.is_some(), "{authority}");
        }
        table.insert(&HostPattern::Any, "*");
        assert_eq!(table.find("elsewhere"), Some(&"*"));
        assert_eq!(table.find("shop.test"), Some(&"shop.test"));
        assert_eq!(table.count("a.shop.test:80"), 3);
    }
}
