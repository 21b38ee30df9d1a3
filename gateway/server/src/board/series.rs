//! The last ten minutes of one target, in steps of ten seconds.

use std::collections::VecDeque;
use std::time::Duration;

use super::cell::Tally;

/// How long a step is.
pub(crate) const STEP: Duration = Duration::from_secs(10);

/// How many steps are kept.
const STEPS: usize = 60;

/// What ended in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    /// In milliseconds; `None` where nothing was answered.
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

/// The steps of one target that had requests in them. Kept only while there are any.
#[derive(Debug, Default)]
pub(super) struct Series {
    /// `None` for a step without a request.
    steps: VecDeque<Option<Step>>,
    /// What ended in the step that is under way.
    news: Tally,
}

impl Series {
    /// Adds to the step that is under way.
    pub(super) fn begin(&mut self, news: &Tally) {
        self.news.add(news);
    }

    /// Ends a step.
    pub(super) fn step(&mut self) {
        let news = std::mem::take(&mut self.news);
        let step = (news.requests > 0).then(|| Step {
            requests: news.requests,
            errors: news.errors,
            p50: news.times.quantile(0.5),
            p99: news.times.quantile(0.99),
        });
        if self.steps.len() >= STEPS {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.news.requests == 0 && self.steps.iter().all(Option::is_none)
    }

    /// The steps, the last one last.
    pub(super) fn steps(&self) -> Vec<Option<Step>> {
        self.steps.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_minutes_are_kept_and_silence_is_forgotten() {
        let mut series = Series::default();
        for step in 0..100 {
            series.begin(&Tally { requests: step + 1, errors: 1, ..Tally::default() });
            series.step();
        }
        let steps = series.steps();
        assert_eq!(steps.len(), STEPS);
        assert_eq!(steps.first().unwrap().unwrap().requests, 41);
        assert_eq!(steps.last().unwrap().unwrap().requests, 100);
        for _ in 0..STEPS {
            assert!(!series.is_empty());
            series.step();
        }
        assert!(series.is_empty());
    }
}
