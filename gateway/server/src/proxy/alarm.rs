//! A timer for a time that keeps being put off, set anew only when it has rung: to set one costs more than to ask for one.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// Rings once what was last asked for is due.
#[derive(Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether it is that late; else its task is woken then, or earlier.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>, due: Instant) -> Poll<()> {
        let due = due.into();
        let timer = match &mut self.0 {
            Some(timer) if timer.deadline() <= due => timer,
            other => other.insert(Box::pin(tokio::time::sleep_until(due))),
        };
        while timer.as_mut().poll(context).is_ready() {
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }

    /// Nothing is waited for any more.
    pub(crate) fn off(&mut self) {
        self.0 = None;
    }
}
