//! How much of the traffic each priority gets, as Envoy spills it.
//!
//! A priority whose endpoints are healthy to 72 % still takes all: it is provisioned for 1.4 times its share. What is
//! under it spills to the next. Shares are worked out when an endpoint is left out or taken back, not at a request.

/// Envoy's factor, in percent.
const OVERPROVISIONING: u64 = 140;

/// Percent for each priority, 100 together, from the healthy and all endpoints of each; where nobody is healthy,
/// by how many there are. Empty for no priority, or none with an endpoint.
pub fn loads(priorities: &[(u32, u32)]) -> Vec<u32> {
    let healths: Vec<u32> = priorities.iter().map(health).collect();
    let sum: u32 = healths.iter().sum::<u32>().min(100);
    if sum == 0 {
        return by_size(priorities);
    }
    let mut left = 100;
    let mut loads: Vec<u32> = Vec::with_capacity(healths.len());
    for health in &healths {
        let load = left.min(health * 100 / sum);
        left -= load;
        loads.push(load);
    }
    // What rounding left goes to the first that is healthy.
    if let Some(load) = loads.iter_mut().find(|load| **load > 0) {
        *load += left;
    }
    loads
}

/// Percent of what a priority may be asked for that it can take.
fn health(&(healthy, total): &(u32, u32)) -> u32 {
    match total {
        0 => 0,
        total => (OVERPROVISIONING * u64::from(healthy.min(total)) / u64::from(total)).min(100) as u32,
    }
}

/// Which priorities use all of their endpoints since under `threshold` percent are healthy; 0 for never. None does
/// while the others can take it all: Envoy `recalculatePerPriorityPanic`.
pub(super) fn panics(priorities: &[(u32, u32)], threshold: u32) -> Vec<bool> {
    let sum = priorities.iter().map(health).sum::<u32>().min(100);
    let panics = |&(healthy, total): &(u32, u32)| {
        threshold > 0
            && sum < 100
            && (sum == 0 || u64::from(healthy) * 100 < u64::from(threshold) * u64::from(total))
    };
    priorities.iter().map(panics).collect()
}

/// Everybody gets what they are of all.
pub(super) fn by_size(priorities: &[(u32, u32)]) -> Vec<u32> {
    let all: u64 = priorities.iter().map(|&(_, total)| u64::from(total)).sum();
    if all == 0 {
        return Vec::new();
    }
    let mut loads: Vec<u32> =
        priorities.iter().map(|&(_, total)| (u64::from(total) * 100 / all) as u32).collect();
    let left = 100 - loads.iter().sum::<u32>();
    if let Some(load) = loads.iter_mut().find(|load| **load > 0) {
        *load += left;
    }
    loads
}

/// The priority whose turn a number is, each number as likely: Envoy `choosePriority`.
pub(super) fn choose(mut loads: impl Iterator<Item = u32>, number: u64) -> usize {
    let wanted = (number % 100) as u32;
    let mut sum = 0;
    let reached = loads.position(|load| {
        sum += load;
        wanted < sum
    });
    reached.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After the table of Envoy's "priority levels"; what rounding leaves goes where its code puts it.
    #[test]
    fn traffic_spills_as_envoy_spills_it() {
        for (priorities, expected) in [
            (&[(100, 100), (100, 100)][..], &[100, 0][..]),
            (&[(72, 100), (72, 100)], &[100, 0]),
            (&[(71, 100), (71, 100)], &[99, 1]),
            (&[(50, 100), (50, 100)], &[70, 30]),
            (&[(25, 100), (100, 100)], &[35, 65]),
            (&[(25, 100), (25, 100)], &[50, 50]),
            (&[(0, 100), (100, 100)], &[0, 100]),
            (&[(5, 100), (65, 100)], &[8, 92]),
            (&[(50, 100), (25, 100), (100, 100)], &[70, 30, 0]),
            (&[(25, 100), (25, 100), (20, 100)], &[37, 35, 28]),
            (&[(0, 100), (0, 300)], &[25, 75]),
            (&[(1, 1)], &[100]),
            (&[(0, 0), (1, 1)], &[0, 100]),
            (&[(0, 0)], &[]),
            (&[], &[]),
        ] {
            assert_eq!(loads(priorities), expected, "{priorities:?}");
        }
    }

    #[test]
    fn few_that_are_healthy_are_no_more_than_all() {
        for (priorities, threshold, expected) in [
            (&[(0, 4)][..], 0, &[false][..]),
            (&[(0, 4)], 1, &[true]),
            (&[(2, 4)], 50, &[false]),
            (&[(1, 4)], 50, &[true]),
            // Three of four take it all, with what they are provisioned for.
            (&[(3, 4)], 90, &[false]),
            // The second takes what the first can't.
            (&[(0, 4), (4, 4)], 50, &[false, false]),
            (&[(1, 4), (1, 4)], 50, &[true, true]),
            (&[(0, 4), (2, 4)], 50, &[true, false]),
            (&[], 50, &[]),
        ] {
            assert_eq!(panics(priorities, threshold), expected, "{priorities:?} {threshold}");
        }
    }

    #[test]
    fn each_number_has_its_priority() {
        let turns = |loads: &[u32]| {
            let mut turns = vec![0; loads.len()];
            (0..1000).for_each(|number| turns[choose(loads.iter().copied(), number)] += 1);
            turns
        };
        assert_eq!(turns(&[70, 30]), [700, 300]);
        assert_eq!(turns(&[0, 100, 0]), [0, 1000, 0]);
        assert_eq!(choose(std::iter::empty(), 7), 0);
    }
}
