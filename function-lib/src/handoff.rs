//! The hand-off to the extension: the one lock, the thread's bell, and what every thread may ask for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lambda_flush_proto::wire::{InvocationStarted, Signal, invocation_done::Status};
use rustix::process::{Pid, getpid};

use crate::carrier::{Carrier, Item, Target, Watch};
use crate::collect::Collect;
use crate::counters::{DropReason, Stats};
use crate::drainer;
use crate::id_generator::random_u64;
use crate::socket::{self, Bell, ConnectError};
use crate::waits::{Goal, Waiting};

/// How long `init` waits for the extension's `Welcome`. Where it comes later, the first spans wait for it in the
/// buffer.
const WELCOME_WAIT_MAX: Duration = Duration::from_millis(20);

/// The hand-off. Clones share it; the last one to go ends the library's thread.
#[derive(Debug, Clone)]
pub(crate) struct Handoff(Arc<Owner>);

#[derive(Debug)]
struct Owner(Arc<Shared>);

/// What the library's thread shares with everybody else.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    buffered: Arc<AtomicU64>,
    collect: OnceLock<Arc<dyn Collect>>,
}

#[derive(Debug)]
struct State {
    carrier: Carrier,
    pid: Pid,
    thread: Thread,
    ending: bool,
}

/// The library's thread, which exists once something had to wait.
#[derive(Debug)]
enum Thread {
    None,
    /// It waits for `watch`, and for the bell.
    Waiting {
        bell: Arc<Bell>,
        watch: Watch,
    },
    /// It could not be had; spans that end and invocations that end drain the buffer.
    Unavailable,
}

impl Handoff {
    /// Connects once. Without a target nothing is ever handed over.
    pub(crate) fn open(target: Option<Target>) -> (Self, Result<(), ConnectError>) {
        let mut carrier = Carrier::new(random_u64(), target);
        let connected = carrier.connect();
        match &connected {
            Ok(()) => carrier.await_welcome(WELCOME_WAIT_MAX),
            Err(_) => carrier.shut(DropReason::NoExtension),
        }
        let state = State { carrier, pid: getpid(), thread: Thread::None, ending: false };
        let shared = Shared { state: Mutex::new(state), buffered: Arc::default(), collect: OnceLock::new() };
        (Self(Arc::new(Owner(Arc::new(shared)))), connected)
    }

    /// Hands over one encoded item that has ended. Never blocks.
    pub(crate) fn item(&self, item: Item<'_>) {
        self.0.0.with(|carrier| carrier.item(item));
    }

    /// Hands over a whole OTLP export request of `items` items. Never blocks.
    pub(crate) fn payload(&self, signal: Signal, items: u32, request: Bytes) {
        self.0.0.with(|carrier| carrier.payload(signal, items, request));
    }

    /// Sets what [`Self::collect`] collects; the first one stays.
    pub(crate) fn set_collect(&self, collect: Arc<dyn Collect>) {
        drop(self.0.0.collect.set(collect));
    }

    /// Collects what is not handed over item by item.
    pub(crate) fn collect(&self) {
        if let Some(collect) = self.0.0.collect.get() {
            collect.collect();
        }
    }

    /// Reads what came, reconnects if need be, and says that an invocation begins.
    pub(crate) fn invocation_started(&self, started: InvocationStarted) {
        self.0.0.with(|carrier| carrier.invocation_started(started));
    }

    /// Says that an invocation has ended and its response is posted.
    pub(crate) fn invocation_done(&self, request_id: &str, attempt: &str, status: Status) {
        self.0.0.with(|carrier| carrier.invocation_done(request_id, attempt, status));
    }

    /// If items are buffered: resolves when they are written, or after `timeout`.
    pub(crate) fn room(&self, timeout: Duration) -> Option<Waiting> {
        let until = Instant::now() + timeout;
        let waiting = self.0.0.with(|carrier| {
            carrier.pump();
            let blocked = carrier.buffered() > 0 && carrier.is_connected();
            blocked.then(|| carrier.wait(Goal::Written, until))
        });
        waiting.filter(|_| self.0.0.can_wait())
    }

    /// Resolves when all items so far are accepted, or after `timeout`.
    pub(crate) fn accepted(&self, timeout: Duration) -> Result<Waiting, NotWaiting> {
        let until = Instant::now() + timeout;
        let waiting = self.0.0.with(|carrier| {
            carrier.receive();
            let reason = carrier.shut_reason();
            reason.map_or_else(
                || Ok(carrier.wait(Goal::Accepted, until)),
                |reason| Err(NotWaiting::Shut(reason)),
            )
        });
        if self.0.0.can_wait() { waiting } else { Err(NotWaiting::NoThread) }
    }

    /// Writes what is buffered, for `timeout` at the most, blocking this thread.
    pub(crate) fn drain(&self, timeout: Duration) {
        let until = Instant::now() + timeout;
        loop {
            let watch = self.0.0.with(|carrier| {
                carrier.receive();
                carrier.pump();
                carrier.watch()
            });
            let left = until.saturating_duration_since(Instant::now());
            if self.buffered() == 0 || watch.socket.is_none() || left.is_zero() {
                return;
            }
            socket::wait(None, watch.socket.as_deref(), watch.for_room, Some(left));
        }
    }

    /// Drains, says goodbye, and drops whatever ends later.
    pub(crate) fn finish(&self, timeout: Duration) {
        self.drain(timeout);
        self.0.0.with(Carrier::goodbye);
    }

    /// Why nothing can be handed over any more, if so.
    pub(crate) fn shut_reason(&self) -> Option<DropReason> {
        self.0.0.with(|carrier| carrier.shut_reason())
    }

    /// The numbers so far.
    pub(crate) fn stats(&self) -> Stats {
        self.0.0.with(|carrier| carrier.stats())
    }

    /// Items in the buffer, without the lock.
    pub(crate) fn buffered(&self) -> u64 {
        self.0.0.buffered.load(Ordering::Acquire)
    }

    /// Where [`Self::buffered`] is kept.
    pub(crate) fn buffered_cell(&self) -> Arc<AtomicU64> {
        self.0.0.buffered.clone()
    }

    /// Makes the hand-off believe it runs in a forked child.
    #[cfg(test)]
    pub(crate) fn pretend_fork(&self) {
        self.0.0.lock().pid = Pid::INIT;
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ending = true;
        if let Thread::Waiting { bell, .. } = &state.thread {
            bell.ring();
        }
    }
}

/// Why [`Handoff::accepted`] can't wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotWaiting {
    Shut(DropReason),
    NoThread,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` under the lock; afterwards whoever has to know is told.
    fn with<R>(self: &Arc<Self>, f: impl FnOnce(&mut Carrier) -> R) -> R {
        let mut state = self.lock();
        state.notice_fork();
        let result = f(&mut state.carrier);
        self.release(state);
        result
    }

    /// Whether waits get settled: [`Self::with`] starts the thread for them, if it can be had.
    fn can_wait(&self) -> bool {
        !matches!(self.lock().thread, Thread::Unavailable)
    }

    fn release(self: &Arc<Self>, mut state: std::sync::MutexGuard<'_, State>) {
        state.carrier.settle();
        self.buffered.store(state.carrier.buffered(), Ordering::Release);
        let wanted = state.carrier.watch();
        if !wanted.is_idle() && state.has_thread(self) {
            state.ring_for(&wanted);
        }
        let settled = state.carrier.waits.take_settled();
        drop(state);
        for slot in settled {
            slot.wake();
        }
    }

    /// What the library's thread waits for next; `None` ends it.
    pub(crate) fn next_watch(self: &Arc<Self>) -> Option<Watch> {
        let mut state = self.lock();
        state.carrier.receive();
        state.carrier.pump();
        state.carrier.settle();
        self.buffered.store(state.carrier.buffered(), Ordering::Release);
        let next = state.carrier.watch();
        if let Thread::Waiting { watch, .. } = &mut state.thread {
            *watch = next.clone();
        }
        let settled = state.carrier.waits.take_settled();
        let ending = state.ending;
        drop(state);
        for slot in settled {
            slot.wake();
        }
        (!ending).then_some(next)
    }
}

impl State {
    /// A forked child has a copy of all this and of the parent's socket, and neither is its own.
    fn notice_fork(&mut self) {
        let pid = getpid();
        if pid == self.pid {
            return;
        }
        self.pid = pid;
        self.thread = Thread::None;
        self.carrier = self.carrier.forked(random_u64());
        self.carrier.reconnect();
    }

    fn has_thread(&mut self, shared: &Arc<Shared>) -> bool {
        if matches!(self.thread, Thread::None) {
            self.thread = match drainer::spawn(shared) {
                Ok(bell) => Thread::Waiting { bell, watch: Watch::default() },
                Err(_) => Thread::Unavailable,
            };
        }
        matches!(self.thread, Thread::Waiting { .. })
    }

    /// Rings unless the thread already waits for all of `wanted`.
    fn ring_for(&mut self, wanted: &Watch) {
        if let Thread::Waiting { bell, watch } = &mut self.thread
            && !watch.covers(wanted)
        {
            bell.ring();
            // One ring will do: the thread looks at everything when it wakes.
            *watch = wanted.clone();
        }
    }
}

#[cfg(test)]
#[path = "handoff_tests.rs"]
mod tests;
