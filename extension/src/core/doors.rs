//! Taking custody of whole OTLP requests from the doors, as far as the byte budget allows.
//!
//! A request is taken if it fits beside what is held and what links were granted. Links and doors each have a part
//! of the budget that the other side can't take, so that neither starves the other.

use std::time::Duration;

use bytes::Bytes;

use super::moment::{Moment, Wall};
use super::phase::{Ending, Phase};
use super::{Action, Admission, DoorRequest, Flusher, Signal};
use crate::limits::{
    DOOR_REQUEST_OVERHEAD_BYTES, DOOR_RETRY_AFTER_JITTER_MAX, DOOR_RETRY_AFTER_MIN, LINK_QUIET,
};

/// What the doors have seen.
#[derive(Debug, Default)]
pub struct Doors {
    /// When the last request came.
    last: Option<Moment>,
    /// Items taken.
    accepted: u64,
    /// Items refused: their senders keep them.
    refused: u64,
    /// What a refused request would have needed: room has to be made for it.
    wanted_bytes: u64,
    /// Nothing is taken any more.
    closed: bool,
}

impl Doors {
    /// Whether there ever was a request.
    #[must_use]
    pub fn used(&self) -> bool {
        self.last.is_some()
    }

    /// Items taken and items refused.
    #[must_use]
    pub fn items(&self) -> (u64, u64) {
        (self.accepted, self.refused)
    }

    /// The bytes that have to become free for the request that was refused last.
    #[must_use]
    pub fn wanted_bytes(&self) -> u64 {
        self.wanted_bytes
    }

    /// From here on everything is refused.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// At SHUTDOWN: when nothing more is expected. `None`: there never was anything.
    #[must_use]
    pub fn quiet_at(&self, ending: &Ending) -> Option<Wall> {
        self.last.map(|last| last.wall.max(ending.began.wall) + LINK_QUIET)
    }
}

impl Flusher {
    pub(super) fn request_received(
        &mut self,
        now: Moment,
        request: DoorRequest,
        (signal, items, body): (Signal, u64, Bytes),
    ) {
        self.doors.last = Some(now);
        let cost = body.len() as u64 + DOOR_REQUEST_OVERHEAD_BYTES;
        if cost.saturating_add(self.budget.share()) > self.config.buffer_bytes_max {
            self.doors.refused += items;
            return self.act(Action::Answer(request, Admission::TooLarge));
        }
        if self.doors.closed || self.phase == Phase::Exited || !self.has_room(cost) {
            self.doors.refused += items;
            let spread = DOOR_RETRY_AFTER_JITTER_MAX.mul_f64(self.jitter.f64());
            let retry_after: Duration = DOOR_RETRY_AFTER_MIN + spread;
            return self.act(Action::Answer(request, Admission::Refused { retry_after }));
        }
        self.doors.wanted_bytes = 0;
        self.doors.accepted += items;
        self.ledger.accepted += items;
        if items > 0 || !body.is_empty() {
            self.store.push_door_request(signal, body, items, cost);
        }
        self.act(Action::Answer(request, Admission::Accepted));
    }

    /// The largest request that would be taken now, in bytes; `None`: none is any more.
    #[must_use]
    pub fn room_at_doors(&self) -> Option<u64> {
        if self.doors.closed || self.phase == Phase::Exited {
            return None;
        }
        let taken = self.store.memory_bytes() + self.links.reserved() + self.kept_for_links();
        let room = self.config.buffer_bytes_max.saturating_sub(taken);
        Some(room.saturating_sub(DOOR_REQUEST_OVERHEAD_BYTES))
    }

    fn kept_for_links(&self) -> u64 {
        let of_links = self.links.outstanding() + self.store.credit_bytes() - self.store.door_bytes();
        self.budget.share().saturating_sub(of_links)
    }

    fn has_room(&mut self, cost: u64) -> bool {
        let taken = self.store.memory_bytes() + self.links.reserved();
        let kept_for_links = self.kept_for_links();
        let fits = |taken: u64| taken.saturating_add(cost) <= self.config.buffer_bytes_max;
        let room = fits(taken + kept_for_links);
        // What would not fit if nothing were held is no reason to export anything.
        if !room && fits(self.links.reserved() + kept_for_links) {
            self.doors.wanted_bytes = cost + kept_for_links;
        }
        room
    }

    /// What links must leave to the doors.
    pub(super) fn kept_for_doors(&self) -> u64 {
        self.budget.share().saturating_sub(self.store.door_bytes())
    }
}
