//! What the export thread and all other threads know of each other, under one lock. It neither waits nor prints.

use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, getpid};

use super::client::Outcome;
use super::held::{Batch, Held};
use crate::waits::{Standing, Waits};

/// See the module's description.
#[derive(Debug)]
pub(super) struct State {
    pub(super) held: Held,
    pub(super) in_flight: Option<Batch>,
    /// Until when the round that is asked for may last.
    pub(super) asked: Option<Instant>,
    pub(super) rounds_asked: u64,
    pub(super) rounds_done: u64,
    pub(super) waits: Waits,
    /// The last round sent everything it had.
    pub(super) healthy: bool,
    /// The backend wants to be left alone until then. On the wall clock: the other may stand still in a freeze.
    pub(super) not_before: Option<SystemTime>,
    pub(super) first_failure_told: bool,
    pub(super) last_failure: String,
    pub(super) generation: u64,
    pub(super) thread: Thread,
    pub(super) pid: Pid,
    /// How many items had ended at the last [`super::Direct::finish`].
    pub(super) last_finish: Option<u64>,
    /// No more items are taken.
    pub(super) finished: bool,
    pub(super) ending: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thread {
    None,
    Running,
    Unavailable,
}

impl State {
    pub(super) fn new(held: Held) -> Self {
        Self {
            held,
            in_flight: None,
            asked: None,
            rounds_asked: 0,
            rounds_done: 0,
            waits: Waits::default(),
            healthy: true,
            not_before: None,
            first_failure_told: false,
            last_failure: String::new(),
            generation: 0,
            thread: Thread::None,
            pid: getpid(),
            last_finish: None,
            finished: false,
            ending: false,
        }
    }

    /// A forked child has a copy of what its parent holds, and no thread.
    pub(super) fn notice_fork(&mut self) {
        let pid = getpid();
        if pid != self.pid {
            self.pid = pid;
            self.held.clear();
            self.in_flight = None;
            self.asked = None;
            self.thread = Thread::None;
            self.generation += 1;
        }
    }

    /// The export thread has panicked: the next round starts another one, and nobody waits for this one any more.
    pub(super) fn thread_gone(&mut self) -> Option<String> {
        if let Some(batch) = self.in_flight.take() {
            self.held.put_back(batch);
        }
        self.generation += 1;
        self.thread = Thread::None;
        self.asked = None;
        self.rounds_done = self.rounds_asked;
        self.healthy = false;
        let standing = Standing { written_seq: self.rounds_done, accepted_seq: 0, connected: false };
        self.waits.settle(standing, Instant::now());
        self.failed("the export thread panicked".to_owned())
    }

    pub(super) fn may_try(&self) -> bool {
        self.not_before.is_none_or(|not_before| not_before <= SystemTime::now())
    }

    /// Whether a round is asked for, or under way.
    pub(super) fn is_busy(&self) -> bool {
        self.thread == Thread::Running && self.rounds_done < self.rounds_asked
    }

    pub(super) fn is_idle(&self) -> bool {
        self.held.buffered() == 0
    }

    /// What is told at the exit, if anything.
    pub(super) fn farewell(&self, left: u64, destination: &str) -> Option<String> {
        let rejected: u64 = self
            .held
            .counters()
            .reasons()
            .filter(|(reason, _)| *reason != "shut_down")
            .map(|(_, items)| items)
            .sum();
        (left + rejected > 0).then(|| {
            let why = if self.last_failure.is_empty() { "time was up" } else { self.last_failure.as_str() };
            let items = match left + rejected {
                1 => "1 telemetry item was".to_owned(),
                count => format!("{count} telemetry items were"),
            };
            format!("{items} not exported to {destination} before the exit: {why}")
        })
    }

    /// Notes a failure; the first one is to be told.
    pub(super) fn failed(&mut self, message: String) -> Option<String> {
        self.last_failure = message;
        let first = !std::mem::replace(&mut self.first_failure_told, true);
        first.then(|| self.last_failure.clone())
    }

    /// What a request's outcome means: what is to be told, and whether (and when at the earliest) to try again.
    pub(super) fn settle(
        &mut self,
        batch: Batch,
        outcome: Outcome,
    ) -> (Option<String>, Option<Option<Duration>>) {
        match outcome {
            Outcome::Exported { rejected, message } => {
                self.held.settled(&batch, rejected);
                let told = (rejected > 0).then(|| {
                    self.failed(format!("the backend refused {rejected} of {} items: {message}", batch.items))
                });
                (told.flatten(), None)
            }
            Outcome::Rejected { message } => {
                self.held.settled(&batch, batch.items);
                (self.failed(format!("{message}; items dropped: {}", batch.items)), None)
            }
            Outcome::Retry { after, message } => {
                self.held.put_back(batch);
                self.not_before = after.and_then(|after| SystemTime::now().checked_add(after));
                (self.failed(message), Some(after))
            }
        }
    }
}
