//! What the one lock guards: the carrier, and what is known of the library's thread.

use std::io;
use std::sync::Arc;

use rustix::process::{Pid, getpid};

use crate::carrier::Carrier;
use crate::checkpoints::Checkpoints;
use crate::id_generator::random_u64;
use crate::shared::Shared;
use crate::sigterm::Sigterm;
use crate::socket::Bell;
use crate::thread;
use crate::watch::Watch;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) carrier: Carrier,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) pid: Pid,
    pub(crate) thread: Thread,
    /// No handle is left.
    pub(crate) ending: bool,
    pub(crate) catches_sigterm: bool,
    /// Until the thread has it.
    pub(crate) sigterm: Option<Sigterm>,
}

/// The library's thread: it exists from `init` on in Lambda, elsewhere once something had to wait.
#[derive(Debug)]
pub(crate) enum Thread {
    None,
    /// It waits for `watch`, and for the bell.
    Waiting {
        bell: Arc<Bell>,
        watch: Watch,
    },
    /// It could not be had; spans that end and invocations that end drain the buffer.
    Unavailable,
}

impl State {
    pub(crate) fn new(carrier: Carrier) -> Self {
        Self {
            carrier,
            checkpoints: Checkpoints::default(),
            pid: getpid(),
            thread: Thread::None,
            ending: false,
            catches_sigterm: false,
            sigterm: None,
        }
    }

    /// A forked child has a copy of all this and of the parent's socket, and neither is its own. Whether this is one
    /// that did not know it.
    pub(crate) fn notice_fork(&mut self) -> bool {
        let pid = getpid();
        if pid == self.pid {
            return false;
        }
        self.pid = pid;
        self.thread = Thread::None;
        self.catches_sigterm = false;
        self.sigterm = None;
        self.carrier = self.carrier.forked(random_u64());
        self.carrier.reconnect();
        true
    }

    pub(crate) fn has_thread(&mut self, shared: &Arc<Shared>) -> bool {
        if matches!(self.thread, Thread::None) && self.start_thread(shared).is_err() {
            self.thread = Thread::Unavailable;
        }
        matches!(self.thread, Thread::Waiting { .. })
    }

    pub(crate) fn catch_sigterm(&mut self, shared: &Arc<Shared>) -> io::Result<()> {
        let (sigterm, uncaught) = Sigterm::pair()?;
        self.give_sigterm(shared, sigterm)?;
        uncaught.catch()?;
        self.catches_sigterm = true;
        Ok(())
    }

    /// To the thread, which may be there already: something had to wait.
    pub(crate) fn give_sigterm(&mut self, shared: &Arc<Shared>, sigterm: Sigterm) -> io::Result<()> {
        match &self.thread {
            Thread::Waiting { bell, .. } => bell.ring(),
            Thread::None => self.start_thread(shared)?,
            Thread::Unavailable => return Err(io::Error::other("no thread can be had")),
        }
        self.sigterm = Some(sigterm);
        Ok(())
    }

    pub(crate) fn start_thread(&mut self, shared: &Arc<Shared>) -> io::Result<()> {
        let bell = thread::spawn(shared)?;
        self.thread = Thread::Waiting { bell, watch: Watch::default() };
        Ok(())
    }

    /// Rings unless the thread already waits for all of `wanted`.
    pub(crate) fn ring_for(&mut self, wanted: &Watch) {
        if let Thread::Waiting { bell, watch } = &mut self.thread
            && !watch.covers(wanted)
        {
            bell.ring();
            // One ring will do: the thread looks at everything when it wakes.
            *watch = wanted.clone();
        }
    }
}
