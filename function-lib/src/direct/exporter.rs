//! What all other threads may ask of the export thread.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lambda_flush_proto::Signal;

use super::held::Held;
use super::settings::{self, Settings};
use super::state::{State, Thread};
use super::thread::{LOCAL_EVERY, MANAGED_EVERY, Shared};
use super::{Direct, Emitter};
use crate::carrier::Item;
use crate::config::Source;
use crate::counters::{DropReason, Stats};
use crate::notice::{self, Level};
use crate::waits::{Goal, Standing, Waiting};

/// How long the end of a run outside Lambda may take.
const LOCAL_FINISH_MAX: Duration = Duration::from_secs(2);

/// What the last attempt leaves of the time.
const LAST_MARGIN: Duration = Duration::from_millis(10);

/// See the module's description. Dropping it ends the thread when its attempt is over.
#[derive(Debug)]
pub(crate) struct Exporter(Arc<Shared>);

/// Direct mode, if the variables name a backend; and what is wrong with them. Starts no thread yet.
pub(crate) fn start(source: &dyn Source, emitter: Emitter) -> (Option<Arc<dyn Direct>>, Vec<String>) {
    let (settings, faults) = settings::read(source);
    let local = source.var("AWS_LAMBDA_RUNTIME_API").is_none();
    let kind = source.var("AWS_LAMBDA_INITIALIZATION_TYPE");
    let managed = kind.is_some_and(|kind| kind == "lambda-managed-instances");
    let every = if local { Some(LOCAL_EVERY) } else { managed.then_some(MANAGED_EVERY) };
    let direct = settings
        .map(|settings| -> Arc<dyn Direct> { Arc::new(Exporter::new(settings, emitter, local, every)) });
    (direct, faults)
}

impl Exporter {
    fn new(settings: Settings, emitter: Emitter, local: bool, every: Option<Duration>) -> Self {
        let held = Held::new(emitter.resource, emitter.resource_schema_url, settings.held_bytes_max);
        Self(Arc::new(Shared {
            settings: Arc::new(settings),
            buffered: emitter.buffered,
            local,
            every,
            state: Mutex::new(State::new(held)),
            changed: Condvar::new(),
        }))
    }

    fn push(&self, items: u64, push: impl FnOnce(&mut Held)) {
        let mut state = self.0.lock();
        state.notice_fork();
        if state.finished {
            return state.held.refuse(DropReason::ShutDown, items);
        }
        push(&mut state.held);
        self.0.publish(&state);
        // A thread that looks by itself now and then has to be there.
        let first = self.0.every.is_some() && state.thread == Thread::None;
        let full = state.held.is_half_full() && state.asked.is_none() && state.in_flight.is_none();
        if first {
            self.0.ensure_thread(&mut state);
        }
        if full && state.healthy {
            self.0.ask(&mut state, Instant::now() + self.0.settings.timeout);
        }
    }

    /// Asks for a round until `until`, and waits for its end in `goal`'s sense.
    fn round(&self, goal: Goal, until: Instant) -> Option<Waiting> {
        let mut state = self.0.lock();
        state.notice_fork();
        if state.held.buffered() == 0 && goal == Goal::Written {
            return None;
        }
        self.0.ask(&mut state, until);
        let round = state.rounds_asked;
        (state.thread == Thread::Running).then(|| state.waits.add(goal, round, until))
    }
}

impl Direct for Exporter {
    fn item(&self, item: Item<'_>) {
        self.push(1, |held| held.push_item(&item));
    }

    fn payload(&self, signal: Signal, items: u32, request: Bytes) {
        self.push(u64::from(items), |held| held.push_request(signal, items, &request));
    }

    fn has_room(&self) -> bool {
        !self.0.lock().held.is_half_full()
    }

    fn invocation_started(&self) {
        let mut state = self.0.lock();
        state.notice_fork();
        if state.held.buffered() > 0 && state.in_flight.is_none() && state.may_try() {
            self.0.ask(&mut state, Instant::now() + self.0.settings.timeout);
        }
    }

    fn invocation_ended(&self) -> Option<Waiting> {
        if self.0.every.is_some() {
            return None;
        }
        let cap = self.0.settings.billed_max;
        let healthy = self.0.lock().healthy;
        if !healthy || cap.is_zero() {
            return None;
        }
        self.round(Goal::Written, Instant::now() + cap)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.0.lock().waits.next_deadline()
    }

    fn settle_overdue(&self) {
        let mut state = self.0.lock();
        // Nothing but the time has changed.
        let standing = Standing { written_seq: state.rounds_done, accepted_seq: 0, connected: true };
        state.waits.settle(standing, Instant::now());
        let settled = state.waits.take_settled();
        drop(state);
        for slot in settled {
            slot.wake();
        }
    }

    fn flush(&self, timeout: Duration) -> Option<Waiting> {
        self.round(Goal::Accepted, Instant::now() + timeout)
    }

    fn begin_finish(&self, until: Instant) {
        let mut state = self.0.lock();
        if state.held.buffered() > 0 {
            self.0.ask(&mut state, before(until));
        }
    }

    fn finish(&self, until: Instant) -> u64 {
        let mut state = self.0.lock();
        let ended = state.held.counters().ended;
        // The telemetry and its provider both ask for it when they go.
        if state.finished || state.last_finish == Some(ended) {
            return state.held.buffered();
        }
        state.finished = !self.0.local;
        state.last_finish = Some(ended);
        // An attempt under way may succeed yet; when half of the time is over it makes room for a new one.
        let half = Instant::now() + until.saturating_duration_since(Instant::now()) / 2;
        state = self.0.wait_while(state, half, |state| state.in_flight.is_some() && !state.is_idle());
        if state.held.buffered() > 0 {
            if let Some(batch) = state.in_flight.take() {
                state.held.put_back(batch);
                state.generation += 1;
                state.thread = Thread::None;
            }
            self.0.ask(&mut state, before(until));
            state = self.0.wait_while(state, until, |state| state.is_busy() && !state.is_idle());
        }
        self.0.publish(&state);
        let left = state.held.buffered();
        let message = state.farewell(left, &self.0.settings.destination());
        drop(state);
        if let Some(message) = message {
            notice::print(Level::Error, &message);
        }
        left
    }

    fn stats(&self) -> Stats {
        let state = self.0.lock();
        let counters = state.held.counters();
        Stats {
            started: 0,
            ended: counters.ended,
            written: counters.written,
            buffered: state.held.buffered(),
            dropped: counters.reasons().collect(),
            ring_bytes: 0,
        }
    }

    fn destination(&self) -> String {
        self.0.settings.destination()
    }

    fn local_finish_max(&self) -> Duration {
        if self.0.local { LOCAL_FINISH_MAX } else { Duration::ZERO }
    }
}

/// The last attempt ends a little earlier, so that it can be said what was in its way.
fn before(until: Instant) -> Instant {
    until.checked_sub(LAST_MARGIN).unwrap_or(until)
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.0.lock().ending = true;
        self.0.changed.notify_all();
    }
}
