//! The span processor: a span that ends is encoded once and handed over at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lambda_flush_proto::Signal;
use opentelemetry::Context;
use opentelemetry::trace::Span as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use crate::carrier::Item;
use crate::encode;
use crate::handoff::Handoff;
use crate::scratch;

/// How long a shutdown may block its thread to get the buffer written.
pub(crate) const SHUTDOWN_DRAIN_MAX: Duration = Duration::from_millis(250);

/// Nothing here may call [`Context::current`] or create tracing spans: the SDK and `tracing-opentelemetry` hold
/// their own locks while they call.
#[derive(Debug)]
pub(crate) struct HandoffProcessor {
    handoff: Handoff,
    started: Arc<AtomicU64>,
}

impl HandoffProcessor {
    pub(crate) fn new(handoff: Handoff, started: Arc<AtomicU64>) -> Self {
        Self { handoff, started }
    }
}

impl SpanProcessor for HandoffProcessor {
    fn on_start(&self, span: &mut Span, _cx: &Context) {
        if span.span_context().is_sampled() {
            self.started.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        let scope = &span.instrumentation_scope;
        scratch::encoded(
            |out| encode::span(&span, out),
            |encoded| self.handoff.item(Item { signal: Signal::Traces, scope, encoded }),
        );
    }

    /// Spans are handed over when they end; this only gives what had to wait another chance, without waiting.
    fn force_flush(&self) -> OTelSdkResult {
        self.handoff.drain(Duration::ZERO);
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.handoff.finish(timeout.min(SHUTDOWN_DRAIN_MAX));
        Ok(())
    }
}
