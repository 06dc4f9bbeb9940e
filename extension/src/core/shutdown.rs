//! The end: everything is exported or printed, and the process is gone before the deadline (promise P3).
//!
//! ```text
//!  SHUTDOWN                                                        D - R                        D
//!  ├─ exports start at once, links are drained ──── retries ───────┤─ dead letters, summary ─ exit │ SIGKILL
//!  ├─ at most 15 % ─┤ links count as drained
//! ```
//! D is the event's own `deadlineMs`; R is what printing the unsettled rest takes.

use std::time::Duration;

use super::ledger::DropReason;
use super::moment::{Moment, Wall, percent_of};
use super::phase::{Ending, Phase};
use super::store::{Batch, Lines, Place};
use super::{Action, BatchId, DeadLetter, Flusher};
use crate::limits::{
    DRAIN_PERCENT_MAX, EXIT_RESERVE, EXIT_RESERVE_PERCENT_MAX, EXPORTS_IN_FLIGHT_MAX, MEASURED_BYTES_MIN,
    PREPARE_AFTER_PERCENT, PRINTING_SPEEDUP,
};

impl Flusher {
    pub(super) fn begin_shutdown(&mut self, now: Moment, reason: String, deadline: Wall) {
        if matches!(self.phase, Phase::ShuttingDown(_)) {
            return;
        }
        self.notice_thaw(now);
        self.ended = Some((reason.clone(), deadline));
        self.phase = Phase::ShuttingDown(Ending { reason, deadline, began: now, writing: None });
        self.store.close_open();
        for (_, batch) in self.store.batches_mut() {
            batch.not_before = Duration::ZERO;
            batch.refused = false;
        }
        self.store.merge(now, 2);
    }

    pub(super) fn shut_down(&mut self, now: Moment) {
        let Phase::ShuttingDown(ending) = &self.phase else { return };
        let drained = self.drained_at(ending).is_none_or(|at| now.reached(at));
        let prepare = now.reached(prepare_at(ending));
        if drained {
            self.store.close_open(); // First of all: a closed batch is larger, and the reserve goes by it.
        }
        let Phase::ShuttingDown(ending) = &self.phase else { return };
        let give_up = self.give_up_at(ending);
        let late = now.reached(give_up);
        if let Some(until) = ending.writing {
            if late {
                self.stop_receiving();
            }
            if now.reached(until) {
                self.give_up_printing();
            }
            return;
        }
        if late {
            self.stop_receiving();
            for (batch, _) in self.store.cancel_in_flight() {
                self.act(Action::Cancel(batch));
            }
        } else {
            let ready = self.store.ready(now, |batch| !batch.refused);
            self.export(now, ready, give_up);
            self.prepare_dead_letter(|batch| prepare || batch.attempts > 0);
        }
        if drained || late {
            self.store.close_open();
            self.finish(now, late);
        }
    }

    /// A printer that hangs must not keep the process alive.
    fn give_up_printing(&mut self) {
        self.store.close_open();
        for id in self.batch_ids() {
            self.settle_unsent(id, DropReason::DeadLetterFailed);
        }
        self.exit();
    }

    fn exit(&mut self) {
        self.links.end_all();
        self.phase = Phase::Exited;
        self.act(Action::Exit);
    }

    /// From D - R on: a function that goes on writing must not keep the process alive.
    fn stop_receiving(&mut self) {
        self.doors.close();
        for link in self.links.end_all() {
            self.act(Action::CloseLink(link));
        }
    }

    /// Once everything came in: exits when all is settled, prints what can't be exported.
    fn finish(&mut self, now: Moment, late: bool) {
        let hopeless = |batch: &Batch| late || !self.config.export || batch.refused;
        if self.store.batches().any(|(_, batch)| !hopeless(batch)) {
            return;
        }
        if self.store.is_empty() {
            return self.exit();
        }
        if !self.config.dead_letter {
            for id in self.batch_ids() {
                self.settle_unsent(id, DropReason::NoDeadLetter);
            }
            return self.finish(now, late);
        }
        self.write_dead_letters(now);
    }

    fn write_dead_letters(&mut self, now: Moment) {
        let Phase::ShuttingDown(ending) = &mut self.phase else { return };
        let left = now.until(ending.deadline);
        // After the deadline nobody may be left to kill us, so it is tried all the same.
        let deadline = if left.is_zero() {
            now.wall + EXIT_RESERVE
        } else {
            ending.deadline.saturating_sub(EXIT_RESERVE / 2).max(now.wall + left / 2)
        };
        ending.writing = Some(deadline + ending.deadline.saturating_sub(deadline) / 2);
        let mut batches: Vec<DeadLetter> = Vec::new();
        for id in self.batch_ids() {
            if let Some(batch) = self.store.get_mut(id) {
                batch.place = Place::Writing;
                batches.push(batch.dead_letter(id));
            }
        }
        batches.sort_by_key(|letter| (letter.signal, letter.batch));
        let deadline = self.clock.outside(deadline);
        self.act(Action::WriteDeadLetters { batches, deadline });
    }

    pub(super) fn dead_letters_written(&mut self, written: &[BatchId], failed: &[BatchId]) {
        let Phase::ShuttingDown(ending) = &mut self.phase else { return };
        if ending.writing.take().is_none() {
            return;
        }
        for id in self.batch_ids() {
            if !self.store.is_writing(id) {
                continue; // It came while others were printed.
            }
            // What the driver says nothing of is not printed: it must not be tried for ever.
            if written.contains(&id) && !failed.contains(&id) {
                let items = self.store.get_mut(id).map_or(0, |batch| batch.closed.items);
                self.settle_batch(id, |ledger| ledger.dead_lettered += items);
            } else {
                self.settle_unsent(id, DropReason::DeadLetterFailed);
            }
        }
    }

    fn settle_unsent(&mut self, id: BatchId, reason: DropReason) {
        if let Some(items) = self.store.get_mut(id).map(|batch| batch.closed.items) {
            self.settle_batch(id, |ledger| ledger.drop_items(reason, items));
        }
    }

    fn batch_ids(&self) -> Vec<BatchId> {
        self.store.batches().map(|(id, _)| id).collect()
    }

    /// One at a time: it may take the whole of a small core, and the driver has other things to do in between.
    fn prepare_dead_letter(&mut self, wanted: impl Fn(&Batch) -> bool) {
        let busy = self.store.batches().any(|(_, batch)| batch.lines == Lines::Asked);
        if busy || !self.config.dead_letter {
            return;
        }
        let unprepared = |(_, batch): &(BatchId, &mut Batch)| batch.lines == Lines::None && wanted(batch);
        let letter = self.store.batches_mut().find(unprepared).map(|(id, batch)| {
            batch.lines = Lines::Asked;
            batch.dead_letter(id)
        });
        if let Some(letter) = letter {
            self.act(Action::PrepareDeadLetter(letter));
        }
    }

    pub(super) fn dead_letter_prepared(&mut self, id: BatchId, line_bytes: usize, took: Duration) {
        let Some(batch) = self.store.get_mut(id) else {
            self.act(Action::ForgetDeadLetter(id));
            return;
        };
        batch.lines = Lines::Ready(line_bytes);
        let bytes = batch.closed.body.len() as u64;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        // Small batches measure the clock rather than the work.
        if bytes >= MEASURED_BYTES_MIN {
            self.dead_letter_rate = (bytes.saturating_mul(1_000_000) / micros).max(1);
        }
    }

    /// D - R.
    pub(super) fn give_up_at(&self, ending: &Ending) -> Wall {
        let (raw, lines) = self.store.dead_letter_bytes();
        let rate = self.dead_letter_rate;
        let work = raw.saturating_mul(1_000_000) / rate
            + lines.saturating_mul(1_000_000) / rate.saturating_mul(PRINTING_SPEEDUP);
        let total = ending.deadline.saturating_sub(ending.began.wall);
        let most = percent_of(total, EXIT_RESERVE_PERCENT_MAX);
        let reserve =
            if self.config.dead_letter { EXIT_RESERVE + Duration::from_micros(work) } else { EXIT_RESERVE };
        ending.deadline.saturating_sub(reserve.min(most))
    }

    /// When links and doors count as drained, whatever they do; `None` if all links have ended and no door was used.
    fn drained_at(&self, ending: &Ending) -> Option<Wall> {
        let total = ending.deadline.saturating_sub(ending.began.wall);
        let most = ending.began.wall + percent_of(total, DRAIN_PERCENT_MAX);
        let quiet = self.links.quiet_at(ending.began).max(self.doors.quiet_at(ending));
        quiet.map(|quiet| quiet.min(most))
    }

    pub(super) fn shutdown_timeout(&self, now: Moment, ending: &Ending) -> Option<Wall> {
        let later = |at: &Wall| !now.reached(*at);
        if let Some(until) = ending.writing {
            return [self.give_up_at(ending), until].into_iter().filter(later).min();
        }
        let unprepared = self.config.dead_letter && self.store.batches().any(|(_, b)| b.lines == Lines::None);
        let retry = if self.config.export && self.store.in_flight_count() < EXPORTS_IN_FLIGHT_MAX {
            self.store.next_retry(|batch| !batch.refused)
        } else {
            None
        };
        // It moves with what is held; however it moved, its wake is never lost.
        let give_up = self.give_up_at(ending).max(now.wall + Duration::from_millis(1));
        let times = [Some(give_up), self.drained_at(ending), unprepared.then(|| prepare_at(ending)), retry];
        times.into_iter().flatten().filter(later).min()
    }
}

fn prepare_at(ending: &Ending) -> Wall {
    let total = ending.deadline.saturating_sub(ending.began.wall);
    ending.began.wall + percent_of(total, PREPARE_AFTER_PERCENT)
}
