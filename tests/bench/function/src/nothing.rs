//! A span processor and a metric reader that do nothing: the floor.

use std::hint::black_box;
use std::sync::Weak;
use std::time::Duration;

use lambda_flush::opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, Pipeline, Temporality};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

#[derive(Debug)]
pub(crate) struct Nothing;

impl SpanProcessor for Nothing {
    fn on_start(&self, _span: &mut Span, _cx: &Context) {}
    fn on_end(&self, span: SpanData) {
        black_box(&span);
    }
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// A reader that never reads.
#[derive(Debug)]
pub(crate) struct Unread;

impl MetricReader for Unread {
    fn register_pipeline(&self, _pipeline: Weak<Pipeline>) {}
    fn collect(&self, _metrics: &mut ResourceMetrics) -> OTelSdkResult {
        Ok(())
    }
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
    fn temporality(&self, _kind: InstrumentKind) -> Temporality {
        Temporality::Delta
    }
}
