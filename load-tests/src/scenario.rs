//! What is asked of every peer, and which answers are right.

/// One kind of request, the answer to it, and the split that every peer is configured for.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Names the result files.
    pub name: &'static str,
    /// One line for the head of the report.
    pub title: &'static str,
    /// Sent as `Host`.
    pub host: &'static str,
    /// The path that is asked for.
    pub path: &'static str,
    /// The prefix that the route of each peer matches.
    pub prefix: &'static str,
    /// Length of the answer's body in bytes.
    pub body: usize,
    /// Versions with their weights; counts elsewhere are in this order.
    pub split: &'static [(&'static str, u64)],
}

/// The smallest useful request: all that is measured is the proxy's price for one.
pub const SMALL_KEEPALIVE: Scenario = Scenario {
    name: "small-keepalive",
    title: "small GET, HTTP/1.1 keep-alive on both sides, 100-byte answer, 90/10 over v1 and v2",
    host: "shop.test",
    path: "/reviews/0",
    prefix: "/reviews",
    body: 100,
    split: &[("v1", 90), ("v2", 10)],
};

/// How closely a peer promises to keep the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exactness {
    /// Every prefix of the requests is within one of each share.
    Exact,
    /// Each request is drawn for itself.
    Drawn,
}

/// Deviations a drawn split may be off: one wrong alarm in 500 million rounds.
const DEVIATIONS: f64 = 6.0;

impl Scenario {
    /// The request as it goes over the wire.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n",
            self.path, self.host
        )
        .into_bytes()
    }

    /// Says what is wrong with the counts of a run; `slack` is how far an exact split may be off: 1 from a
    /// peer's first request or over whole cycles, 2 between two points of its life.
    pub fn judge(&self, counts: &[u64], exactness: Exactness, slack: f64) -> Result<(), String> {
        let requests = counts.iter().sum::<u64>() as f64;
        let weights = self.split.iter().map(|(_, weight)| weight).sum::<u64>() as f64;
        for (&(version, weight), &count) in self.split.iter().zip(counts) {
            let share = weight as f64 / weights;
            let allowed = match exactness {
                Exactness::Exact => slack,
                Exactness::Drawn => DEVIATIONS * (requests * share * (1.0 - share)).sqrt(),
            };
            if (count as f64 - requests * share).abs() > allowed {
                return Err(format!(
                    "{version} answered {count} of {requests} requests; its share is {:.1}, give or take {allowed:.0}",
                    requests * share
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_means_within_the_slack_and_drawn_within_chance() {
        let judge =
            |counts: [u64; 2], exactness, slack| SMALL_KEEPALIVE.judge(&counts, exactness, slack).is_ok();
        assert!(judge([900, 100], Exactness::Exact, 1.0));
        assert!(judge([901, 99], Exactness::Exact, 1.0));
        assert!(!judge([902, 98], Exactness::Exact, 1.0));
        assert!(judge([902, 98], Exactness::Exact, 2.0));
        assert!(judge([870, 130], Exactness::Drawn, 1.0));
        assert!(!judge([500, 500], Exactness::Drawn, 1.0));
        assert!(!judge([1000, 0], Exactness::Drawn, 1.0));
    }
}
