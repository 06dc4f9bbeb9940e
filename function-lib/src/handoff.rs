//! The hand-off to the extension: what every thread may ask for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use lambda_flush_proto::wire::{InvocationStarted, invocation_done::Status};

use crate::carrier::{Carrier, Item};
#[cfg(feature = "metrics")]
use crate::collect::Collect;
use crate::connection::Target;
use crate::counters::{DropReason, Stats};
use crate::direct::Direct;
use crate::hooks::Hooks;
use crate::id_generator::random_u64;
use crate::shared::Shared;
use crate::socket::{self, ConnectError};
use crate::waits::{Goal, Waiting};

/// How long `init` waits for the extension's `Welcome`. Where it comes later, the first spans wait for it in the
/// buffer.
const WELCOME_WAIT_MAX: Duration = Duration::from_millis(20);

/// How long a goodbye may wait for room when the time for draining is used up.
const GOODBYE_WAIT_MAX: Duration = Duration::from_millis(5);

/// The hand-off. Clones share it; the last one to go ends the library's thread.
#[derive(Debug, Clone)]
pub(crate) struct Handoff(Arc<Owner>);

#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Handoff {
    /// Connects once. Without a target nothing is ever handed over.
    pub(crate) fn open(target: Option<Target>) -> (Self, Result<(), ConnectError>) {
        let mut carrier = Carrier::new(random_u64(), target);
        let connected = carrier.connect();
        match &connected {
            Ok(()) => carrier.await_welcome(WELCOME_WAIT_MAX),
            Err(_) => carrier.shut(DropReason::NoExtension),
        }
        (Self(Arc::new(Owner(Arc::new(Shared::new(carrier))))), connected)
    }

    /// Hands over one encoded item that has ended. Never blocks.
    pub(crate) fn item(&self, item: Item<'_>) {
        self.0.0.item(item);
    }

    /// Sets what [`Self::collect`] collects; the first one stays.
    #[cfg(feature = "metrics")]
    pub(crate) fn set_collect(&self, collect: Arc<dyn Collect>) {
        self.0.0.set_collect(collect);
    }

    /// Collects what is not handed over item by item, and hands it over.
    pub(crate) fn collect(&self) {
        self.0.0.collect();
    }

    /// The handler of `attempt` has ended: collects, unless other invocations run. Theirs is then the next checkpoint,
    /// within a second, or the last end. A collection at each of many ends would be paid for by all.
    pub(crate) fn collect_at_end(&self, attempt: &str) {
        self.0.0.collect_at_end(attempt);
    }

    /// Reads what came, reconnects if need be, and says that an invocation begins.
    pub(crate) fn invocation_started(&self, started: InvocationStarted) {
        self.0.0.invocation_started(started);
    }

    /// Says that an invocation has ended and its response is posted.
    pub(crate) fn invocation_done(&self, request_id: &str, attempt: &str, status: Status) {
        self.0.0.invocation_done(request_id, attempt, status);
    }

    /// From now on everything goes to `direct`; the process exits `exit_after` SIGTERM.
    pub(crate) fn set_direct(&self, direct: Arc<dyn Direct>, exit_after: Duration) {
        self.0.0.set_direct(direct, exit_after);
    }

    /// What takes everything where there is no extension.
    pub(crate) fn direct(&self) -> Option<&Arc<dyn Direct>> {
        self.0.0.direct()
    }

    /// If items are buffered: resolves when they are written, or after `timeout`. In direct mode: when they are
    /// exported, or after the billed cap.
    pub(crate) fn room(&self, timeout: Duration) -> Option<Waiting> {
        if let Some(direct) = self.direct() {
            let waiting = direct.invocation_ended()?;
            return Some(waiting).filter(|_| self.is_watched());
        }
        let until = Instant::now() + timeout;
        let waiting = self.0.0.with(|carrier| {
            carrier.pump();
            let blocked = carrier.buffered() > 0 && carrier.is_connected();
            blocked.then(|| carrier.wait(Goal::Written, until))
        });
        waiting.filter(|_| self.0.0.can_wait())
    }

    /// Tells the library's thread of a wait in direct mode; it ends those that are over. Whether there is one.
    fn is_watched(&self) -> bool {
        self.0.0.with(|_| ());
        self.0.0.can_wait()
    }

    /// Resolves when all items so far are accepted, or after `timeout`.
    pub(crate) fn accepted(&self, timeout: Duration) -> Result<Waiting, NotWaiting> {
        if let Some(direct) = self.direct() {
            let waiting = direct.flush(timeout).ok_or(NotWaiting::NoThread)?;
            return if self.is_watched() { Ok(waiting) } else { Err(NotWaiting::NoThread) };
        }
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

    /// Collects, drains, says goodbye, and drops whatever ends later.
    pub(crate) fn finish(&self, timeout: Duration) {
        let until = Instant::now() + timeout;
        self.collect();
        if let Some(direct) = self.direct() {
            direct.finish(until.max(Instant::now() + direct.local_finish_max()));
            return;
        }
        self.drain(timeout);
        let until = until.max(Instant::now() + GOODBYE_WAIT_MAX);
        self.0.0.with(|carrier| carrier.leave(until));
    }

    /// From now on SIGTERM runs the hooks and ends the process, in an orderly way and in time. Only the first call
    /// in a process counts.
    pub(crate) fn catch_sigterm(&self) -> io::Result<()> {
        self.0.0.catch_sigterm()
    }

    /// What runs at SIGTERM.
    pub(crate) fn hooks(&self) -> &Hooks {
        self.0.0.hooks()
    }

    /// Whether a ring was wanted, and the extension has said that there is none.
    pub(crate) fn misses_ring(&self) -> bool {
        self.0.0.with(|carrier| carrier.misses_ring())
    }

    /// Why nothing can be handed over any more, if so.
    pub(crate) fn shut_reason(&self) -> Option<DropReason> {
        self.0.0.with(|carrier| carrier.shut_reason())
    }

    /// The numbers so far.
    pub(crate) fn stats(&self) -> Stats {
        if let Some(direct) = self.direct() {
            return direct.stats();
        }
        self.0.0.with(|carrier| carrier.stats())
    }

    /// Items in the buffer, without the lock.
    pub(crate) fn buffered(&self) -> u64 {
        self.0.0.buffered()
    }

    /// Where [`Self::buffered`] is kept.
    pub(crate) fn buffered_cell(&self) -> Arc<AtomicU64> {
        self.0.0.buffered_cell()
    }

    /// Makes the hand-off believe it runs in a forked child.
    #[cfg(test)]
    pub(crate) fn pretend_fork(&self) {
        self.0.0.pretend_fork();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Why [`Handoff::accepted`] can't wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotWaiting {
    Shut(DropReason),
    NoThread,
}

#[cfg(test)]
#[path = "handoff_tests.rs"]
mod tests;
