//! Where something runs: region, zone and sub-zone, as Istio writes them.

use std::fmt;

/// A place; empty parts are not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    /// The region.
    pub region: Box<str>,
    /// The zone inside it.
    pub zone: Box<str>,
    /// The part of the zone.
    pub subzone: Box<str>,
}

impl Locality {
    /// Reads `region/zone/subzone`; what stands deeper is cut off, as Istio does.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split('/').map(Box::from);
        let mut next = || parts.next().unwrap_or_default();
        Locality { region: next(), zone: next(), subzone: next() }
    }

    /// Whether nothing is known of it.
    pub fn is_empty(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty() && self.subzone.is_empty()
    }

    /// How far away `other` is: 0 for the same place, 1 for the same zone, 2 for the same region, else 3.
    pub(crate) fn distance(&self, other: &Locality) -> u32 {
        match (self.region == other.region, self.zone == other.zone, self.subzone == other.subzone) {
            (true, true, true) => 0,
            (true, true, false) => 1,
            (true, false, _) => 2,
            (false, ..) => 3,
        }
    }

    /// Whether a rule's locality, whose last part may be `*`, covers this one. Parts that a rule leaves out are
    /// open.
    pub(crate) fn is_covered_by(&self, rule: &str) -> bool {
        let own = [&*self.region, &*self.zone, &*self.subzone];
        let mut wanted = rule.splitn(3, '/');
        own.iter().all(|part| match wanted.next() {
            None | Some("" | "*") => true,
            Some(wanted) => match wanted.strip_suffix('*') {
                Some(start) => part.starts_with(start),
                None => wanted == *part,
            },
        })
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.region)?;
        for part in [&self.zone, &self.subzone].into_iter().filter(|part| !part.is_empty()) {
            write!(f, "/{part}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_and_wildcards() {
        let here = Locality::parse("us/a/1/deeper");
        assert_eq!(here.to_string(), "us/a/1");
        for (other, distance) in [("us/a/1", 0), ("us/a/2", 1), ("us/b/1", 2), ("eu/a/1", 3), ("", 3)] {
            assert_eq!(here.distance(&Locality::parse(other)), distance, "{other}");
        }
        for (rule, covered) in [
            ("*", true),
            ("us", true),
            ("us/*", true),
            ("us/a/*", true),
            ("us/a/1", true),
            ("us/b/*", false),
            ("u*", true),
            ("eu", false),
        ] {
            assert_eq!(here.is_covered_by(rule), covered, "{rule}");
        }
    }
}
