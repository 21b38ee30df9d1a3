//! Counters of which each thread has its own copy, so that no two write to one line of the processor's memory: what they
//! count is the sum.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many threads have a copy of their own; more share.
const SHARDS: usize = 16;

thread_local! {
    /// Which copy is this thread's; `SHARDS` until it counts something.
    static MINE: Cell<usize> = const { Cell::new(SHARDS) };
}

/// Copies, each made by the first thread that counts in it.
#[derive(Debug)]
pub(crate) struct Shards<T>([OnceLock<Box<T>>; SHARDS]);

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Shards([const { OnceLock::new() }; SHARDS])
    }
}

impl<T: Default> Shards<T> {
    /// This thread's.
    pub(crate) fn mine(&self) -> &T {
        self.0[mine()].get_or_init(Box::default)
    }
}

impl<T> Shards<T> {
    /// All there are.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(OnceLock::get).map(|shard| &**shard)
    }
}

fn mine() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let mine = MINE.get();
    if mine < SHARDS {
        return mine;
    }
    let mine = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    MINE.set(mine);
    mine
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn many_threads_count_together_and_each_for_itself() {
        for threads in [1, 3, SHARDS, 2 * SHARDS + 1] {
            let shards = Shards::<AtomicU64>::default();
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| (0..1000).for_each(|_| _ = shards.mine().fetch_add(1, Ordering::Relaxed)));
                }
            });
            let counts: Vec<u64> = shards.all().map(|shard| shard.load(Ordering::Relaxed)).collect();
            assert_eq!(counts.iter().sum::<u64>(), 1000 * threads as u64);
            assert!(
                counts.len() <= threads.min(SHARDS) && counts.len() >= threads.min(SHARDS).div_ceil(2),
                "{counts:?}"
            );
        }
    }
}
