//! The addresses of names, as they are known when a revision is compiled. Who looks them up is not here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// What names resolve to. A name that is not in it has no address yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(Arc<BTreeMap<Arc<str>, Box<[IpAddr]>>>);

impl Addresses {
    /// The addresses of a name in lower case; none where it is not known.
    pub fn of(&self, name: &str) -> &[IpAddr] {
        self.0.get(name).map_or(&[], |addresses| addresses)
    }
}

impl FromIterator<(Arc<str>, Box<[IpAddr]>)> for Addresses {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Box<[IpAddr]>)>>(names: I) -> Self {
        Addresses(Arc::new(names.into_iter().collect()))
    }
}
