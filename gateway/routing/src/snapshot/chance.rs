//! Shares of requests that are drawn by lot, in millionths; the lot itself comes in as an argument.

/// How often something happens, as Istio's percentages say: a whole number of millionths, 0 to 1,000,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chance(u32);

impl Chance {
    /// A lot is a whole number below this, each as likely.
    pub const LOTS: u32 = 1_000_000;
    /// Every time.
    pub const ALWAYS: Chance = Chance(Chance::LOTS);

    /// So many of a hundred, to the nearest millionth of all; `None` outside 0 to 100.
    pub fn percent(value: f64) -> Option<Chance> {
        (0.0..=100.0).contains(&value).then(|| Chance((value * 10_000.0).round() as u32))
    }

    /// Whether it never happens.
    pub fn is_never(self) -> bool {
        self.0 == 0
    }

    /// Whether a lot is among those for which it happens. Of two chances, whatever the smaller takes the larger
    /// takes too.
    pub fn takes(self, lot: u32) -> bool {
        lot < self.0
    }
}

/// In percent, as short as it goes: `12.5 %`.
impl std::fmt::Display for Chance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} %", f64::from(self.0) / 10_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_taken_to_the_millionth() {
        for (percent, taken) in [(0.0, 0), (0.0001, 1), (0.0003, 3), (12.5, 125_000), (100.0, Chance::LOTS)] {
            let chance = Chance::percent(percent).unwrap();
            assert_eq!(
                (0..Chance::LOTS).filter(|lot| chance.takes(*lot)).count(),
                taken as usize,
                "{percent}"
            );
        }
        for percent in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Chance::percent(percent), None, "{percent}");
        }
    }
}
