//! The Telemetry API as a source of an invocation's end: believed only as far as it has been right.
//!
//! ```text
//!  INVOKE ─▶ waited for, while starts come in time ─▶ announced ─▶ held until its end is reported, at most
//!            the cap on billed time after INVOKE       │           for the cap and the longest recent duration
//!            no start: not waited for any more         └ not proven: for the cap, and not again and again
//! ```
//! It is proven by the report of an invocation it had announced, unless that report was late: what the platform
//! says an invocation took tells a late report from a long invocation. Without that nothing is held beyond the cap.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Moment, RequestId, Wall};
use crate::limits::{
    FINISHED_INVOCATIONS_MAX, INVOCATION_STARTED_WAIT, PLATFORM_DURATIONS_MAX, PLATFORM_UNPROVEN_HOLDS_MAX,
};

/// See the module's description.
#[derive(Debug)]
pub struct PlatformSource {
    billed_max: Duration,
    subscribed: bool,
    /// Starts come in time. The benefit of the doubt, until one did not.
    timely: bool,
    /// What recent invocations took. None: it is not proven.
    durations: VecDeque<Duration>,
    /// A late report was seen: only one that comes while `/next` is held proves it again.
    suspect: bool,
    /// Invocations held without proof and without a report, in a row.
    unproven_holds: u32,
    /// The invocation of the last INVOKE.
    last: Option<Watched>,
    /// The last announced one before it that has no report yet.
    missed: Option<Watched>,
    /// Invocations before the last one that have no report yet.
    owed: VecDeque<RequestId>,
    /// Announced before its INVOKE came.
    early_start: Option<RequestId>,
    /// Those that were reported: the platform repeats what it thinks was not delivered.
    finished: VecDeque<RequestId>,
    /// Reported before their INVOKE came.
    early_ends: VecDeque<RequestId>,
}

#[derive(Debug)]
struct Watched {
    request_id: RequestId,
    began: Moment,
    announced: bool,
    /// When it ended, as far as is known.
    ended: Option<Wall>,
    /// How long after INVOKE nobody waited for word of it any more.
    released: Option<Duration>,
}

impl PlatformSource {
    /// Not subscribed. `billed_max` is the cap on billed time.
    #[must_use]
    pub fn new(billed_max: Duration) -> Self {
        Self {
            billed_max,
            subscribed: false,
            timely: true,
            durations: VecDeque::new(),
            suspect: false,
            unproven_holds: 0,
            last: None,
            missed: None,
            owed: VecDeque::new(),
            early_start: None,
            finished: VecDeque::new(),
            early_ends: VecDeque::new(),
        }
    }

    /// The platform agreed to deliver.
    pub fn subscribed(&mut self) {
        self.subscribed = true;
    }

    /// INVOKE came.
    pub fn invoked(&mut self, now: Moment, request_id: &RequestId) {
        if !self.subscribed {
            return;
        }
        if let Some(last) = self.last.take()
            && last.ended.is_none()
        {
            remember(&mut self.owed, last.request_id.clone());
            if last.announced {
                self.durations.clear();
                self.missed = Some(last);
            }
        }
        let ended = self.early_ends.iter().position(|id| id == request_id);
        let ended = ended.and_then(|position| self.early_ends.remove(position)).map(|_| now.wall);
        let announced = self.early_start.take().as_ref() == Some(request_id);
        let request_id = request_id.clone();
        self.last = Some(Watched { request_id, began: now, announced, ended, released: None });
    }

    /// `platform.start` came.
    pub fn started(&mut self, now: Moment, request_id: &RequestId) {
        if !self.subscribed {
            return;
        }
        // What is reported from here on is of a new attempt.
        self.finished.retain(|finished| finished != request_id);
        let wait = self.announce_wait();
        match &mut self.last {
            Some(last) if last.request_id == *request_id => {
                let in_time = elapsed(now, last.began) <= wait;
                last.announced = true;
                if in_time && !self.timely {
                    self.unproven_holds = 0;
                }
                self.timely = in_time;
                // Records come in order: word of an earlier attempt can't come any more.
                self.owed.retain(|owed| owed != request_id);
            }
            Some(last) if last.released.is_none() => {} // Of an earlier one, far too late.
            _ if self.owed.contains(request_id) => {}
            _ => self.early_start = Some(request_id.clone()),
        }
    }

    /// The report of an invocation's end came; `took` is how long the platform says that it ran.
    pub fn done(&mut self, now: Moment, request_id: &RequestId, took: Option<Duration>) {
        if !self.subscribed {
            return;
        }
        if self.finished.contains(request_id) {
            return;
        }
        remember(&mut self.finished, request_id.clone());
        if let Some(position) = self.owed.iter().position(|owed| owed == request_id) {
            self.owed.remove(position);
            if let Some(missed) = self.missed.take_if(|missed| missed.request_id == *request_id) {
                self.judge(now, &missed, took);
            }
            return;
        }
        match self.last.take() {
            Some(mut last) if last.request_id == *request_id => {
                if last.ended.is_none() {
                    // Without a duration it may have ended as soon as it began.
                    let end = last.began.wall.saturating_add(took.unwrap_or_default());
                    last.ended = Some(end.min(now.wall));
                    self.judge(now, &last, took);
                }
                self.last = Some(last);
            }
            last => {
                self.last = last;
                remember(&mut self.early_ends, request_id.clone());
            }
        }
    }

    /// What a report says of the source itself.
    fn judge(&mut self, now: Moment, of: &Watched, took: Option<Duration>) {
        if !of.announced {
            return;
        }
        // It can't have run for longer than since INVOKE: whoever says so would hold `/next` for as long.
        let took = took.map(|took| took.min(elapsed(now, of.began)));
        let held = of.released.unwrap_or_else(|| elapsed(now, of.began));
        let late = took.is_some_and(|took| held > took.saturating_add(self.billed_max));
        let unmeasured = of.released.is_some() && (self.suspect || took.is_none());
        if late {
            self.suspect = true;
            self.durations.clear();
        } else if !unmeasured {
            self.suspect = false;
            self.unproven_holds = 0;
            if self.durations.len() == PLATFORM_DURATIONS_MAX {
                self.durations.pop_front();
            }
            self.durations.push_back(took.unwrap_or_default());
        }
    }

    /// `/next` is not held for the function any more.
    pub fn released(&mut self, now: Moment) {
        let proven = self.proven();
        let wait = self.announce_wait();
        let Some(last) = &mut self.last else { return };
        if last.released.is_some() {
            return;
        }
        let held = elapsed(now, last.began);
        last.released = Some(held);
        if last.ended.is_some() {
            return;
        }
        if last.announced && !proven {
            self.unproven_holds = self.unproven_holds.saturating_add(1);
        } else if !last.announced && held >= wait {
            self.timely = false;
        }
    }

    /// When the running invocation ended, if that was reported.
    #[must_use]
    pub fn ended(&self) -> Option<Wall> {
        self.last.as_ref().and_then(|last| last.ended)
    }

    /// Until when `/next` is worth holding for word of the running invocation.
    #[must_use]
    pub fn holds_until(&self) -> Option<Wall> {
        let last = self.last.as_ref()?;
        let hold = match (last.announced, self.durations.iter().max()) {
            (true, Some(longest)) => self.billed_max.saturating_add(*longest),
            (true, None) if self.unproven_holds < PLATFORM_UNPROVEN_HOLDS_MAX => self.billed_max,
            (false, _) if self.timely => self.announce_wait(),
            _ => return None,
        };
        Some(last.began.wall.saturating_add(hold))
    }

    /// Whether the running invocation is announced by a source that has been right, and says how long they take.
    #[must_use]
    pub fn sure(&self) -> bool {
        let known = self.durations.iter().any(|took| !took.is_zero());
        known && self.last.as_ref().is_some_and(|last| last.announced && last.released.is_none())
    }

    fn proven(&self) -> bool {
        !self.durations.is_empty()
    }

    fn announce_wait(&self) -> Duration {
        INVOCATION_STARTED_WAIT.min(self.billed_max)
    }
}

/// Time since, by the clock that says more: the monotonic one stands still in a freeze, the other may be set.
fn elapsed(now: Moment, since: Moment) -> Duration {
    now.since(since).max(now.ran_since(since))
}

fn remember(ids: &mut VecDeque<RequestId>, id: RequestId) {
    if ids.len() == FINISHED_INVOCATIONS_MAX {
        ids.pop_front();
    }
    ids.push_back(id);
}
