//! The metric reader, and the one who reads: a collection at a time, encoded and handed over before the next.

use std::cell::Cell;
use std::mem;
use std::ops::{Deref, DerefMut};
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
use crate::handler::panic_message;
use crate::notice::{self, Level};

/// How long a collection waits for one that is under way in another thread. Only a callback of the user's takes
/// longer, and what it holds up is not lost: the next collection has it.
const TURN_WAIT_MAX: Duration = Duration::from_millis(50);

thread_local! {
    static MISSED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread's last collection had nothing handed over, because another one was under way for too long.
pub(crate) fn missed() -> bool {
    MISSED.get()
}

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
        // A callback's panic never gets here; this is for the SDK's own, and for ours. Who collects may be the
        // function's thread.
        let read = catch_unwind(AssertUnwindSafe(|| {
            self.reader.collect(metrics)?;
            let mut hand_over = |signal, items, request| hand_over(signal, items, request);
            let mut requests = Requests::new(&self.resource, &self.resource_schema_url, &mut hand_over);
            encode::put(metrics, &mut requests);
            requests.end();
            OTelSdkResult::Ok(())
        }));
        let trouble = match read {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("a panic: {}", panic_message(&*panic)),
        };
        if !self.told.swap(true, Ordering::Relaxed) {
            notice::print(Level::Error, &format!("metrics can't be collected: {trouble}"));
        }
    }
}

impl Collect for Collector {
    fn collect(&self, hand_over: &mut HandOver<'_>) {
        let turn = self.turn.take(TURN_WAIT_MAX);
        MISSED.set(turn.is_none());
        if let Some(mut turn) = turn {
            self.read(&mut turn, hand_over);
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
    fn take(&self, timeout: Duration) -> Option<Taken<'_>> {
        let waited = self.free.wait_timeout_while(self.lock(), timeout, |metrics| metrics.is_none());
        let metrics = waited.unwrap_or_else(PoisonError::into_inner).0.take()?;
        Some(Taken { turn: self, metrics })
    }

    fn lock(&self) -> MutexGuard<'_, Option<ResourceMetrics>> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn that is taken. However the reading ends, it is given back.
#[derive(Debug)]
struct Taken<'a> {
    turn: &'a Turn,
    metrics: ResourceMetrics,
}

impl Deref for Taken<'_> {
    type Target = ResourceMetrics;

    fn deref(&self) -> &ResourceMetrics {
        &self.metrics
    }
}

impl DerefMut for Taken<'_> {
    fn deref_mut(&mut self) -> &mut ResourceMetrics {
        &mut self.metrics
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.turn.lock() = Some(mem::take(&mut self.metrics));
        self.turn.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider;

    use super::*;

    /// Its own panic and the caller's: neither ends metrics.
    #[test]
    fn a_panic_while_it_is_handed_over_gives_the_turn_back() {
        let reader = SharedReader::new(Temporality::Delta);
        let provider = SdkMeterProvider::builder().with_reader(reader.clone()).build();
        let counter = provider.meter("test").u64_counter("orders").build();
        let collector = Collector::new(reader, provider, Bytes::new(), String::new());
        counter.add(1, &[]);
        collector.collect(&mut |_, _, _| panic!("the buffer is haunted"));
        assert!(!missed());
        counter.add(1, &[]);
        let mut handed_over = 0;
        collector.collect(&mut |_, items, _| handed_over += items);
        assert_eq!((handed_over, missed()), (1, false));
    }

    #[test]
    fn a_turn_is_given_back_in_a_panic() {
        let turn = Turn::default();
        let read = || {
            let _taken = turn.take(Duration::ZERO).unwrap();
            panic!("the reading is haunted");
        };
        assert!(catch_unwind(AssertUnwindSafe(read)).is_err());
        assert!(turn.take(Duration::ZERO).is_some());
    }

    #[test]
    fn who_gets_no_turn_knows_what_was_missed() {
        let reader = SharedReader::new(Temporality::Delta);
        let provider = SdkMeterProvider::builder().with_reader(reader.clone()).build();
        let collector = Collector::new(reader, provider, Bytes::new(), String::new());
        let taken = collector.turn.take(Duration::ZERO).unwrap();
        collector.collect(&mut |_, _, _| panic!("nothing can be read"));
        assert!(missed());
        drop(taken);
        collector.collect(&mut |_, _, _| panic!("nothing is measured"));
        assert!(!missed());
    }

    #[test]
    fn a_turn_is_one_at_a_time_and_waited_for_with_a_deadline() {
        let turn = Turn::default();
        let mine = turn.take(Duration::ZERO).unwrap();
        assert!(turn.take(Duration::from_millis(1)).is_none());
        std::thread::scope(|scope| {
            let next = scope.spawn(|| turn.take(Duration::from_secs(60)).is_some());
            drop(mine);
            assert!(next.join().unwrap());
        });
    }
}
