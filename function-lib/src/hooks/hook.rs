//! One hook: the future, what became of it, and its context.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::IdGenerator;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::report::{Outcome, Refused, Report};
use crate::handler::panic_message;
use crate::id_generator::KernelIdGenerator;
use crate::socket::Bell;

type Future_ = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Of a panic's message.
const PANIC_MESSAGE_CHARS_MAX: usize = 512;

/// See the module's description.
pub(crate) struct Hook {
    name: String,
    budget: Duration,
    runtime: Option<Handle>,
    state: Mutex<State>,
}

struct State {
    future: Option<Future_>,
    polled: bool,
    begun: Option<Begun>,
    ended: Option<(Outcome, Instant)>,
    task: Option<AbortHandle>,
}

#[derive(Debug, Clone)]
struct Begun {
    at: Instant,
    wall: SystemTime,
    deadline: Instant,
    span_context: SpanContext,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, budget, .. } = self;
        f.debug_struct("Hook").field("name", name).field("budget", budget).finish_non_exhaustive()
    }
}

impl Hook {
    pub(super) fn new(name: String, budget: Duration, runtime: Option<Handle>, future: Future_) -> Self {
        let state = State { future: Some(future), polled: false, begun: None, ended: None, task: None };
        Self { name, budget, runtime, state: Mutex::new(state) }
    }

    /// What to tell if it does not run.
    pub(crate) fn refusal(&self, why: Refused) -> String {
        why.describe(&self.name)
    }

    pub(super) fn runtime(&self) -> Option<Handle> {
        self.runtime.clone()
    }

    /// Its time begins, and ends after its budget or at `over`.
    pub(super) fn started(&self, over: Instant) {
        let at = Instant::now();
        let deadline = at.checked_add(self.budget).map_or(over, |until| until.min(over));
        self.lock().begun =
            Some(Begun { at, wall: SystemTime::now(), deadline, span_context: new_span_context() });
    }

    pub(super) fn keep(&self, task: AbortHandle) {
        self.lock().task = Some(task);
    }

    pub(super) fn no_runtime(&self) {
        self.lock().end(Outcome::NoRuntime);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.lock().begun.as_ref().map(|begun| begun.deadline)
    }

    /// What became of it, once that is known; its time ends at its deadline.
    pub(super) fn settle(&self, now: Instant) -> Option<Report> {
        let mut state = self.lock();
        let begun = state.begun.clone()?;
        if state.ended.is_none() && now >= begun.deadline {
            let outcome = if state.polled { Outcome::TimedOut } else { Outcome::NotPolled };
            state.end(outcome);
            // The runtime drops the future when it comes to it.
            if let Some(task) = &state.task {
                task.abort();
            }
        }
        let (outcome, ended) = state.ended.clone()?;
        Some(Report {
            name: self.name.clone(),
            budget: self.budget,
            outcome,
            started: begun.wall,
            took: ended.saturating_duration_since(begun.at),
            span_context: begun.span_context,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The first outcome stays.
    fn end(&mut self, outcome: Outcome) {
        self.ended.get_or_insert_with(|| (outcome, Instant::now()));
    }
}

/// A root of its own: nothing of the function's causes a shutdown.
fn new_span_context() -> SpanContext {
    let ids: (TraceId, SpanId) = (KernelIdGenerator.new_trace_id(), KernelIdGenerator.new_span_id());
    SpanContext::new(ids.0, ids.1, TraceFlags::SAMPLED, false, TraceState::NONE)
}

/// What the runtime polls.
pub(super) struct Running {
    hook: Arc<Hook>,
    future: Option<Future_>,
    cx: Context,
    bell: Arc<Bell>,
}

impl Running {
    /// Takes the future out of the hook.
    pub(super) fn new(hook: &Arc<Hook>, bell: Arc<Bell>) -> Self {
        let mut state = hook.lock();
        let future = state.future.take();
        let cx = Context::new();
        let cx = match &state.begun {
            // Spans inside the hook are children of its own, which ends when the hook has.
            Some(begun) => cx.with_remote_span_context(begun.span_context.clone()),
            None => cx,
        };
        drop(state);
        Self { hook: hook.clone(), future, cx, bell }
    }

    fn end(&self, outcome: Outcome) {
        self.hook.lock().end(outcome);
        self.bell.ring();
    }
}

impl Future for Running {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(future) = &mut this.future else { return Poll::Ready(()) };
        this.hook.lock().polled = true;
        let attached = this.cx.clone().attach();
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task)));
        let ended = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => catch_unwind(AssertUnwindSafe(|| this.future = None)),
            Err(panic) => Err(panic),
        };
        drop(attached);
        this.end(match ended {
            Ok(()) => Outcome::Done,
            Err(panic) => {
                Outcome::Panicked(panic_message(&*panic).chars().take(PANIC_MESSAGE_CHARS_MAX).collect())
            }
        });
        Poll::Ready(())
    }
}

impl Drop for Running {
    /// Dropped by the runtime before it was ready: the runtime ends, or the hook was late and has its outcome.
    fn drop(&mut self) {
        if self.future.is_some() {
            let polled = self.hook.lock().polled;
            self.end(if polled { Outcome::Dropped } else { Outcome::NoRuntime });
        }
    }
}
