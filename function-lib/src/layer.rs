//! The runtime layer: tells the extension when an invocation begins, and when its response has been posted.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use lambda_flush_proto::wire::invocation_done::Status;
use lambda_runtime::LambdaInvocation;
use opentelemetry::Context;
use tower::Service;

use crate::handoff::Handoff;
use crate::invocation::Invocation;
use crate::parent::Parents;
use crate::waits::Waiting;

/// How long the end of an invocation waits for room when items are still buffered. The response is posted by
/// then, so this is billed but nobody waits for it.
const ROOM_WAIT_MAX: Duration = Duration::from_millis(5);

/// Wraps a `lambda_runtime::Runtime`; see [`crate::Telemetry::layer`].
#[derive(Debug, Clone)]
pub struct InvocationLayer {
    handoff: Handoff,
    parents: Parents,
}

impl InvocationLayer {
    pub(crate) fn new(handoff: Handoff, parents: Parents) -> Self {
        Self { handoff, parents }
    }
}

impl<S> tower::Layer<S> for InvocationLayer {
    type Service = InvocationService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        InvocationService { inner, handoff: self.handoff.clone(), parents: self.parents.clone() }
    }
}

/// What [`InvocationLayer`] makes of the service below it.
#[derive(Debug, Clone)]
pub struct InvocationService<S> {
    inner: S,
    handoff: Handoff,
    parents: Parents,
}

impl<S> Service<LambdaInvocation> for InvocationService<S>
where
    S: Service<LambdaInvocation, Response = ()>,
{
    type Response = ();
    type Error = S::Error;
    type Future = InvocationFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Task<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, event: LambdaInvocation) -> Self::Future {
        let invocation = Arc::new(Invocation::new(&event));
        self.handoff.invocation_started(invocation.started());
        // A new context: a span around `run` is not the parent of every invocation to come.
        let cx = self.parents.extract(&event, &Context::new()).with_value(invocation.clone());
        let done = Done { handoff: self.handoff.clone(), invocation };
        let inner = {
            let _attached = cx.clone().attach();
            self.inner.call(event)
        };
        InvocationFuture { step: Step::Running(Box::pin(inner)), cx, done: Some(done) }
    }
}

/// Resolves as the service below does, once the extension knows that the invocation has ended.
#[derive(Debug)]
pub struct InvocationFuture<F, E> {
    step: Step<F, E>,
    cx: Context,
    done: Option<Done>,
}

#[derive(Debug)]
enum Step<F, E> {
    Running(Pin<Box<F>>),
    /// The response is posted; items are still buffered.
    WaitingForRoom(Waiting, Option<Result<(), E>>),
    Finished,
}

// Nothing in it is pinned but what is boxed.
impl<F, E> Unpin for InvocationFuture<F, E> {}

impl<F, E> Future for InvocationFuture<F, E>
where
    F: Future<Output = Result<(), E>>,
{
    type Output = Result<(), E>;

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            let result = match &mut this.step {
                Step::Running(inner) => {
                    let _attached = this.cx.clone().attach();
                    let Poll::Ready(result) = inner.as_mut().poll(task) else { return Poll::Pending };
                    this.step = Step::Finished;
                    if let Some(done) = &this.done {
                        done.handoff.collect_at_end(&done.invocation.attempt);
                    }
                    result
                }
                Step::WaitingForRoom(waiting, result) => {
                    let Poll::Ready(_) = Pin::new(waiting).poll(task) else { return Poll::Pending };
                    let result = result.take();
                    this.step = Step::Finished;
                    this.done = None;
                    return result.map_or(Poll::Pending, Poll::Ready);
                }
                Step::Finished => return Poll::Pending,
            };
            match this.done.as_ref().and_then(|done| done.handoff.room(ROOM_WAIT_MAX)) {
                Some(waiting) => this.step = Step::WaitingForRoom(waiting, Some(result)),
                None => {
                    this.done = None;
                    return Poll::Ready(result);
                }
            }
        }
    }
}

impl<F, E> Drop for InvocationFuture<F, E> {
    fn drop(&mut self) {
        if let (Step::Running(_), Some(done)) = (&self.step, &self.done) {
            // The handler's wrapper is dropped with it, here, and so tells how it ended before `Done` does.
            let _attached = self.cx.clone().attach();
            if done.invocation.status() == Status::Unspecified {
                done.invocation.ended(Status::Cancelled);
            }
            self.step = Step::Finished;
            done.handoff.collect_at_end(&done.invocation.attempt);
        }
    }
}

/// Tells the extension on drop, however the invocation ends.
#[derive(Debug)]
struct Done {
    handoff: Handoff,
    invocation: Arc<Invocation>,
}

impl Drop for Done {
    fn drop(&mut self) {
        let Invocation { request_id, attempt, .. } = &*self.invocation;
        self.handoff.invocation_done(request_id, attempt, self.invocation.status());
    }
}
