//! The meter provider that functions use: the SDK's, with every observable instrument's callbacks guarded.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::InstrumentationScope;
use opentelemetry::metrics::{
    AsyncInstrumentBuilder, Counter, Gauge, Histogram, HistogramBuilder, InstrumentBuilder,
    InstrumentProvider, Meter, MeterProvider, NoopMeterProvider, ObservableCounter, ObservableGauge,
    ObservableUpDownCounter, UpDownCounter,
};
use opentelemetry_sdk::metrics::SdkMeterProvider;

use super::callback;
use crate::notice::{self, Level};

/// The OpenTelemetry meter provider of a [`Telemetry`](crate::Telemetry). Clones share it.
///
/// What its instruments measure is collected at the end of each invocation, each second while one runs, 100 ms before
/// its deadline, and at SIGTERM; it is kept until it is handed over. Callbacks of observable instruments run then, in
/// the thread that collects: they should be quick. One that panics costs only itself.
///
/// At the end of an invocation that is the thread of the runtime, after the response is posted: all callbacks' time
/// is billed, and the next invocation waits for it. Where another collection is under way then, in a callback that
/// takes long, the wait for it is 50 ms at the most, each time, and what was measured is collected later. A callback
/// that never returns ends metrics for this environment, and at SIGTERM one line on stderr says so, with the name of
/// the instrument: give what a callback asks over a network a timeout, or better, ask elsewhere and observe the last
/// answer.
///
/// ```
/// use lambda_flush::opentelemetry::metrics::MeterProvider;
///
/// let telemetry = lambda_flush::Telemetry::builder().install_global(false).init()?;
/// let orders = telemetry.meter_provider().meter("shop").u64_counter("orders").build();
/// orders.add(1, &[]);
/// # Ok::<(), lambda_flush::Error>(())
/// ```
#[derive(Clone)]
pub struct HandoffMeterProvider {
    sdk: SdkMeterProvider,
}

impl HandoffMeterProvider {
    pub(super) fn new(sdk: SdkMeterProvider) -> Self {
        Self { sdk }
    }
}

impl fmt::Debug for HandoffMeterProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandoffMeterProvider").finish_non_exhaustive()
    }
}

impl MeterProvider for HandoffMeterProvider {
    fn meter_with_scope(&self, scope: InstrumentationScope) -> Meter {
        let none = NoopMeterProvider::new().meter_with_scope(InstrumentationScope::default());
        Meter::new(Arc::new(Guarded { meter: self.sdk.meter_with_scope(scope), none }))
    }
}

/// Makes the instruments of one meter.
struct Guarded {
    meter: Meter,
    /// Makes instruments that do nothing.
    none: Meter,
}

impl Guarded {
    /// Below the SDK's locks there can be no new instrument.
    fn meter(&self, name: &str) -> &Meter {
        static TOLD: AtomicBool = AtomicBool::new(false);
        if !callback::is_running() {
            return &self.meter;
        }
        if !TOLD.swap(true, Ordering::Relaxed) {
            let message = format!(
                "the instrument {name:?} is made in a callback of another one, where it can't measure anything: \
                 make it before"
            );
            notice::print(Level::Warn, &message);
        }
        &self.none
    }
}

macro_rules! instruments {
    ($($make:ident: $instrument:ty),+ $(,)?) => {$(
        fn $make(&self, asked: InstrumentBuilder<'_, $instrument>) -> $instrument {
            let mut builder = self.meter(&asked.name).$make(asked.name);
            builder.description = asked.description;
            builder.unit = asked.unit;
            builder.build()
        }
    )+};
}

macro_rules! observables {
    ($($make:ident: $instrument:ty, $number:ty),+ $(,)?) => {$(
        fn $make(&self, asked: AsyncInstrumentBuilder<'_, $instrument, $number>) -> $instrument {
            let callbacks = callback::guarded(&asked.name, asked.callbacks);
            let mut builder = self.meter(&asked.name).$make(asked.name);
            builder.description = asked.description;
            builder.unit = asked.unit;
            builder.callbacks = callbacks;
            builder.build()
        }
    )+};
}

macro_rules! histograms {
    ($($make:ident: $instrument:ty),+ $(,)?) => {$(
        fn $make(&self, asked: HistogramBuilder<'_, $instrument>) -> $instrument {
            let mut builder = self.meter(&asked.name).$make(asked.name);
            builder.description = asked.description;
            builder.unit = asked.unit;
            builder.boundaries = asked.boundaries;
            builder.build()
        }
    )+};
}

impl InstrumentProvider for Guarded {
    instruments! {
        u64_counter: Counter<u64>,
        f64_counter: Counter<f64>,
        i64_up_down_counter: UpDownCounter<i64>,
        f64_up_down_counter: UpDownCounter<f64>,
        u64_gauge: Gauge<u64>,
        i64_gauge: Gauge<i64>,
        f64_gauge: Gauge<f64>,
    }

    observables! {
        u64_observable_counter: ObservableCounter<u64>, u64,
        f64_observable_counter: ObservableCounter<f64>, f64,
        i64_observable_up_down_counter: ObservableUpDownCounter<i64>, i64,
        f64_observable_up_down_counter: ObservableUpDownCounter<f64>, f64,
        u64_observable_gauge: ObservableGauge<u64>, u64,
        i64_observable_gauge: ObservableGauge<i64>, i64,
        f64_observable_gauge: ObservableGauge<f64>, f64,
    }

    histograms! {
        f64_histogram: Histogram<f64>,
        u64_histogram: Histogram<u64>,
    }
}
