//! Hooks that run at SIGTERM: who is registered, who runs, and until when.
//!
//! ```text
//!            SIGTERM: launch()          ready, panicked, budget used up, runtime gone
//!  Waiting ───────────────────▶ Running ─────────────────────────────────────────────▶ Settled
//! ```
//! The function's own runtime polls them; the library's thread launches them, watches the time, and reports.

mod hook;
mod report;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

pub(crate) use hook::Hook;
pub(crate) use report::{Refused, Report};

use crate::notice::{self, Level};
use crate::socket::Bell;

/// Hooks of one process.
const HOOKS_MAX: usize = 256;

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Hooks(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    waiting: Vec<Arc<Hook>>,
    running: Vec<Arc<Hook>>,
    registered: usize,
    /// For hooks that were registered outside of any runtime.
    runtime: Option<Handle>,
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    /// Until SIGTERM.
    #[default]
    Before,
    /// From the first hand-off on; the bell wakes the library's thread.
    Open(Arc<Bell>),
    /// The time for hooks is over.
    Over,
}

impl Hooks {
    /// Keeps a hook until SIGTERM; in the time for hooks it runs at once. What is not taken is told of.
    pub(crate) fn add(
        &self,
        name: String,
        budget: Duration,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        let hook = Arc::new(Hook::new(name, budget, Handle::try_current().ok(), Box::pin(future)));
        if let Err(why) = self.keep(hook.clone()) {
            notice::print(Level::Warn, &hook.refusal(why));
        }
    }

    fn keep(&self, hook: Arc<Hook>) -> Result<(), Refused> {
        let mut registry = self.lock();
        if matches!(registry.stage, Stage::Over) {
            return Err(Refused::TooLate);
        }
        if registry.registered >= HOOKS_MAX {
            return Err(Refused::TooMany);
        }
        registry.registered += 1;
        registry.waiting.push(hook);
        if let Stage::Open(bell) = &registry.stage {
            bell.ring();
        }
        Ok(())
    }

    /// The runtime this is called in polls hooks that were registered outside of any.
    pub(crate) fn offer_runtime(&self) {
        self.lock().runtime = Handle::try_current().ok();
    }

    /// The time for hooks begins.
    pub(crate) fn open(&self, bell: &Arc<Bell>) {
        self.lock().stage = Stage::Open(bell.clone());
    }

    /// Those that wait run from now on, until `over` at the latest: to be spawned without any lock held.
    pub(crate) fn launch(&self, over: Instant) -> Vec<Launch> {
        let mut registry = self.lock();
        let Stage::Open(bell) = &registry.stage else { return Vec::new() };
        let bell = bell.clone();
        let waiting = std::mem::take(&mut registry.waiting);
        for hook in &waiting {
            hook.started(over);
        }
        registry.running.extend(waiting.iter().cloned());
        let fallback = &registry.runtime;
        let launch = |hook: Arc<Hook>| {
            let runtime = hook.runtime().or_else(|| fallback.clone());
            Launch { runtime, hook, bell: bell.clone() }
        };
        waiting.into_iter().map(launch).collect()
    }

    /// Takes out those that have ended, or whose time is up.
    pub(crate) fn settle(&self, now: Instant) -> Vec<Report> {
        let mut reports = Vec::new();
        self.lock().running.retain(|hook| match hook.settle(now) {
            Some(report) => {
                reports.push(report);
                false
            }
            None => true,
        });
        reports
    }

    /// When the next hook's time is up; `None` if none runs.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.lock().running.iter().filter_map(|hook| hook.deadline()).min()
    }

    /// The time for hooks is over. Returns what never ran.
    pub(crate) fn close(&self) -> Vec<Arc<Hook>> {
        let mut registry = self.lock();
        registry.stage = Stage::Over;
        std::mem::take(&mut registry.waiting)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hook about to run.
#[derive(Debug)]
pub(crate) struct Launch {
    hook: Arc<Hook>,
    runtime: Option<Handle>,
    bell: Arc<Bell>,
}

impl Launch {
    /// Gives the hook to its runtime. A runtime that has ended drops it at once, and with it what it holds.
    pub(crate) fn spawn(self) {
        let Self { hook, runtime, bell } = self;
        match runtime {
            Some(runtime) => {
                let running = hook::Running::new(&hook, bell);
                let task = runtime.spawn(running);
                hook.keep(task.abort_handle());
            }
            None => {
                hook.no_runtime();
                bell.ring();
            }
        }
    }
}
