//! Lifecycle events on their way to the driver, and the permission to ask for the next one.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::core::{Event, RequestId, Wall};
use crate::limits::{INVOKE_DEADLINE_UNKNOWN, SHUTDOWN_DEADLINE_UNKNOWN};

/// One event, and the way to say that the next may be asked for.
#[derive(Debug)]
pub struct Lifecycle {
    /// For the core.
    pub event: Event,
    /// Sent once the core says `CallNext`. Dropped at SHUTDOWN: there is no next.
    pub call_next: Option<oneshot::Sender<()>>,
}

/// Hands events to the driver.
#[derive(Debug, Clone)]
pub struct Gate {
    events: mpsc::Sender<Lifecycle>,
    clock: Clock,
}

impl Gate {
    /// The driver listens at the other end of `events`.
    #[must_use]
    pub fn new(events: mpsc::Sender<Lifecycle>, clock: Clock) -> Self {
        Self { events, clock }
    }

    /// The extension is registered.
    pub async fn registered(&self) {
        let lifecycle = Lifecycle { event: Event::Registered, call_next: None };
        // The driver ends only with the process.
        let _ended = self.events.send(lifecycle).await;
    }

    /// Hands over INVOKE and returns when `/next` may be called.
    pub async fn invoke(&self, request_id: String, deadline_ms: u64) {
        let deadline = self.deadline(deadline_ms, INVOKE_DEADLINE_UNKNOWN);
        self.pass(Event::Invoke { request_id: RequestId(request_id), deadline }).await;
    }

    /// Hands over SHUTDOWN. The process ends before this returns.
    pub async fn shutdown(&self, reason: String, deadline_ms: u64) {
        let deadline = self.deadline(deadline_ms, SHUTDOWN_DEADLINE_UNKNOWN);
        self.pass(Event::Shutdown { reason, deadline }).await;
        std::future::pending::<()>().await;
    }

    async fn pass(&self, event: Event) {
        let (call_next, may_call) = oneshot::channel();
        let lifecycle = Lifecycle { event, call_next: Some(call_next) };
        if self.events.send(lifecycle).await.is_ok() {
            // Dropped unsent when the driver takes an event before it released the last one.
            let _released = may_call.await;
        }
    }

    fn deadline(&self, ms: u64, unknown: Duration) -> Wall {
        if ms == 0 { self.clock.now().wall + unknown } else { Clock::from_unix_ms(ms) }
    }
}
