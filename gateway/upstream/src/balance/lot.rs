//! Numbers from 64 random bits, and choices by weight.

/// A number below `count`, each as likely, from 32 random bits.
pub(super) fn below(lot: u32, count: u64) -> u64 {
    (u64::from(lot) * count) >> 32
}

/// Further random bits out of some: the `turn`-th.
pub(super) fn again(lot: u64, turn: u64) -> u64 {
    let mixed = lot.wrapping_add(turn.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// A number from 0 to just under 1.
pub(super) fn part(lot: u64) -> f64 {
    (lot >> 11) as f64 / (1_u64 << 53) as f64
}

/// One of some, each as likely as its weight; `None` for none. Where nobody has a weight, all are as likely.
pub(super) fn by_weight(candidates: impl Iterator<Item = (usize, f64)> + Clone, lot: u64) -> Option<usize> {
    let (count, sum) =
        candidates.clone().fold((0_u64, 0.0), |(count, sum), (_, weight)| (count + 1, sum + weight));
    if sum <= 0.0 {
        return candidates.map(|(index, _)| index).nth(below(lot as u32, count) as usize);
    }
    let mut left = part(lot) * sum;
    let mut last = None;
    for (index, weight) in candidates.filter(|&(_, weight)| weight > 0.0) {
        last = Some(index);
        if left < weight {
            break;
        }
        left -= weight;
    }
    last
}
