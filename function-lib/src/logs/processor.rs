//! The log processor: a record of the OpenTelemetry logs API is encoded once when it is emitted, and handed over.

use std::borrow::Cow;
use std::time::Duration;

use lambda_flush_proto::Signal;
use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};

use super::record;
use super::silence::Silence;
use crate::carrier::Item;
use crate::handoff::Handoff;
use crate::processor::SHUTDOWN_DRAIN_MAX;
use crate::scratch;

#[derive(Debug)]
pub(super) struct HandoffLogProcessor {
    handoff: Handoff,
}

impl HandoffLogProcessor {
    pub(super) fn new(handoff: Handoff) -> Self {
        Self { handoff }
    }
}

impl LogProcessor for HandoffLogProcessor {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        let Some(_silence) = Silence::begin() else { return };
        let scope = match record.target() {
            Some(target) if target != scope.name() => Cow::Owned(renamed(scope, target.clone())),
            _ => Cow::Borrowed(scope),
        };
        scratch::encoded(
            |out| record::of_record(record, out),
            |encoded| self.handoff.item(Item { signal: Signal::Logs, scope: &scope, encoded }),
        );
    }

    /// Records are handed over when they are emitted; this gives what had to wait another chance, without waiting.
    fn force_flush(&self) -> OTelSdkResult {
        self.handoff.drain(Duration::ZERO);
        Ok(())
    }

    /// The link is the spans', too: whoever shuts down logs alone does not end it.
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.handoff.drain(timeout.min(SHUTDOWN_DRAIN_MAX));
        Ok(())
    }
}

/// A record's target takes the place of its logger's name (`opentelemetry-proto` does the same).
fn renamed(scope: &InstrumentationScope, target: Cow<'static, str>) -> InstrumentationScope {
    let mut renamed = InstrumentationScope::builder(target).with_attributes(scope.attributes().cloned());
    if let Some(version) = scope.version() {
        renamed = renamed.with_version(version.to_owned());
    }
    if let Some(schema_url) = scope.schema_url() {
        renamed = renamed.with_schema_url(schema_url.to_owned());
    }
    renamed.build()
}
