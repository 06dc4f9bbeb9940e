//! Work that runs the function's own code, on a thread of its own that lives no longer than the work.
//!
//! Observable instruments call back, and futures have destructors. Whatever they do, the library's thread has to
//! catch SIGTERM and to be gone in time: it starts the errand, and waits no longer than it can.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// An errand under way. Dropping it does not stop it.
#[derive(Debug)]
pub(crate) struct Errand(Receiver<()>);

type Work = Box<dyn FnOnce() + Send>;

impl Errand {
    /// Starts `work`. Where no thread can be had it is done here and now.
    pub(crate) fn start(work: impl FnOnce() + Send + 'static) -> Self {
        let (done, news) = sync_channel::<()>(1);
        let work: Arc<Mutex<Option<Work>>> = Arc::new(Mutex::new(Some(Box::new(work))));
        let theirs = work.clone();
        let thread = std::thread::Builder::new().name("lambda-flush-run".to_owned());
        if thread.spawn(move || run(&theirs, done)).is_err() {
            take(&work);
        }
        Self(news)
    }

    /// Waits until it is done, at the latest until `until`. Returns whether it is.
    pub(crate) fn wait(&self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        self.0.recv_timeout(left) != Err(RecvTimeoutError::Timeout)
    }

    /// Whether it is done.
    pub(crate) fn is_done(&self) -> bool {
        self.0.try_recv() != Err(TryRecvError::Empty)
    }
}

/// A panic ends the errand as its end does: `done` is dropped.
fn run(work: &Mutex<Option<Work>>, done: SyncSender<()>) {
    take(work);
    drop(done);
}

fn take(work: &Mutex<Option<Work>>) {
    let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(work) = work {
        // The panic hook has told of it, and there is nobody else to tell.
        drop(catch_unwind(AssertUnwindSafe(work)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn an_errand_that_panics_is_done() {
        assert!(Errand::start(|| panic!("on purpose")).wait(Instant::now() + PATIENCE));
    }

    #[test]
    fn an_errand_that_hangs_is_left_alone() {
        let (release, held) = sync_channel::<()>(0);
        let errand = Errand::start(move || assert!(held.recv().is_err()));
        assert!(!errand.is_done() && !errand.wait(Instant::now() + Duration::from_millis(5)));
        drop(release);
        assert!(errand.wait(Instant::now() + PATIENCE) && errand.is_done());
    }
}
