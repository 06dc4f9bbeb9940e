//! What the runtime layer and the handler wrapper know of one invocation together.
//!
//! The layer puts it into the OpenTelemetry [`Context`] that is attached while the handler is polled.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use lambda_flush_proto::wire::{InvocationStarted, invocation_done::Status};
use lambda_runtime::LambdaInvocation;
use opentelemetry::Context;

const INVOCATION_ID_HEADER: &str = "lambda-runtime-invocation-id";

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) request_id: String,
    /// Request ids repeat when Lambda retries; this does not.
    pub(crate) attempt: String,
    deadline: SystemTime,
    status: AtomicI32,
}

impl Invocation {
    pub(crate) fn new(invocation: &LambdaInvocation) -> Self {
        let header = invocation.parts.headers.get(INVOCATION_ID_HEADER).and_then(|value| value.to_str().ok());
        Self {
            request_id: invocation.context.request_id.clone(),
            attempt: header.map_or_else(next_attempt, str::to_owned),
            deadline: invocation.context.deadline(),
            status: AtomicI32::new(Status::Unspecified as i32),
        }
    }

    /// The invocation whose handler this thread is polling.
    pub(crate) fn current() -> Option<Arc<Self>> {
        Context::map_current(|cx| cx.get::<Arc<Self>>().cloned())
    }

    pub(crate) fn started(&self) -> InvocationStarted {
        let deadline = self.deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        InvocationStarted {
            request_id: self.request_id.clone(),
            attempt: self.attempt.clone(),
            deadline_unix_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            // The invocation span does not exist yet.
            traceparent: String::new(),
        }
    }

    /// How long it may still run.
    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.duration_since(SystemTime::now()).unwrap_or_default()
    }

    /// Remembers how the handler ended.
    pub(crate) fn ended(&self, status: Status) {
        self.status.store(status as i32, Ordering::Release);
    }

    /// How the handler ended, `Unspecified` until it has.
    pub(crate) fn status(&self) -> Status {
        Status::try_from(self.status.load(Ordering::Acquire)).unwrap_or(Status::Unspecified)
    }
}

fn next_attempt() -> String {
    static ATTEMPTS: AtomicU64 = AtomicU64::new(1);
    ATTEMPTS.fetch_add(1, Ordering::Relaxed).to_string()
}
