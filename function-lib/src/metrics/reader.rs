//! The metric reader, and the one who reads: a collection at a time, encoded and handed over before the next.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality};

use super::HandOver;
use super::encode;
use super::requests::Requests;
use crate::collect::Collect;
use crate::notice::{self, Level};

/// How long a collection waits for one that is under way in another thread. Only a callback of the user's takes
/// longer, and what it holds up is not lost: the next collection has it.
const TURN_WAIT_MAX: Duration = Duration::from_millis(50);

/// The provider owns its reader; this one is shared with the [`Collector`].
#[derive(Debug, Clone)]
pub(crate) struct SharedReader(Arc<ManualReader>);

impl SharedReader {
    pub(crate) fn new(temporality: Temporality) -> Self {
        Self(Arc::new(ManualReader::builder().with_temporality(temporality).build()))
    }
}

impl MetricReader for SharedReader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

/// Reads, encodes and hands over.
#[derive(Debug)]
pub(crate) struct Collector {
    reader: SharedReader,
    /// Reading ends with the last clone of the provider.
    _provider: SdkMeterProvider,
    resource: Bytes,
    resource_schema_url: String,
    turn: Turn,
    told: AtomicBool,
}

impl Collector {
    pub(crate) fn new(
        reader: SharedReader,
        provider: SdkMeterProvider,
        resource: Bytes,
        resource_schema_url: String,
    ) -> Self {
        let (turn, told) = (Turn::default(), AtomicBool::new(false));
        Self { reader, _provider: provider, resource, resource_schema_url, turn, told }
    }

    fn read(&self, metrics: &mut ResourceMetrics, hand_over: &mut HandOver<'_>) {
        // A callback's panic never gets here; this is for the SDK's own.
        let read = catch_unwind(AssertUnwindSafe(|| self.reader.collect(metrics)));
        let trouble = match read {
            Ok(Ok(())) => {
                let mut hand_over = |signal, items, request| hand_over(signal, items, request);
                let mut requests = Requests::new(&self.resource, &self.resource_schema_url, &mut hand_over);
                encode::put(metrics, &mut requests);
                return requests.end();
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the SDK panicked".to_owned(),
        };
        if !self.told.swap(true, Ordering::Relaxed) {
            notice::print(Level::Error, &format!("metrics can't be collected: {trouble}"));
        }
    }
}

impl Collect for Collector {
    fn collect(&self, hand_over: &mut HandOver<'_>) {
        if let Some(mut metrics) = self.turn.take(TURN_WAIT_MAX) {
            self.read(&mut metrics, hand_over);
            self.turn.give_back(metrics);
        }
    }
}

/// Who reads has the metrics' memory; nobody else reads then. A lock with a deadline, which `std` does not have.
#[derive(Debug)]
struct Turn {
    metrics: Mutex<Option<ResourceMetrics>>,
    free: Condvar,
}

impl Default for Turn {
    fn default() -> Self {
        Self { metrics: Mutex::new(Some(ResourceMetrics::default())), free: Condvar::new() }
    }
}

impl Turn {
    fn take(&self, timeout: Duration) -> Option<ResourceMetrics> {
        let waited = self.free.wait_timeout_while(self.lock(), timeout, |metrics| metrics.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }

    fn give_back(&self, metrics: ResourceMetrics) {
        *self.lock() = Some(metrics);
        self.free.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Option<ResourceMetrics>> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_one_at_a_time_and_waited_for_with_a_deadline() {
        let turn = Turn::default();
        let mine = turn.take(Duration::ZERO).unwrap();
        assert!(turn.take(Duration::from_millis(1)).is_none());
        std::thread::scope(|scope| {
            let next = scope.spawn(|| turn.take(Duration::from_secs(60)).is_some());
            turn.give_back(mine);
            assert!(next.join().unwrap());
        });
    }
}
