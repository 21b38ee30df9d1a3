//! A request's way in, and out where it goes no further: the ceilings of its cluster, its place in their queue, the answer that
//! it gets here, and the end of its connection.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use pingora_core::Result;
use trysail_upstream::limits::Waiting;

use super::super::limits::{self, Entry};
use super::super::reply::Answer;
use super::super::steps;
use super::super::turn::Turn;
use super::downstream::Downstream;
use super::run::Run;
use super::upload::Upload;

/// What becomes of a request that has its turn.
pub(super) enum Way {
    /// It has its endpoint.
    On,
    /// It asks again once this is ready.
    Later(Waiting),
    /// It goes no further.
    Back(Answer),
}

impl<C: Downstream> Run<'_, C> {
    /// Whether there is an endpoint for it, and room there.
    pub(super) fn way(&mut self, turn: std::result::Result<Turn, Answer>) -> Way {
        let turn = match turn {
            Ok(turn) => turn,
            Err(answer) => return Way::Back(answer),
        };
        let (ends, whole) = (self.ends, self.upload.has_come());
        if !steps::turn(&mut self.ctx, turn, &self.request, || ends, whole) {
            return self.back(Answer::NO_ENDPOINT);
        }
        match limits::ask(&mut self.ctx) {
            Entry::Open => Way::On,
            Entry::Queue(waiting) => Way::Later(waiting),
            Entry::Shut(answer) => self.back(answer),
        }
    }

    /// Waits for its place as long as its client does and its time lets it. An error is the client's. What that says meanwhile,
    /// of its body or beyond, is read ahead, so its going is noticed.
    pub(super) async fn queue(&mut self, waiting: Waiting) -> Result<Way> {
        let over = self.ctx.deadline.left().map(tokio::time::sleep);
        let (mut waiting, mut over) = (pin!(waiting), pin!(over));
        let client = &mut self.client;
        let turn = poll_fn(|cx| {
            if let Poll::Ready(turn) = waiting.as_mut().poll(cx) {
                return Poll::Ready(Ok(Some(turn)));
            }
            if over.as_mut().as_pin_mut().is_some_and(|over| over.poll(cx).is_ready()) {
                return Poll::Ready(Ok(None));
            }
            client.poll_gone(cx).map(Err)
        });
        let turn = turn.await?;
        Ok(match limits::admitted(&mut self.ctx, turn) {
            Ok(()) => Way::On,
            Err(answer) => self.back(answer),
        })
    }

    fn back(&self, answer: Answer) -> Way {
        Way::Back(Answer { response: self.ctx.response_ops().to_vec(), ..answer })
    }

    /// Answers a request that goes no further; whether the client's connection is kept. It is where the request is there as a
    /// whole: what is still to come has no place behind the answer.
    pub(super) async fn refuse(&mut self, answer: Answer) -> bool {
        if let Err(error) = self.upload.take(&mut self.client) {
            return self.fail(&error).await;
        }
        let answer = steps::refusal(&mut self.ctx, answer, &self.request.headers);
        self.reply(&answer, false).await.unwrap_or(false)
    }
}

/// Ends a client's connection. Who still sends is listened to until it has seen that: what nobody reads when a connection is
/// closed resets it, and the answer is lost.
pub(super) async fn part<C: Downstream>(mut client: C, mut upload: Upload) {
    poll_fn(|cx| client.poll_end(cx)).await;
    if !upload.has_come() {
        let _ = poll_fn(|cx| upload.poll_drain(&mut client, cx)).await;
    }
}
