//! Who waits for the link to get somewhere: the end of an invocation for room, `flush` for `Accepted`.
//!
//! The library's thread settles them, so that waiting needs neither a runtime's reactor nor its timers.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Everything up to the sequence number is written.
    Written,
    /// Everything up to it is accepted.
    Accepted,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Reached,
    TimedOut,
    LinkLost,
}

/// The waits of one link.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    open: Vec<Wait>,
    settled: Vec<Arc<Slot>>,
}

#[derive(Debug)]
struct Wait {
    goal: Goal,
    seq: u64,
    until: Instant,
    barrier_sent: bool,
    slot: Arc<Slot>,
}

/// How far the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) written_seq: u64,
    pub(crate) accepted_seq: u64,
    pub(crate) connected: bool,
}

impl Waits {
    /// Waits for `goal` up to `seq`, no longer than `until`.
    pub(crate) fn add(&mut self, goal: Goal, seq: u64, until: Instant) -> Waiting {
        let slot = Arc::new(Slot::default());
        self.open.push(Wait { goal, seq, until, barrier_sent: false, slot: slot.clone() });
        Waiting { slot }
    }

    /// Whether a `Barrier` has to be written now. It counts as written.
    pub(crate) fn take_barrier(&mut self, standing: Standing) -> bool {
        let mut due = false;
        for wait in &mut self.open {
            let ready = wait.goal == Goal::Accepted && standing.written_seq >= wait.seq;
            if ready && standing.accepted_seq < wait.seq && !wait.barrier_sent {
                wait.barrier_sent = true;
                due = true;
            }
        }
        due
    }

    /// Settles what is reached, late or hopeless; [`Self::take_settled`] has them.
    pub(crate) fn settle(&mut self, standing: Standing, now: Instant) {
        let settled = &mut self.settled;
        self.open.retain(|wait| {
            let outcome = match wait.goal {
                Goal::Written if standing.written_seq >= wait.seq => Outcome::Reached,
                Goal::Accepted if standing.accepted_seq >= wait.seq => Outcome::Reached,
                _ if !standing.connected => Outcome::LinkLost,
                _ if now >= wait.until => Outcome::TimedOut,
                _ => return Arc::strong_count(&wait.slot) > 1,
            };
            wait.slot.lock().0 = Some(outcome);
            settled.push(wait.slot.clone());
            false
        });
    }

    /// What is to be woken, once no lock is held.
    pub(crate) fn take_settled(&mut self) -> Vec<Arc<Slot>> {
        std::mem::take(&mut self.settled)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// When the next wait runs out.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.open.iter().map(|wait| wait.until).min()
    }
}

/// Where an outcome is left for the waiting task.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<(Option<Outcome>, Option<Waker>)>);

impl Slot {
    fn lock(&self) -> std::sync::MutexGuard<'_, (Option<Outcome>, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Must not be called under the link's lock: waking may drop a task, and with it spans.
    pub(crate) fn wake(&self) {
        let waker = self.lock().1.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Resolves when its wait is settled.
#[derive(Debug)]
pub(crate) struct Waiting {
    slot: Arc<Slot>,
}

impl Future for Waiting {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut slot = self.slot.lock();
        if let Some(outcome) = slot.0 {
            return Poll::Ready(outcome);
        }
        slot.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const FAR: Duration = Duration::from_secs(60);

    fn standing(written_seq: u64, accepted_seq: u64) -> Standing {
        Standing { written_seq, accepted_seq, connected: true }
    }

    fn outcome(waiting: &Waiting) -> Option<Outcome> {
        waiting.slot.lock().0
    }

    #[test]
    fn a_barrier_is_asked_for_once_and_only_when_everything_is_written() {
        let (mut waits, now) = (Waits::default(), Instant::now());
        let waiting = waits.add(Goal::Accepted, 5, now + FAR);
        assert!(!waits.take_barrier(standing(4, 0)));
        assert!(waits.take_barrier(standing(5, 0)));
        assert!(!waits.take_barrier(standing(5, 0)));
        waits.settle(standing(5, 4), now);
        assert_eq!(outcome(&waiting), None);
        waits.settle(standing(5, 5), now);
        assert_eq!(outcome(&waiting), Some(Outcome::Reached));
        assert_eq!((waits.take_settled().len(), waits.is_empty()), (1, true));
    }

    #[test]
    fn no_wait_outlives_its_deadline_or_its_link() {
        let (mut waits, now) = (Waits::default(), Instant::now());
        let late = waits.add(Goal::Written, 5, now);
        let lost = waits.add(Goal::Written, 5, now + FAR);
        assert_eq!(waits.next_deadline(), Some(now));
        waits.settle(standing(4, 0), now);
        assert_eq!((outcome(&late), outcome(&lost)), (Some(Outcome::TimedOut), None));
        waits.settle(Standing { connected: false, ..standing(4, 0) }, now);
        assert_eq!(outcome(&lost), Some(Outcome::LinkLost));
    }

    #[test]
    fn a_wait_that_nobody_awaits_any_more_is_forgotten() {
        let (mut waits, now) = (Waits::default(), Instant::now());
        drop(waits.add(Goal::Written, 5, now + FAR));
        waits.settle(standing(0, 0), now);
        assert!(waits.is_empty());
    }
}
