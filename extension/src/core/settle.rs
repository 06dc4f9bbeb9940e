//! Exports around an invocation: overlapping a running handler, and in the billed time after it.

use std::time::Duration;

use super::hold::{Over, latest};
use super::moment::{Moment, Wall};
use super::phase::{Invocation, Phase};
use super::retry::backoff;
use super::store::{Batch, Lines};
use super::{Action, BatchId, Flusher, Level, Outcome, Strategy};
use crate::limits::{CUT_SLACK, EXPORTS_IN_FLIGHT_MAX, MERGE_BATCHES_MIN, PRESSED_OVERLAP_AFTER};

impl Flusher {
    /// While the handler runs an export costs nothing, if it ends before the handler does.
    pub(super) fn overlap(&mut self, now: Moment) {
        let Phase::Invoking(invocation) = &self.phase else { return };
        let ran = now.ran_since(invocation.began);
        let deadline = (now.wall + self.config.export_timeout).min(latest(invocation));
        let pressed = self.pressed();
        let full = self.store.in_flight_count() >= EXPORTS_IN_FLIGHT_MAX;
        if full || !self.config.export || (self.config.strategy == Strategy::Shutdown && !pressed) {
            return;
        }
        if !pressed && self.hold.guessing(&self.links) {
            let until = (invocation.began.wall + self.config.billed_max).min(latest(invocation));
            return self.export_fitting(now, until);
        }
        if pressed {
            self.store.close_open();
        }
        let wanted = |batch: &Batch| !batch.refused && ran >= self.overlap_after(batch, pressed);
        let ready = self.store.ready(now, wanted);
        self.export(now, ready, deadline);
    }

    /// When [`Self::overlap`] may have something to do.
    pub(super) fn overlap_timeout(&self, now: Moment, invocation: &Invocation) -> Option<Wall> {
        let pressed = self.pressed();
        if !self.config.export
            || self.store.in_flight_count() >= EXPORTS_IN_FLIGHT_MAX
            || (self.config.strategy == Strategy::Shutdown && !pressed)
        {
            return None;
        }
        if !pressed && self.hold.guessing(&self.links) {
            return self.store.next_retry(Batch::may_be_billed).filter(|at| !now.reached(*at));
        }
        let held = self
            .store
            .batches()
            .filter(|(_, batch)| batch.place == super::store::Place::Held && !batch.refused);
        let ran = now.ran_since(invocation.began);
        let at = held.map(|(_, batch)| {
            let overlap = now.wall + self.overlap_after(batch, pressed).saturating_sub(ran);
            batch.not_before.max(overlap)
        });
        at.filter(|at| !now.reached(*at)).min()
    }

    fn overlap_after(&self, batch: &Batch, pressed: bool) -> Duration {
        match (pressed, batch.sent_unknown) {
            (true, 0) => Duration::ZERO,
            // Not at once: the invocation may turn out to be over, and what may have arrived is not sent then.
            (true, _) => PRESSED_OVERLAP_AFTER,
            (false, times) => self.trips.overlap_after(times),
        }
    }

    /// The function is done. Nobody waits for us any more, but the time is billed.
    pub(super) fn begin_settling(&mut self, now: Moment, over: Over) {
        let Phase::Invoking(invocation) = &self.phase else { return };
        let since = match over {
            // What nobody announced may have ended as soon as it began.
            Over::Unheard => invocation.began.wall,
            Over::Reported(end) => end,
            Over::Done | Over::NoSource | Over::Deadline => now.wall,
        };
        let until = (since + self.config.billed_max).min(latest(invocation));
        // Without anybody's word its end is a guess: what is under way may finish, nothing new begins, for a
        // SHUTDOWN may be waiting behind the `/next` we hold back. At its beginning there is nothing to guess.
        let begins = match over {
            Over::Unheard => now == invocation.began,
            Over::Done | Over::Reported(_) => true,
            Over::NoSource | Over::Deadline => false,
        };
        let exporting = begins && self.config.strategy == Strategy::End && self.config.export;
        self.hold.platform.released(now);
        self.phase = Phase::Settling { until, exporting };
        self.store.merge(now, MERGE_BATCHES_MIN);
        self.store.close_open();
        if exporting && self.store.items() > 0 && !self.fits(now, until) {
            let cap = self.config.billed_max.as_millis();
            self.notice_once("billed_cap", Level::Info, || {
                format!(
                    "exports do not fit LAMBDA_FLUSH_MAX_BILLED_MS={cap}: telemetry is kept until a handler runs \
                     long enough to overlap, until memory is short, or until SHUTDOWN"
                )
            });
        }
    }

    fn fits(&self, now: Moment, until: Wall) -> bool {
        self.trips.fits(now, now.until(until), self.config.billed_max)
    }

    /// Exports what fits, waits for what is in flight and for retries; then calls `/next`.
    pub(super) fn settle(&mut self, now: Moment, until: Wall, exporting: bool) {
        if now.reached(until) {
            self.cut_exports(now);
        } else if exporting && self.fits(now, until) {
            self.export_fitting(now, until);
            let retry = self.store.next_retry(Batch::may_be_billed);
            if retry.is_some_and(|at| at < until && !now.reached(at)) {
                return;
            }
        }
        if self.store.in_flight_count() == 0 {
            self.park(now);
        }
    }

    /// Starts what may be sent in time that is billed, as far as it can be expected to end in it.
    fn export_fitting(&mut self, now: Moment, until: Wall) {
        if !self.fits(now, until) {
            return;
        }
        let mut ready = self.store.ready(now, Batch::may_be_billed);
        if !self.trips.proven() {
            // Somebody has to try, with as little as possible: it may be cut and then arrive twice.
            ready.sort_by_key(|id| self.store.body_bytes(*id));
            ready.truncate(1_usize.saturating_sub(self.store.in_flight_count()));
        }
        self.export(now, ready, until);
    }

    /// No export may be in flight across a freeze.
    fn cut_exports(&mut self, now: Moment) {
        for (batch, since) in self.store.cancel_in_flight() {
            self.trips.cut(now, now.ran_since(since));
            self.act(Action::Cancel(batch));
        }
    }

    /// Starts as many of `ready` as may run at a time.
    pub(super) fn export(&mut self, now: Moment, ready: Vec<BatchId>, deadline: Wall) {
        if !self.config.export {
            return;
        }
        let free = EXPORTS_IN_FLIGHT_MAX.saturating_sub(self.store.in_flight_count());
        for batch in ready.into_iter().take(free) {
            if let Some((signal, body)) = self.store.start(batch, now) {
                let deadline = self.clock.outside(deadline.min(now.wall + self.config.export_timeout));
                self.act(Action::Export { batch, signal, body, deadline });
            }
        }
    }

    pub(super) fn export_done(&mut self, now: Moment, id: BatchId, outcome: Outcome) {
        let settling_until = match self.phase {
            Phase::Settling { until, .. } => Some(until),
            _ => None,
        };
        let Some((batch, since)) = self.store.in_flight(id) else {
            return; // Cancelled before its outcome came.
        };
        let items = batch.closed.items;
        match outcome {
            Outcome::Exported => {
                self.trips.succeeded(now.ran_since(since));
                self.settle_batch(id, |ledger| ledger.exported += items);
            }
            Outcome::Partial { rejected, message } => {
                self.trips.succeeded(now.ran_since(since));
                let rejected = rejected.min(items);
                self.notice_once("partial", Level::Warn, || {
                    format!(
                        "the backend rejected {rejected} of {items} items, and may reject more: {message}"
                    )
                });
                self.settle_batch(id, |ledger| {
                    ledger.exported += items - rejected;
                    ledger.rejected += rejected;
                });
            }
            Outcome::Rejected { message } => {
                self.notice_once("rejected", Level::Error, || {
                    format!("the backend rejected a batch of {items} items, and may reject more: {message}")
                });
                self.settle_batch(id, |ledger| ledger.rejected += items);
            }
            Outcome::Retry { after, maybe_sent, message } => {
                batch.place = super::store::Place::Held;
                batch.attempts += 1;
                batch.sent_unknown += u32::from(maybe_sent);
                batch.not_before = now.wall + backoff(batch.attempts, after, self.jitter.f64());
                // The request's own deadline is the cap's: which of the two timers fires first is chance.
                if settling_until.is_some_and(|until| now.until(until) <= CUT_SLACK) {
                    self.trips.cut(now, now.ran_since(since));
                }
                self.notice_once("export_failed", Level::Warn, || {
                    format!("an export failed and will be retried: {message}")
                });
            }
            Outcome::Refused { message } => {
                batch.place = super::store::Place::Held;
                batch.attempts += 1;
                batch.refused = true;
                self.notice_once("export_refused", Level::Error, || {
                    format!("the backend refuses exports; they are kept for SHUTDOWN: {message}")
                });
            }
        }
    }

    pub(super) fn settle_batch(&mut self, id: BatchId, count: impl FnOnce(&mut super::Ledger)) {
        let Some(batch) = self.store.remove(id) else { return };
        count(&mut self.ledger);
        if batch.sent_unknown > 0 {
            self.ledger.possible_duplicates += batch.closed.items;
        }
        if batch.lines != Lines::None {
            self.act(Action::ForgetDeadLetter(id));
        }
    }
}
