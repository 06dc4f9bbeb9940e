//! What the library's thread shares with everybody else: the one lock, and the bell that wakes it.

use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use lambda_flush_proto::wire::{InvocationStarted, Signal, invocation_done::Status};
use opentelemetry_sdk::trace::SpanData;

use crate::carrier::{Carrier, Item};
use crate::checkpoints::{Checkpoints, Moment};
use crate::collect::Collect;
use crate::direct::Direct;
use crate::encode;
use crate::hooks::Hooks;
use crate::scratch;
use crate::sigterm::{self, Sigterm};
use crate::state::{State, Thread};
use crate::watch::Watch;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    buffered: Arc<AtomicU64>,
    collect: OnceLock<Arc<dyn Collect>>,
    hooks: Hooks,
    /// Takes everything, where there is no extension; and the time from SIGTERM to the exit then.
    direct: OnceLock<(Arc<dyn Direct>, Duration)>,
}

impl Shared {
    pub(crate) fn new(carrier: Carrier) -> Self {
        Self {
            state: Mutex::new(State::new(carrier)),
            buffered: Arc::default(),
            collect: OnceLock::new(),
            hooks: Hooks::default(),
            direct: OnceLock::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` under the lock; afterwards whoever has to know is told.
    pub(crate) fn with<R>(self: &Arc<Self>, f: impl FnOnce(&mut Carrier) -> R) -> R {
        self.with_state(|state| f(&mut state.carrier))
    }

    fn with_state<R>(self: &Arc<Self>, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        state.notice_fork();
        let result = f(&mut state);
        self.release(state);
        result
    }

    /// See [`crate::handoff::Handoff::item`].
    pub(crate) fn item(self: &Arc<Self>, item: Item<'_>) {
        match self.direct() {
            Some(direct) => direct.item(item),
            None => self.hand_over(item),
        }
    }

    /// Nearly always the item is with the extension now, and nobody has to be told of anything.
    fn hand_over(self: &Arc<Self>, item: Item<'_>) {
        let mut state = self.lock();
        let forked = state.notice_fork();
        state.carrier.item(item);
        if forked || !state.carrier.is_at_rest() {
            return self.release(state);
        }
        self.publish(&state);
    }

    /// Hands over a span that the SDK has had no part in.
    pub(crate) fn span(self: &Arc<Self>, span: &SpanData) {
        let scope = &span.instrumentation_scope;
        scratch::encoded(
            |out| encode::span(span, out),
            |encoded| self.item(Item { signal: Signal::Traces, scope, encoded }),
        );
    }

    /// Hands over a whole OTLP export request of `items` items. Never blocks.
    fn payload(self: &Arc<Self>, signal: Signal, items: u32, request: Bytes) {
        match self.direct() {
            Some(direct) => direct.payload(signal, items, request),
            None => self.with(|carrier| carrier.payload(signal, items, request)),
        }
    }

    /// See [`crate::handoff::Handoff::set_direct`].
    pub(crate) fn set_direct(&self, direct: Arc<dyn Direct>, exit_after: Duration) {
        drop(self.direct.set((direct, exit_after)));
    }

    /// What takes everything where there is no extension.
    pub(crate) fn direct(&self) -> Option<&Arc<dyn Direct>> {
        self.direct.get().map(|(direct, _)| direct)
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn set_collect(&self, collect: Arc<dyn Collect>) {
        drop(self.collect.set(collect));
    }

    /// See [`crate::handoff::Handoff::collect`].
    pub(crate) fn collect(self: &Arc<Self>) {
        if let Some(collect) = self.collect.get() {
            collect.collect(&mut |signal, items, request| self.payload(signal, items, request));
        }
    }

    /// As [`Self::collect`]. Returns whether all that was recorded before has been handed over.
    pub(crate) fn collect_all(self: &Arc<Self>) -> bool {
        self.collect();
        #[cfg(feature = "metrics")]
        return !crate::metrics::missed();
        #[cfg(not(feature = "metrics"))]
        true
    }

    /// As [`Self::collect`], unless the buffer is getting full: measurements take no more room where they are, and
    /// the next collection has them.
    pub(crate) fn collect_with_room(self: &Arc<Self>) {
        let has_room = || match self.direct() {
            Some(direct) => direct.has_room(),
            None => self.with(|carrier| carrier.has_room()),
        };
        if self.has_collect() && has_room() {
            self.collect();
        }
    }

    /// Whether [`Self::collect`] does anything.
    pub(crate) fn has_collect(&self) -> bool {
        self.collect.get().is_some()
    }

    /// See [`crate::handoff::Handoff::invocation_started`].
    pub(crate) fn invocation_started(self: &Arc<Self>, started: InvocationStarted) {
        let deadline = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(started.deadline_unix_ms));
        self.with_state(|state| {
            if let Some(deadline) = deadline.filter(|_| self.has_collect()) {
                state.checkpoints.begin(&started.attempt, deadline, Moment::now());
            }
            state.carrier.invocation_started(started);
        });
        if let Some(direct) = self.direct() {
            direct.invocation_started();
        }
    }

    /// See [`crate::handoff::Handoff::collect_at_end`].
    pub(crate) fn collect_at_end(self: &Arc<Self>, attempt: &str) {
        // Under one lock, so that of several that end at the same time exactly one is the last.
        if self.has_collect() && self.lock().checkpoints.end(attempt) {
            self.collect_with_room();
        }
    }

    /// See [`crate::handoff::Handoff::invocation_done`]. The thread may still wait for the next checkpoint; when it
    /// wakes, nothing is due, and it waits without a limit.
    pub(crate) fn invocation_done(self: &Arc<Self>, request_id: &str, attempt: &str, status: Status) {
        self.with_state(|state| {
            state.checkpoints.end(attempt);
            state.carrier.invocation_done(request_id, attempt, status);
        });
    }

    /// Whether metrics have to be collected now, because an invocation runs.
    pub(crate) fn take_checkpoint(&self) -> bool {
        self.lock().checkpoints.take_due(Moment::now())
    }

    /// Items in the buffer, without the lock.
    pub(crate) fn buffered(&self) -> u64 {
        self.buffered.load(Ordering::Acquire)
    }

    /// Where [`Self::buffered`] is kept.
    pub(crate) fn buffered_cell(&self) -> Arc<AtomicU64> {
        self.buffered.clone()
    }

    pub(crate) fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// See [`crate::handoff::Handoff::catch_sigterm`].
    pub(crate) fn catch_sigterm(self: &Arc<Self>) -> io::Result<()> {
        static CAUGHT: AtomicBool = AtomicBool::new(false);
        let mut state = self.lock();
        if CAUGHT.swap(true, Ordering::AcqRel) {
            return Err(io::Error::other("another Telemetry of this process has it"));
        }
        state.catch_sigterm(self).inspect_err(|_| CAUGHT.store(false, Ordering::Release))
    }

    /// SIGTERM, for the thread to wait for.
    pub(crate) fn take_sigterm(&self) -> Option<Sigterm> {
        self.lock().sigterm.take()
    }

    /// From SIGTERM to the exit, at the latest.
    pub(crate) fn exit_after(&self) -> Duration {
        self.direct.get().map_or(sigterm::EXIT_AFTER, |(_, exit_after)| *exit_after)
    }

    /// At SIGTERM: no more checkpoints, and one attempt to get a lost connection back.
    pub(crate) fn prepare_to_end(self: &Arc<Self>) {
        self.with_state(|state| {
            state.checkpoints = Checkpoints::default();
            if state.carrier.buffered() > 0 {
                state.carrier.reconnect();
            }
        });
    }

    /// Says goodbye, until `until` at the latest, and calls `exit` with the lock held: what ends now, ends never.
    pub(crate) fn exit_with_last_word(&self, until: Instant, exit: impl FnOnce() -> Infallible) -> ! {
        let mut state = self.lock();
        drop(catch_unwind(AssertUnwindSafe(|| state.carrier.leave(until))));
        match exit() {}
    }

    /// No handle is left: the thread ends, unless it has SIGTERM to wait for.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ending = true;
        if let Thread::Waiting { bell, .. } = &state.thread {
            bell.ring();
        }
    }

    /// Whether waits get settled: [`Self::with`] starts the thread for them, if it can be had.
    pub(crate) fn can_wait(&self) -> bool {
        !matches!(self.lock().thread, Thread::Unavailable)
    }

    fn release(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        state.carrier.settle();
        self.publish(&state);
        let wanted = self.watch(&state);
        if !wanted.is_idle() && state.has_thread(self) {
            state.ring_for(&wanted);
        }
        let settled = state.carrier.waits.take_settled();
        drop(state);
        for slot in settled {
            slot.wake();
        }
    }

    /// Moves everything on, and says what the library's thread waits for next; `None` ends it.
    pub(crate) fn next_watch(&self) -> Option<Watch> {
        if let Some(direct) = self.direct() {
            direct.settle_overdue();
        }
        let mut state = self.lock();
        state.carrier.receive();
        state.carrier.pump();
        state.carrier.settle();
        self.publish(&state);
        let next = self.watch(&state);
        if let Thread::Waiting { watch, .. } = &mut state.thread {
            *watch = next.clone();
        }
        let settled = state.carrier.waits.take_settled();
        let goes_on = !state.ending || state.catches_sigterm;
        drop(state);
        for slot in settled {
            slot.wake();
        }
        goes_on.then_some(next)
    }

    /// What has to happen before anything moves on, or becomes due.
    fn watch(&self, state: &State) -> Watch {
        let watch = state.carrier.watch();
        let due = state.checkpoints.next(Moment::now());
        let overdue = self.direct().and_then(|direct| direct.next_deadline());
        Watch { until: watch.until.into_iter().chain(due).chain(overdue).min(), ..watch }
    }

    /// In direct mode the number is not the carrier's.
    fn publish(&self, state: &State) {
        if self.direct.get().is_none() {
            self.buffered.store(state.carrier.buffered(), Ordering::Release);
        }
    }

    /// Makes the hand-off believe it runs in a forked child.
    #[cfg(test)]
    pub(crate) fn pretend_fork(&self) {
        self.lock().pid = rustix::process::Pid::INIT;
    }
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
