//! How long `/next` is held back: only while somebody can tell us that the invocation ended.

use std::collections::VecDeque;
use std::time::Duration;

use super::links::Links;
use super::phase::Invocation;
use super::platform::PlatformSource;
use super::{Moment, RequestId, Wall};
use crate::limits::{FINISHED_INVOCATIONS_MAX, INVOCATION_MARGIN, INVOCATION_STARTED_WAIT};

/// Why an invocation counts as over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The function said so.
    Done,
    /// The platform said so; it ended then.
    Reported(Wall),
    /// The link that announced it ended.
    NoSource,
    /// Nobody who keeps their word announced it. It may have ended long ago, or run on for long.
    Unheard,
    /// The deadline is near.
    Deadline,
}

/// Invocations that ended before their INVOKE reached us, and the one that was given up.
#[derive(Debug)]
pub struct Hold {
    billed_max: Duration,
    /// Those whose end a link told.
    finished: VecDeque<RequestId>,
    /// With its attempt, if a link announced it.
    given_up: Option<(RequestId, Option<String>)>,
    /// Whether a link announced the running invocation.
    announced: bool,
    /// What the platform tells.
    pub platform: PlatformSource,
}

impl Hold {
    /// Nothing ran yet. `billed_max` is the cap on billed time.
    #[must_use]
    pub fn new(billed_max: Duration) -> Self {
        Self {
            billed_max,
            finished: VecDeque::new(),
            given_up: None,
            announced: false,
            platform: PlatformSource::new(billed_max),
        }
    }

    /// INVOKE came.
    pub fn begin(&mut self, now: Moment, request_id: &RequestId) {
        self.announced = false;
        self.platform.invoked(now, request_id);
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
    pub fn over(&mut self, now: Moment, invocation: &Invocation, links: &mut Links) -> Option<Over> {
        if let Some(position) = self.finished.iter().position(|id| *id == invocation.request_id) {
            self.finished.remove(position);
            return Some(Over::Done);
        }
        if let Some(end) = self.platform.ended() {
            // What a link still says of it comes late.
            self.given_up = Some((invocation.request_id.clone(), links.ended(&invocation.request_id)));
            return Some(Over::Reported(end));
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
        if !self.announced && self.waited_for_until(invocation, links).any(|at| !now.reached(at)) {
            return None;
        }
        self.give_up(invocation, links);
        Some(if self.announced { Over::NoSource } else { Over::Unheard })
    }

    /// While no link has announced it: until when somebody may yet, or may tell its end.
    fn waited_for_until(&self, invocation: &Invocation, links: &Links) -> impl Iterator<Item = Wall> {
        let link = links.any_timely().then(|| self.announce_by(invocation));
        link.into_iter().chain(self.platform.holds_until())
    }

    /// Whether nobody is there who can be trusted to tell the end of `invocation`.
    #[must_use]
    pub fn guessing(&self, links: &Links) -> bool {
        !self.announced && !links.any_timely() && !self.platform.sure()
    }

    fn give_up(&mut self, invocation: &Invocation, links: &mut Links) {
        self.given_up = Some((invocation.request_id.clone(), links.miss(&invocation.request_id)));
    }

    /// When [`Self::over`] has to be asked again if nothing happens.
    #[must_use]
    pub fn timeout(&self, now: Moment, invocation: &Invocation, links: &Links) -> Wall {
        let latest = latest(invocation);
        if links.announced(&invocation.request_id) {
            return latest;
        }
        let waits = self.waited_for_until(invocation, links).filter(|at| !now.reached(*at));
        waits.min().map_or(latest, |at| at.min(latest))
    }

    fn announce_by(&self, invocation: &Invocation) -> Wall {
        invocation.began.wall + INVOCATION_STARTED_WAIT.min(self.billed_max)
    }
}

/// `/next` is called by then.
#[must_use]
pub fn latest(invocation: &Invocation) -> Wall {
    let length = invocation.deadline.saturating_sub(invocation.began.wall);
    invocation.deadline.saturating_sub(INVOCATION_MARGIN.min(length / 10))
}
