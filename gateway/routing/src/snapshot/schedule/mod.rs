//! Which target serves which turn: an exact, shuffled schedule for a vector of weights.
//! The ticket that counts a route's turns is not here: it lives beside the endpoint state.
//!
//! **Problem.** A 10 % must be 10 % at every moment, and a client that repeats a pattern (page, asset, page,
//! asset) must not be locked to a version. **Choice.** The chairman assignment problem (Tijdeman 1980) with
//! Pfair's windows, solved when the weights are compiled and shuffled as far as the windows allow; a request
//! only indexes the table. **Refused.** A random draw per request: a 10 % that is 4 % or 16 % for a while.
//! Smooth weighted round robin: exact, but in a fixed order, so that every second request of 50/50 gets one
//! version. A uniform draw among the targets that may be served: exact, but at 10/90 half of the canary's
//! turns fall on the first slot of ten, the same lock again. **Price.** 50/50 comes in pairs, AB or BA: the
//! bound itself forces that. **Would change it:** weights that change more often than a table can be built.
//!
//! **Why it is exact.** Let C be the cycle, the sum of the weights. Turn j (from 1) of a target of weight w
//! is *open* from slot ⌊(j−1)C/w⌋ and *due* by D = ⌈jC/w⌉: served in slots ⌊(j−1)C/w⌋ … D−1, it keeps the
//! target's count strictly within one of its share at every prefix. At slot t, D > t is *tight* if the
//! unserved turns due by D fill all D−t slots left before it; the cycle's end always is. Serve an open turn
//! that is due by the first tight D, called D*. No deadline is missed: serving a turn due at d takes a slot
//! from the deadlines in t+1 … d−1, which are before D* and have one to spare. And there always is such a
//! turn: else each target that owes turns by D* was served (t+1)w/C times or more, so owes (D*−t−1)w/C or
//! fewer, too few for D*−t slots.

use std::cmp::Reverse;
use std::fmt;

/// Which target serves which turn. Whole cycles, each with exact shares at its end, so that the bound holds
/// from the start of any cycle and over the wrap-around.
#[derive(Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Slot → target, an index into the weights as given. Never empty.
    slots: Box<[u8]>,
    /// Per target as given, zeros included; no divisor in common.
    weights: Box<[u32]>,
    /// Their sum, from 1 to [`MAX_CYCLE`].
    cycle: u32,
    is_scaled: bool,
}

#[expect(clippy::len_without_is_empty, reason = "a schedule is never empty")]
impl Schedule {
    /// `None` when all weights are zero or there are more than 256 targets. `seed` shuffles; the same
    /// weights and seed always make the same table. Where weights still sum to over 1,048,576 once they are
    /// [reduced](reduce), they are brought to that sum by largest remainder, but no weight to zero: a canary
    /// of 1 in 10,000,000 gets 1 slot in 1,048,576 and does not silently vanish.
    pub fn new(weights: &[u32], seed: u64) -> Option<Self> {
        if weights.len() > MAX_TARGETS || sum(weights) == 0 {
            return None;
        }
        let (weights, is_scaled) = fit(reduce(weights));
        let cycle = sum(&weights) as u32;
        let cycles = if cycle == 1 { 1 } else { (TABLE / cycle).max(1) };
        let mut slots = Vec::with_capacity(cycles as usize * cycle as usize);
        let mut chance = Chance::new(seed, &weights);
        let slack = Slack::new(&weights, cycle);
        for _ in 0..cycles {
            deal_cycle(&weights, slack.clone(), &mut chance, &mut slots);
        }
        Some(Schedule { slots: slots.into(), weights, cycle, is_scaled })
    }

    /// The target of a turn, an index into the weights as given; one of weight zero never comes up. Any turn
    /// will do: it wraps around the table. Where [`len`](Self::len) does not divide 2⁶⁴, a ticket that itself
    /// wraps breaks off one cycle, after 584 years at 10⁹ requests a second.
    pub fn target(&self, turn: u64) -> usize {
        usize::from(self.slots[(turn % self.slots.len() as u64) as usize])
    }

    /// The slots of one cycle: the sum of the [effective](Self::effective) weights.
    pub fn cycle(&self) -> u32 {
        self.cycle
    }

    /// The slots of the table: the cycles that fit in 16,384, at least one; for a single target, one slot.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slots that each target has in a cycle, per target as given.
    pub fn effective(&self) -> &[u32] {
        &self.weights
    }

    /// Whether the weights reduced to a sum over 1,048,576, so that the shares are only close to those given.
    pub fn is_scaled(&self) -> bool {
        self.is_scaled
    }

    /// The first slot of a cycle chosen by `hash`, where a route starts: routes alike do not go in step.
    pub fn start(&self, hash: u64) -> u64 {
        let cycle = u64::from(self.cycle);
        hash % (self.slots.len() as u64 / cycle) * cycle
    }
}

/// Without the table, which may be a million slots long.
impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule").field("weights", &self.weights).finish_non_exhaustive()
    }
}

/// Weights divided by their greatest common divisor, per target as given: 90/10 and 9/1 are the same.
/// Schedules are interned by it, for the same reduced weights and seed make the same schedule, scaled or
/// not.
pub fn reduce(weights: &[u32]) -> Box<[u32]> {
    let divisor = weights.iter().copied().fold(0, |mut a, mut b| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    });
    weights.iter().map(|weight| weight / divisor.max(1)).collect()
}

fn sum(weights: &[u32]) -> u64 {
    weights.iter().copied().map(u64::from).sum()
}

/// Scales reduced weights whose sum is over [`MAX_CYCLE`], and reduces them again; whether they were over.
fn fit(mut weights: Box<[u32]>) -> (Box<[u32]>, bool) {
    if sum(&weights) <= MAX_CYCLE {
        return (weights, false);
    }
    scale(&mut weights);
    (reduce(&weights), true)
}

/// Brings the sum down to [`MAX_CYCLE`]: each weight worth less than one slot gets one, and the others share
/// the slots that are left by largest remainder, the earlier target first where remainders are equal.
fn scale(weights: &mut [u32]) {
    let (mut sum, mut room) = (sum(weights), MAX_CYCLE);
    let mut heavy: Vec<usize> = (0..weights.len()).filter(|&target| weights[target] != 0).collect();
    // From the lightest up: each slot given away makes the rest dearer, and who comes later can pay more.
    heavy.sort_by_key(|&target| weights[target]);
    heavy.retain(|&target| {
        let weight = u64::from(weights[target]);
        let is_light = weight * room < sum;
        if is_light {
            (sum, room) = (sum - weight, room - 1);
            weights[target] = 1;
        }
        !is_light
    });
    let exact = |weight: u32| u64::from(weight) * room;
    heavy.sort_by_key(|&target| (Reverse(exact(weights[target]) % sum), target));
    let floors: u64 = heavy.iter().map(|&target| exact(weights[target]) / sum).sum();
    for (rank, target) in (0..).zip(heavy) {
        weights[target] = (exact(weights[target]) / sum) as u32 + u32::from(rank < room - floors);
    }
}

/// The next turn of one target, while a cycle is dealt.
struct Turn {
    target: u8,
    weight: u64,
    served: u64,
    /// The first slot that may serve it.
    open: u64,
    /// It must be served within so many slots of the cycle.
    due: u64,
    /// The turns due by D* and not yet served.
    owed: u64,
}

/// Appends one cycle to the table. `slack` is that of a cycle's start.
fn deal_cycle(weights: &[u32], mut slack: Slack, chance: &mut Chance, slots: &mut Vec<u8>) {
    let cycle = sum(weights);
    let mut turns: Vec<Turn> = (0..=u8::MAX)
        .zip(weights.iter().copied().map(u64::from))
        .filter(|&(_, weight)| weight != 0)
        .map(|(target, weight)| (target, weight, cycle.div_ceil(weight)))
        .map(|(target, weight, due)| Turn { target, weight, served: 0, open: 0, due, owed: 0 })
        .collect();
    let mut tight = 0;
    for slot in 0..cycle {
        let first = slack.first_tight();
        if tight != first {
            tight = first;
            for turn in &mut turns {
                turn.owed = (tight * turn.weight / cycle).saturating_sub(turn.served);
            }
        }
        let is_open = |turn: &&mut Turn| turn.open <= slot;
        let mut draw = chance.below(turns.iter_mut().filter(is_open).map(|turn| turn.owed).sum());
        let drawn = turns.iter_mut().filter(is_open).find(|turn| {
            let rest = draw.checked_sub(turn.owed);
            draw = rest.unwrap_or(draw);
            rest.is_none()
        });
        let turn = drawn.expect("an open turn is due by the first tight deadline: the proof above");
        slots.push(turn.target);
        slack.serve(slot, turn.due);
        turn.served += 1;
        turn.owed -= 1;
        turn.open = turn.served * cycle / turn.weight;
        turn.due = ((turn.served + 1) * cycle).div_ceil(turn.weight);
    }
}

/// How many slots each deadline D has to spare, and the first that has none: a tree of minima.
#[derive(Clone)]
struct Slack {
    /// Binary, the root at 1, the leaf of D at `leaves + D − 1`. Each node holds its minimum less the lower
    /// one of it and its sibling, so that one of the two is 0 and shows the way.
    above: Box<[i32]>,
    leaves: usize,
}

impl Slack {
    /// At the start of a cycle: D − Σ⌊Dw/C⌋.
    fn new(weights: &[u32], cycle: u32) -> Self {
        let (cycle, leaves) = (u64::from(cycle), cycle.next_power_of_two() as usize);
        let mut above = vec![0; 2 * leaves].into_boxed_slice();
        above[leaves..].fill(1);
        for weight in weights.iter().copied().map(u64::from) {
            (1..=weight).for_each(|turn| above[leaves + (turn * cycle).div_ceil(weight) as usize - 1] -= 1);
        }
        for leaf in leaves + 1..2 * leaves {
            above[leaf] += above[leaf - 1];
        }
        let mut slack = Slack { above, leaves };
        (1..leaves).rev().for_each(|node| _ = slack.settle(2 * node));
        slack
    }

    /// D*: the first without slack, which is the first of the lowest, since the cycle's end never has any.
    fn first_tight(&self) -> u64 {
        let mut node = 1;
        while node < self.leaves {
            node = 2 * node + usize::from(self.above[2 * node] != 0);
        }
        (node - self.leaves + 1) as u64
    }

    /// After `slot` served a turn due at `due`: a slot passed for every deadline, and those from `due` on
    /// needed it. Only differences count, so they gain one instead; the deadline that is past goes far away.
    fn serve(&mut self, slot: u64, due: u64) {
        let (mut node, mut past) = (self.leaves + due as usize - 1, self.leaves + slot as usize);
        self.above[node] += 1;
        self.above[past] += FAR;
        while node > 1 {
            self.above[node | 1] += i32::from(node & 1 == 0);
            (node, past) = (self.settle(node), self.settle(past));
        }
    }

    /// Moves what a node and its sibling have in common up to their parent, and returns the parent.
    fn settle(&mut self, node: usize) -> usize {
        let low = self.above[node].min(self.above[node ^ 1]);
        self.above[node] -= low;
        self.above[node ^ 1] -= low;
        self.above[node / 2] += low;
        node / 2
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers on every machine and in every release.
struct Chance(u64);

impl Chance {
    /// Different weights get different numbers from one seed.
    fn new(seed: u64, weights: &[u32]) -> Self {
        weights.iter().fold(Chance(seed), |mut chance, &weight| Chance(chance.next() ^ u64::from(weight)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// 0 … `bound` − 1, even to 2⁻⁴⁴ for the bounds we have.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// The longest cycle: one byte a slot makes it 1 MiB.
const MAX_CYCLE: u64 = 1 << 20;
/// The slots to fill with whole cycles: the more cycles, the more orders.
const TABLE: u32 = 16_384;
const MAX_TARGETS: usize = 256;
/// More than any slack in the tree can grow to.
const FAR: i32 = 1 << 30;

#[cfg(test)]
mod tests;
