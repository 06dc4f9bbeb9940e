//! How long `/next` is held back: only while somebody can tell us that the invocation ended.

use std::collections::VecDeque;
use std::time::Duration;

use super::links::Links;
use super::phase::Invocation;
use super::{Moment, RequestId, Wall};
use crate::limits::{FINISHED_INVOCATIONS_MAX, INVOCATION_MARGIN, INVOCATION_STARTED_WAIT};

/// Why an invocation counts as over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The function said so.
    Done,
    /// The link that announced it ended.
    NoSource,
    /// Nobody announced it: no link, or one that misses its cues. It may have ended long ago.
    Unheard,
    /// The deadline is near.
    Deadline,
}

/// Invocations that ended before their INVOKE reached us, and the one that was given up.
#[derive(Debug, Default)]
pub struct Hold {
    finished: VecDeque<RequestId>,
    /// With its attempt, if it was announced.
    given_up: Option<(RequestId, Option<String>)>,
    /// Whether the running invocation was announced.
    announced: bool,
}

impl Hold {
    /// INVOKE came.
    pub fn begin(&mut self) {
        self.announced = false;
    }

    /// `InvocationDone` came.
    pub fn done(&mut self, request_id: RequestId, attempt: &str) {
        let late = |(id, of): &(RequestId, Option<String>)| {
            *id == request_id && of.as_ref().is_none_or(|of| of == attempt)
        };
        if self.given_up.as_ref().is_some_and(late) {
            self.given_up = None;
            return;
        }
        if self.finished.len() == FINISHED_INVOCATIONS_MAX {
            self.finished.pop_front();
        }
        self.finished.push_back(request_id);
    }

    /// Whether `invocation` is over, and why. Marks links that missed their cue.
    pub fn over(
        &mut self,
        now: Moment,
        invocation: &Invocation,
        links: &mut Links,
        billed_max: Duration,
    ) -> Option<Over> {
        if let Some(position) = self.finished.iter().position(|id| *id == invocation.request_id) {
            self.finished.remove(position);
            return Some(Over::Done);
        }
        if now.reached(latest(invocation)) {
            self.give_up(invocation, links);
            return Some(Over::Deadline);
        }
        if links.announced(&invocation.request_id) {
            self.announced = true;
            // A function does one thing after the other: word of an earlier attempt can't come any more.
            self.given_up = None;
            return None;
        }
        if !self.announced && links.any_timely() && !now.reached(announce_by(invocation, billed_max)) {
            return None;
        }
        self.give_up(invocation, links);
        Some(if self.announced { Over::NoSource } else { Over::Unheard })
    }

    fn give_up(&mut self, invocation: &Invocation, links: &mut Links) {
        self.given_up = Some((invocation.request_id.clone(), links.miss(&invocation.request_id)));
    }

    /// When [`Self::over`] has to be asked again if nothing happens.
    #[must_use]
    pub fn timeout(now: Moment, invocation: &Invocation, links: &Links, billed_max: Duration) -> Wall {
        let announce_by = announce_by(invocation, billed_max);
        if links.announced(&invocation.request_id) || now.reached(announce_by) {
            return latest(invocation);
        }
        announce_by.min(latest(invocation))
    }
}

/// `/next` is called by then.
#[must_use]
pub fn latest(invocation: &Invocation) -> Wall {
    let length = invocation.deadline.saturating_sub(invocation.began.wall);
    invocation.deadline.saturating_sub(INVOCATION_MARGIN.min(length / 10))
}

fn announce_by(invocation: &Invocation, billed_max: Duration) -> Wall {
    invocation.began.wall + INVOCATION_STARTED_WAIT.min(billed_max)
}
