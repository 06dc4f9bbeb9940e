//! SIGTERM: how it is caught, and the sequence that ends the process.
//!
//! ```text
//!  SIGTERM   0 ms  collect metrics · hand over all that is buffered                  ≤ 60 ms
//!                  hooks, all at once, each ≤ its budget                             until 220 ms
//!                  collect again · direct export · Goodbye                           until 255 ms
//!          260 ms  _exit(0) at the latest, and as soon as all of it is done
//! ```
//! In direct mode, and with no external extension at all (an empty `/opt/extensions`), Lambda gives 500 ms: the
//! direct export then has until 435 ms, and the exit comes at 450 ms at the latest. The other times stay.
//!
//! All of it runs on the library's thread, so a handler that blocks its runtime is no obstacle. The function's own
//! code runs elsewhere: hooks on the function's runtime, what observes metrics on an [`Errand`]'s thread.
//!
//! The handler is chained: those that were installed before, by tokio or by `signal-hook`, are called as well, but
//! nobody is waited for beyond the deadline. SIGINT is left alone.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::getpid;
use signal_hook::consts::SIGTERM;
use signal_hook::low_level;

use crate::errand::Errand;
use crate::hooks::{Launch, Refused};
use crate::notice::{self, Level};
use crate::shared::Shared;
use crate::socket::{self, Bell};
use crate::watch::Watch;

/// From SIGTERM to the exit. A function beside an external extension has 300 ms, and this thread, like every other,
/// may have to wait for a core.
pub(crate) const EXIT_AFTER: Duration = Duration::from_millis(260);

/// From SIGTERM to the end of the first collection, and of the first hand-off, which hooks wait for.
const COLLECT_MAX: Duration = Duration::from_millis(40);
const HAND_OFF_MAX: Duration = Duration::from_millis(60);

/// From SIGTERM to the end of the time for hooks.
const HOOKS_MAX: Duration = Duration::from_millis(220);

/// From SIGTERM to the end of the last collection.
const LAST_COLLECT_MAX: Duration = Duration::from_millis(240);

/// How long after that a full pipe may hold up what is told of them, all lines together.
const LINES_MAX: Duration = Duration::from_millis(10);

/// What is left for the exit itself once all else is over.
const EXIT_MARGIN: Duration = Duration::from_millis(5);

/// The same, and for the line that says how many items were not exported.
const DIRECT_MARGIN: Duration = Duration::from_millis(15);

/// The reading end of what the signal handler writes to.
#[derive(Debug)]
pub(crate) struct Sigterm {
    ours: UnixStream,
}

/// The other end, before the handler has it.
#[derive(Debug)]
pub(crate) struct Uncaught {
    theirs: UnixStream,
}

impl Sigterm {
    /// The two ends.
    pub(crate) fn pair() -> std::io::Result<(Self, Uncaught)> {
        let (ours, theirs) = UnixStream::pair()?;
        set_socket_passcred(&ours, true)?;
        Ok((Self { ours }, Uncaught { theirs }))
    }

    /// Whether SIGTERM has come to this process. A forked child has inherited the handler and writes to the same
    /// socket; the kernel says who did.
    pub(crate) fn news(&self) -> News {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        loop {
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            let mut into = [IoSliceMut::new(&mut byte)];
            match recvmsg(&self.ours, &mut into, &mut ancillary, RecvFlags::DONTWAIT) {
                Ok(message) if message.bytes == 0 => return News::Never,
                Ok(_) => {}
                Err(_) => return News::None,
            }
            let from_here = |message: RecvAncillaryMessage<'_>| match message {
                RecvAncillaryMessage::ScmCredentials(sender) => sender.pid == getpid(),
                _ => false,
            };
            if ancillary.drain().any(from_here) {
                return News::Came;
            }
        }
    }
}

/// What [`Sigterm::news`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    Came,
    None,
    /// The handler could not be installed.
    Never,
}

impl AsFd for Sigterm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }
}

impl Uncaught {
    /// From now on SIGTERM no longer ends the process by itself.
    pub(crate) fn catch(self) -> std::io::Result<()> {
        low_level::pipe::register(SIGTERM, self.theirs).map(drop)
    }
}

/// Ends the process.
pub(crate) fn end(shared: &Arc<Shared>, bell: &Arc<Bell>) -> ! {
    let began = Instant::now();
    let ending = Ending { shared, bell, began, exit_at: began + shared.exit_after() };
    // A panic here would be a fault of ours; the process has to go all the same.
    drop(catch_unwind(AssertUnwindSafe(|| ending.run())));
    ending.leave()
}

struct Ending<'a> {
    shared: &'a Arc<Shared>,
    bell: &'a Arc<Bell>,
    began: Instant,
    exit_at: Instant,
}

impl Ending<'_> {
    fn run(&self) {
        self.shared.prepare_to_end();
        self.collect(self.began + COLLECT_MAX);
        match self.shared.direct() {
            Some(direct) => direct.begin_finish(self.exit_at - DIRECT_MARGIN),
            None => self.hand_off(self.began + HAND_OFF_MAX),
        }
        self.hooks(self.began + HOOKS_MAX);
        if !self.collect(self.began + LAST_COLLECT_MAX) {
            tell_of_missed_metrics();
        }
        match self.shared.direct() {
            Some(direct) => drop(direct.finish(self.exit_at - DIRECT_MARGIN)),
            None => self.hand_off(self.exit_at - EXIT_MARGIN),
        }
    }

    /// Returns whether all that was recorded before has been handed over.
    fn collect(&self, until: Instant) -> bool {
        if !self.shared.has_collect() {
            return true;
        }
        let (shared, all) = (self.shared.clone(), Arc::new(AtomicBool::new(false)));
        let theirs = all.clone();
        let collecting = Errand::start(move || theirs.store(shared.collect_all(), Ordering::Release));
        collecting.wait(until) && all.load(Ordering::Acquire)
    }

    /// Writes what is buffered, as long as there is a connection.
    fn hand_off(&self, until: Instant) {
        loop {
            let watch = self.shared.next_watch().unwrap_or_default();
            if self.shared.buffered() == 0 || watch.socket.is_none() || Instant::now() >= until {
                return;
            }
            self.wait(&watch, until);
        }
    }

    /// As the thread waits all the time, until `until`.
    fn wait(&self, watch: &Watch, until: Instant) {
        let until = watch.until.map_or(until, |due| due.min(until));
        let left = until.saturating_duration_since(Instant::now());
        socket::wait(Some(self.bell), watch.socket.as_deref(), watch.for_room, Some(left));
    }

    fn hooks(&self, over: Instant) {
        let hooks = self.shared.hooks();
        let patience = over + LINES_MAX;
        hooks.open(self.bell);
        loop {
            let launches = hooks.launch(over);
            if !launches.is_empty() {
                Errand::start(move || launches.into_iter().for_each(Launch::spawn));
            }
            for report in hooks.settle(Instant::now()) {
                notice::print_record(&report.line(), patience);
                self.shared.span(&report.span());
            }
            let Some(deadline) = hooks.next_deadline() else { break };
            // What the function hands over meanwhile is written as well.
            let watch = self.shared.next_watch().unwrap_or_default();
            self.wait(&watch, deadline);
        }
        for late in hooks.close() {
            notice::print_until(Level::Warn, &late.refusal(Refused::TooLate), patience);
        }
    }

    /// `_exit`, not `exit`: the latter runs what the C library has been told to run at exit, while other threads go
    /// on, and waits for whatever lock that needs. What the function has printed without a newline is not flushed.
    fn leave(&self) -> ! {
        let until = self.exit_at - EXIT_MARGIN / 2;
        // No other thread may end a span between the last word and the exit: it would be lost, and not be counted.
        self.shared.exit_with_last_word(until, || low_level::exit(0))
    }
}

/// Nobody else will: they are neither handed over nor counted as dropped.
fn tell_of_missed_metrics() {
    #[cfg(feature = "metrics")]
    let running = crate::metrics::running();
    #[cfg(not(feature = "metrics"))]
    let running: Option<Arc<str>> = None;
    let why = match running {
        Some(name) => format!("a callback of the instrument {name:?} is still running"),
        None => "a collection took too long".to_owned(),
    };
    let message = format!("at SIGTERM, metrics since the last collection were not collected: {why}");
    notice::print(Level::Warn, &message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::process::{Command, Stdio};

    #[test]
    fn what_a_child_writes_is_no_signal_of_this_process() {
        let (sigterm, uncaught) = Sigterm::pair().unwrap();
        assert_eq!(sigterm.news(), News::None);
        let theirs: OwnedFd = uncaught.theirs.try_clone().unwrap().into();
        let mut child =
            Command::new("sh").args(["-c", "printf XX"]).stdout(Stdio::from(theirs)).spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(sigterm.news(), News::None);
        (&uncaught.theirs).write_all(b"X").unwrap();
        assert_eq!(sigterm.news(), News::Came);
        drop(uncaught);
        assert_eq!(sigterm.news(), News::Never);
    }
}
