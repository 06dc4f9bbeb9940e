//! The user's callbacks, kept from harm: the SDK runs them under its locks, where a panic would poison those and so
//! end all metrics of the process, and where a new instrument would wait for itself for ever.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry::metrics::{AsyncInstrument, Callback};

use crate::handler::panic_message;
use crate::notice::{self, Level};

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// The instruments whose callbacks run, in whatever thread. Those of the whole process: who asks is about to end it.
static OBSERVED: Mutex<Vec<Arc<str>>> = Mutex::new(Vec::new());

fn observed() -> MutexGuard<'static, Vec<Arc<str>>> {
    OBSERVED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An instrument in [`OBSERVED`], until this is dropped.
struct Observed<'a>(&'a Arc<str>);

impl<'a> Observed<'a> {
    fn begin(name: &'a Arc<str>) -> Self {
        observed().push(name.clone());
        Self(name)
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        let mut observed = observed();
        if let Some(at) = observed.iter().position(|name| Arc::ptr_eq(name, self.0)) {
            observed.swap_remove(at);
        }
    }
}

/// An instrument whose callback runs right now, if one does.
pub(crate) fn running() -> Option<Arc<str>> {
    observed().first().cloned()
}

/// Whether this thread is in a callback, that is, below the SDK's locks.
pub(crate) fn is_running() -> bool {
    RUNNING.get()
}

/// `callbacks` of the instrument `name`: a panic ends the one that panics, this time. What it had observed counts.
pub(crate) fn guarded<M: 'static>(name: &str, callbacks: Vec<Callback<M>>) -> Vec<Callback<M>> {
    let guard = |callback: Callback<M>| -> Callback<M> {
        let (name, told) = (Arc::<str>::from(name), AtomicBool::new(false));
        Box::new(move |instrument: &dyn AsyncInstrument<M>| {
            let outer = RUNNING.replace(true);
            let observed = Observed::begin(&name);
            let result = catch_unwind(AssertUnwindSafe(|| callback(instrument)));
            drop(observed);
            RUNNING.set(outer);
            if let Err(panic) = result {
                tell(&name, &told, &*panic);
            }
        })
    };
    callbacks.into_iter().map(guard).collect()
}

/// The first time, in one line: the panic hook has its say each time.
fn tell(name: &str, told: &AtomicBool, panic: &(dyn Any + Send)) {
    if !told.swap(true, Ordering::Relaxed) {
        let message = format!(
            "a callback of the instrument {name:?} panicked: {}; other instruments are not affected",
            panic_message(panic)
        );
        notice::print(Level::Warn, &message);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::metrics::data::ResourceMetrics;
    use opentelemetry_sdk::metrics::reader::MetricReader;
    use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};

    use super::super::provider::HandoffMeterProvider;
    use super::super::reader::SharedReader;
    use super::*;

    fn panicking(provider: &impl MeterProvider) {
        let meter = provider.meter("test");
        let builder = meter.u64_observable_gauge("haunted");
        let _haunted = builder.with_callback(|_| panic!("the callback is haunted")).build();
    }

    /// The control: when this fails, the SDK has learnt it, and the guard may go.
    #[test]
    fn the_sdk_alone_never_collects_again_after_a_panic() {
        let reader = SharedReader::new(Temporality::Delta);
        let sdk = SdkMeterProvider::builder().with_reader(reader.clone()).build();
        let counter = sdk.meter("test").u64_counter("orders").build();
        panicking(&sdk);
        let collect = || reader.collect(&mut ResourceMetrics::default());
        assert!(catch_unwind(AssertUnwindSafe(collect)).is_err());
        counter.add(1, &[]);
        assert!(collect().is_err());
        drop(reader.shutdown_with_timeout(Duration::ZERO));
    }

    #[test]
    fn guarded_it_does() {
        let reader = SharedReader::new(Temporality::Delta);
        let sdk = SdkMeterProvider::builder().with_reader(reader.clone()).build();
        panicking(&HandoffMeterProvider::new(sdk.clone()));
        for _ in 0..2 {
            sdk.meter("test").u64_counter("orders").build().add(1, &[]);
            let mut metrics = ResourceMetrics::default();
            reader.collect(&mut metrics).unwrap();
            assert_eq!(metrics.scope_metrics().map(|scope| scope.metrics().count()).sum::<usize>(), 1);
        }
        assert!(!is_running());
    }
}
