//! The handler wrapper: one span per invocation, ended however the handler ends.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as Task, Poll};
use std::time::Instant;

use lambda_flush_proto::wire::invocation_done::Status as DoneStatus;
use lambda_runtime::{Diagnostic, LambdaEvent};
use opentelemetry::trace::{Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use tower::Service;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::filter::INVOCATION_TARGET;
use crate::invocation::Invocation;
use crate::metrics::Faas;

/// Wraps a handler; see [`crate::Telemetry::handler`].
#[derive(Debug, Clone)]
pub struct TracedHandler<S> {
    inner: S,
    faas: Faas,
}

impl<S> TracedHandler<S> {
    pub(crate) fn new(inner: S, faas: Faas) -> Self {
        Self { inner, faas }
    }
}

impl<S, T> Service<LambdaEvent<T>> for TracedHandler<S>
where
    S: Service<LambdaEvent<T>>,
    S::Error: Into<Diagnostic> + fmt::Debug,
{
    type Response = S::Response;
    type Error = HandlerError;
    type Future = TracedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Task<'_>) -> Poll<Result<(), HandlerError>> {
        self.inner.poll_ready(cx).map_err(HandlerError::new)
    }

    fn call(&mut self, event: LambdaEvent<T>) -> Self::Future {
        let mut open = Open::new(&event.context, self.faas.clone());
        let entered = open.span.clone().entered();
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(event))) {
            Ok(inner) => {
                drop(entered);
                TracedFuture { inner: Some(Box::pin(inner)), open }
            }
            Err(panic) => {
                drop(entered);
                open.end(&Ending::Panic(panic_message(&*panic)));
                resume_unwind(panic)
            }
        }
    }
}

/// OpenTelemetry's semantic conventions for a Lambda invocation.
fn open_span(context: &lambda_runtime::Context, coldstart: bool) -> Span {
    let arn = Arn(&context.invoked_function_arn);
    let span = tracing::info_span!(
        target: INVOCATION_TARGET,
        parent: None,
        "invocation",
        otel.name = context.env_config.function_name,
        otel.kind = "server",
        faas.invocation_id = context.request_id,
        faas.coldstart = coldstart,
        cloud.resource_id = arn.resource_id(&context.env_config.version),
        cloud.account.id = arn.account_id(),
        aws.lambda.tenant_id = context.tenant_id,
    );
    // Only a subscriber without our layer, or a filter, makes this fail, and then there is no span to parent.
    drop(span.set_parent(Context::current()));
    span
}

/// `arn:aws:lambda:<region>:<account>:function:<name>[:<qualifier>]`
struct Arn<'a>(&'a str);

impl Arn<'_> {
    fn account_id(&self) -> Option<&str> {
        self.0.split(':').nth(4).filter(|id| !id.is_empty())
    }

    /// An alias is replaced by the version it stands for, as the conventions want.
    fn resource_id(&self, version: &str) -> Option<String> {
        if !self.0.starts_with("arn:") {
            return None;
        }
        match self.0.splitn(8, ':').nth(7).filter(|_| !version.is_empty()) {
            Some(qualifier) => self.0.strip_suffix(qualifier).map(|arn| format!("{arn}{version}")),
            None => Some(self.0.to_owned()),
        }
    }
}

/// Resolves as the handler does.
#[derive(Debug)]
pub struct TracedFuture<F> {
    inner: Option<Pin<Box<F>>>,
    open: Open,
}

impl<F, R, E> Future for TracedFuture<F>
where
    F: Future<Output = Result<R, E>>,
    E: Into<Diagnostic> + fmt::Debug,
{
    type Output = Result<R, HandlerError>;

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else { return Poll::Pending };
        let polled = {
            let _entered = this.open.span.enter();
            let polled = catch_unwind(AssertUnwindSafe(|| inner.as_mut().poll(task)));
            if !matches!(polled, Ok(Poll::Pending)) {
                // Spans that live in the future end before the invocation's does.
                this.inner = None;
            }
            polled
        };
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Ok(response))) => {
                this.open.end(&Ending::Success);
                Poll::Ready(Ok(response))
            }
            Ok(Poll::Ready(Err(error))) => {
                let error = HandlerError::new(error);
                this.open.end(&Ending::Error(&error.diagnostic));
                Poll::Ready(Err(error))
            }
            Err(panic) => {
                this.open.end(&Ending::Panic(panic_message(&*panic)));
                resume_unwind(panic)
            }
        }
    }
}

impl<F> Drop for TracedFuture<F> {
    fn drop(&mut self) {
        if self.inner.is_some() {
            let entered = self.open.span.enter();
            self.inner = None;
            drop(entered);
            self.open.end(&Ending::Cancelled);
        }
    }
}

/// The invocation's span while the handler runs.
#[derive(Debug)]
struct Open {
    span: Span,
    invocation: Option<Arc<Invocation>>,
    faas: Faas,
    since: Instant,
    ended: bool,
}

enum Ending<'a> {
    Success,
    Error(&'a Diagnostic),
    Panic(&'a str),
    Cancelled,
}

impl Open {
    fn new(context: &lambda_runtime::Context, faas: Faas) -> Self {
        static COLD: AtomicBool = AtomicBool::new(true);
        let coldstart = COLD.swap(false, Ordering::Relaxed);
        if coldstart {
            faas.cold_start();
        }
        let (span, invocation) = (open_span(context, coldstart), Invocation::current());
        Self { span, invocation, faas, since: Instant::now(), ended: false }
    }

    /// Ends the OpenTelemetry span itself: the tracing span lives on as long as any child does, for instance in a
    /// task the handler has spawned, and may outlive the environment.
    fn end(&mut self, ending: &Ending<'_>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let cx = self.span.context();
        let span = cx.span();
        let (status, error) = match ending {
            Ending::Success => (DoneStatus::Ok, None),
            Ending::Error(error) => {
                (DoneStatus::Error, Some((error.error_type.as_str(), error.error_message.as_str())))
            }
            Ending::Panic(message) => (DoneStatus::Panic, Some(("panic", *message))),
            Ending::Cancelled => (DoneStatus::Cancelled, None),
        };
        if let Some((kind, message)) = error {
            span.set_attribute(KeyValue::new("error.type", kind.to_owned()));
            let attributes = [("exception.type", kind), ("exception.message", message)];
            span.add_event(
                "exception",
                attributes.map(|(key, text)| KeyValue::new(key, text.to_owned())).to_vec(),
            );
            span.set_status(Status::error(message.to_owned()));
        } else if matches!(ending, Ending::Cancelled) {
            span.set_attribute(KeyValue::new("error.type", "cancelled"));
            span.set_status(Status::error("cancelled"));
        }
        span.end();
        self.faas.ended(matches!(ending, Ending::Success), self.since.elapsed());
        if let Some(invocation) = &self.invocation {
            invocation.ended(status);
        }
    }
}

pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a message")
}

/// A handler's error, ready for Lambda: the diagnostic is what the caller sees, `Debug` is the original's.
pub struct HandlerError {
    diagnostic: Diagnostic,
    debug: String,
}

impl HandlerError {
    fn new(error: impl Into<Diagnostic> + fmt::Debug) -> Self {
        let debug = format!("{error:?}");
        Self { diagnostic: error.into(), debug }
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.debug)
    }
}

impl From<HandlerError> for Diagnostic {
    fn from(error: HandlerError) -> Self {
        error.diagnostic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_replaced_by_its_version() {
        let plain = "arn:aws:lambda:eu-west-1:123456789012:function:orders";
        assert_eq!(Arn(plain).resource_id("7").as_deref(), Some(plain));
        let aliased = format!("{plain}:live");
        assert_eq!(Arn(&aliased).resource_id("7"), Some(format!("{plain}:7")));
        assert_eq!(Arn(&aliased).account_id(), Some("123456789012"));
        let absent = "No header lambda-runtime-invoked-function-arn found.";
        assert_eq!((Arn(absent).resource_id("7"), Arn(absent).account_id()), (None, None));
    }
}
