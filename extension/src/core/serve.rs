//! Managed instances: no INVOKE events, no freeze, several invocations at a time. What is held goes out by a timer.

use std::time::Duration;

use super::moment::{Moment, Wall};
use super::phase::Phase;
use super::store::Batch;
use super::{Action, Flusher, Strategy};
use crate::limits::{EXPORTS_IN_FLIGHT_MAX, MERGE_BATCHES_MIN, SERVING_FLUSH_INTERVAL};

impl Flusher {
    /// Registered: `/next` is asked for at once, and only SHUTDOWN will answer it.
    pub(super) fn begin_serving(&mut self) {
        self.phase = Phase::Serving { gathering: None };
        self.act(Action::CallNext);
    }

    /// Closes what has been gathered long enough, and sends what is closed.
    pub(super) fn serve(&mut self, now: Moment, gathering: Option<Moment>) {
        let pressed = self.pressed();
        if !self.config.export || (self.config.strategy == Strategy::Shutdown && !pressed) {
            return;
        }
        let due = gathering.is_some_and(|since| now.reached(since.wall + SERVING_FLUSH_INTERVAL));
        if due || pressed {
            self.store.close_open();
            self.store.merge(now, MERGE_BATCHES_MIN);
        }
        let since = if self.store.is_gathering() { gathering.or(Some(now)) } else { None };
        self.phase = Phase::Serving { gathering: since };
        let ready = self.store.ready(now, |batch| !batch.refused);
        self.export(now, ready, now.wall + self.config.export_timeout);
    }

    /// When [`Self::serve`] may have something to do.
    pub(super) fn serving_timeout(&self, now: Moment, gathering: Option<Moment>) -> Option<Wall> {
        if !self.config.export || (self.config.strategy == Strategy::Shutdown && !self.pressed()) {
            return None;
        }
        let flush = gathering.map(|since| since.wall + SERVING_FLUSH_INTERVAL);
        let free = self.store.in_flight_count() < EXPORTS_IN_FLIGHT_MAX;
        let retry = self.store.next_retry(|batch: &Batch| free && !batch.refused);
        let soon = now.wall + Duration::from_millis(1);
        [flush, retry].into_iter().flatten().min().map(|at| at.max(soon))
    }
}
