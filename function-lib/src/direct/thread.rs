//! The export thread of direct mode.
//!
//! It sleeps until it is asked for a *round*: send what is held, oldest first, until all is settled or the round's
//! time is over. An attempt that is still under way when the process has to end is abandoned: a thread of the
//! next generation takes its place, and whatever the old one comes back with does not count.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::Context;

use super::envelope::Envelope;
use super::settings::Settings;
use super::state::{State, Thread};
use crate::id_generator::random_u64;
use crate::notice::{self, Level};
use crate::waits::{Slot, Standing};

/// Before the second attempt; doubled before each further one, less up to a half by chance.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Outside Lambda, where no invocation ends.
pub(super) const LOCAL_EVERY: Duration = Duration::from_secs(5);
/// On managed instances, where invocations overlap and nothing is frozen between them.
pub(super) const MANAGED_EVERY: Duration = Duration::from_secs(1);
/// After such a pause (a freeze, mostly) the backend has closed the connections.
const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(3);

/// What the thread shares with everybody else.
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) buffered: Arc<AtomicU64>,
    /// Not in Lambda.
    pub(super) local: bool,
    /// How often the thread exports by itself, where the end of an invocation does not have to wait for an export.
    pub(super) every: Option<Duration>,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
}

/// Not what is held: bodies are long, and they are the function's own business.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, state: &State) {
        self.buffered.store(state.held.buffered(), Ordering::Release);
    }

    /// Waits for as long as `condition` holds, until `until` at the most.
    pub(super) fn wait_while<'s>(
        &'s self,
        state: MutexGuard<'s, State>,
        until: Instant,
        condition: impl Fn(&State) -> bool,
    ) -> MutexGuard<'s, State> {
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(state, left, |state| condition(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn ensure_thread(self: &Arc<Self>, state: &mut State) {
        if state.thread != Thread::None {
            return;
        }
        let (shared, generation) = (self.clone(), state.generation);
        let thread = std::thread::Builder::new().name("lambda-flush-export".to_owned());
        let spawned = thread.spawn(move || shared.run(generation));
        state.thread = if spawned.is_ok() { Thread::Running } else { Thread::Unavailable };
        if spawned.is_err() {
            state.last_failure = "the export thread could not be started".to_owned();
        }
    }

    pub(super) fn ask(self: &Arc<Self>, state: &mut State, until: Instant) {
        self.ensure_thread(state);
        state.rounds_asked += 1;
        state.asked = Some(state.asked.map_or(until, |asked| asked.max(until)));
        self.changed.notify_all();
    }

    /// The thread. Nothing that happens on it is telemetry: each request would make the next one.
    pub(super) fn run(&self, generation: u64) {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        self.guarded(generation, || self.rounds(generation));
    }

    /// A panic costs the attempt, not the telemetry, nor all further exports.
    pub(super) fn guarded(&self, generation: u64, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_ok() {
            return;
        }
        let mut state = self.lock();
        if state.generation != generation {
            return;
        }
        let told = state.thread_gone();
        self.publish(&state);
        let settled = state.waits.take_settled();
        drop(state);
        self.changed.notify_all();
        wake(settled);
        if let Some(message) = told {
            self.tell(&message, true);
        }
    }

    fn rounds(&self, generation: u64) {
        let mut envelope = None;
        let mut last_use = SystemTime::now();
        while let Some((round, until)) = self.next_round(generation) {
            let envelope = envelope.get_or_insert_with(|| Envelope::new(self.settings.clone()));
            // Only the wall clock knows of a freeze. A clock set back counts as one too.
            let idle = last_use.elapsed().unwrap_or(Duration::MAX);
            if idle > CONNECTION_IDLE_MAX {
                envelope.reset();
            }
            let well = self.send_all(envelope, generation, until);
            last_use = SystemTime::now();
            let Some(well) = well else { return };
            self.round_done(round, well);
        }
    }

    /// Waits to be asked. The round's number and until when it may last; `None` ends the thread.
    pub(super) fn next_round(&self, generation: u64) -> Option<(u64, Instant)> {
        let mut state = self.lock();
        loop {
            if state.ending || state.generation != generation {
                return None;
            }
            if let Some(until) = state.asked.take() {
                return Some((state.rounds_asked, until));
            }
            let Some(every) = self.every else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (woken, timeout) =
                self.changed.wait_timeout(state, every).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if timeout.timed_out() && state.held.buffered() > 0 && state.asked.is_none() && state.may_try() {
                return Some((state.rounds_asked, Instant::now() + self.settings.timeout));
            }
        }
    }

    /// Sends what is held by now, until the time is over. Whether all went well; `None` if this thread was given up.
    ///
    /// What comes meanwhile is for the next round, or the round would last as long as anything comes.
    pub(super) fn send_all(&self, envelope: &Envelope, generation: u64, until: Instant) -> Option<bool> {
        let mut pause = BACKOFF_MIN;
        let mut left = self.lock().held.closed();
        let mut swept = false;
        loop {
            let batch = {
                let mut state = self.lock();
                if state.generation != generation {
                    return None;
                }
                // The youngest go last, together with what has joined them: fewer requests after an outage.
                if left == 0 && !std::mem::replace(&mut swept, true) {
                    left = state.held.close_all();
                }
                let batch = if left > 0 { state.held.take() } else { None };
                let Some(batch) = batch else { return Some(true) };
                left -= 1;
                state.in_flight = Some(batch.clone());
                batch
            };
            let outcome = envelope.send(&batch, until);
            let mut state = self.lock();
            if state.generation != generation {
                return None;
            }
            state.in_flight = None;
            let (told, again) = state.settle(batch, outcome);
            self.publish(&state);
            self.changed.notify_all();
            drop(state);
            if let Some(message) = told {
                self.tell(&message, again.is_some());
            }
            let Some(after) = again else { continue };
            left += 1;
            let jitter =
                Duration::from_nanos(random_u64() % u64::try_from(pause.as_nanos() / 2).unwrap_or(1).max(1));
            let wait = after.unwrap_or(pause - jitter);
            pause = (pause * 2).min(BACKOFF_MAX);
            if !self.pause(wait, until) {
                return Some(false);
            }
        }
    }

    /// Waits for `wait`. False if that is longer than `until`, or nobody needs it any more.
    pub(super) fn pause(&self, wait: Duration, until: Instant) -> bool {
        let resume = Instant::now().checked_add(wait).filter(|resume| *resume < until);
        let Some(resume) = resume else { return false };
        let state = self.wait_while(self.lock(), resume, |state| !state.ending && state.asked.is_none());
        // Whoever asked meanwhile has a deadline of its own: the round ends and the next one begins.
        !state.ending && state.asked.is_none()
    }

    pub(super) fn tell(&self, message: &str, held: bool) {
        let mut message = format!("the export to {} fails: {message}", self.settings.destination());
        if held {
            let megabytes = self.settings.held_bytes_max >> 20;
            message.push_str(&format!("; telemetry is held (up to {megabytes} MiB) and tried again"));
        }
        notice::print(Level::Warn, &message);
    }

    pub(super) fn round_done(&self, round: u64, well: bool) {
        let mut state = self.lock();
        state.rounds_done = round;
        state.healthy = well;
        let accepted_seq = if well { round } else { 0 };
        // Whoever asked meanwhile has cut this round short, and waits for the next one.
        let connected = well || state.rounds_asked > round;
        let standing = Standing { written_seq: round, accepted_seq, connected };
        state.waits.settle(standing, Instant::now());
        let settled = state.waits.take_settled();
        drop(state);
        self.changed.notify_all();
        wake(settled);
    }
}

/// A waker that panics is no reason not to wake the others.
fn wake(settled: Vec<Arc<Slot>>) {
    for slot in settled {
        drop(catch_unwind(AssertUnwindSafe(|| slot.wake())));
    }
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
