//! What the wrapper measures of the function itself, by OpenTelemetry's semantic conventions for FaaS metrics.
//!
//! `faas.invocations` counts the successful ones, `faas.errors` the others, as the conventions have it; an invocation
//! that hits its timeout is the extension's to count: nobody is left here to do it.

use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry::metrics::{Counter, Histogram, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;

/// The boundaries that the conventions want, in seconds.
const DURATION_BOUNDARIES_S: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// See the module's description.
#[derive(Debug, Clone)]
pub(crate) struct Faas(Option<Instruments>);

#[derive(Debug, Clone)]
struct Instruments {
    invocations: Counter<u64>,
    errors: Counter<u64>,
    coldstarts: Counter<u64>,
    duration: Histogram<f64>,
}

impl Faas {
    /// Measures nothing.
    pub(super) fn off() -> Self {
        Self(None)
    }

    pub(super) fn new(provider: &SdkMeterProvider) -> Self {
        let scope =
            InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION"));
        let meter = provider.meter_with_scope(scope.build());
        Self(Some(Instruments {
            invocations: meter
                .u64_counter("faas.invocations")
                .with_description("Number of successful invocations")
                .with_unit("{invocation}")
                .build(),
            errors: meter
                .u64_counter("faas.errors")
                .with_description("Number of invocation errors")
                .with_unit("{error}")
                .build(),
            coldstarts: meter
                .u64_counter("faas.coldstarts")
                .with_description("Number of invocation cold starts")
                .with_unit("{coldstart}")
                .build(),
            duration: meter
                .f64_histogram("faas.invoke_duration")
                .with_description("Measures the duration of the function's logic execution")
                .with_unit("s")
                .with_boundaries(DURATION_BOUNDARIES_S.to_vec())
                .build(),
        }))
    }

    pub(crate) fn cold_start(&self) {
        if let Some(instruments) = &self.0 {
            instruments.coldstarts.add(1, &[]);
        }
    }

    /// The handler has ended.
    pub(crate) fn ended(&self, successful: bool, after: Duration) {
        if let Some(instruments) = &self.0 {
            let count = if successful { &instruments.invocations } else { &instruments.errors };
            count.add(1, &[]);
            instruments.duration.record(after.as_secs_f64(), &[]);
        }
    }
}
