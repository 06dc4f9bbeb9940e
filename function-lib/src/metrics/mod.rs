//! Metrics: from OpenTelemetry's instruments to whole OTLP export requests, collected when the library says so.

use std::fmt;
use std::sync::Arc;

use opentelemetry_sdk::metrics::{Instrument, MeterProviderBuilder, SdkMeterProvider, Stream};

use crate::builder::Builder;
use crate::collect::HandOver;
use crate::config::Config;
use crate::handoff::Handoff;
use crate::resource::EncodedResource;
use crate::telemetry::Telemetry;

mod callback;
mod encode;
mod faas;
mod preferences;
mod provider;
mod reader;
mod requests;

pub(crate) use callback::running;
pub(crate) use faas::Faas;
pub(crate) use preferences::Preferences;
pub use provider::HandoffMeterProvider;
pub(crate) use reader::missed;
use reader::{Collector, SharedReader};

/// A telemetry's metrics.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    provider: HandoffMeterProvider,
    pub(crate) faas: Faas,
}

/// What a builder was told about metrics.
#[derive(Default)]
pub(crate) struct Setup {
    views: Vec<AddView>,
}

type AddView = Box<dyn FnOnce(MeterProviderBuilder) -> MeterProviderBuilder>;

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("views", &self.views.len()).finish()
    }
}

impl Setup {
    /// `handoff` collects from now on, unless the configuration says otherwise.
    pub(crate) fn build(self, config: &Config, resource: &EncodedResource, handoff: &Handoff) -> Metrics {
        let builder = SdkMeterProvider::builder().with_resource(resource.resource.clone());
        let builder = self.views.into_iter().fold(builder, |builder, add| add(builder));
        if config.disabled || !config.metrics.enabled {
            return Metrics { provider: HandoffMeterProvider::new(builder.build()), faas: Faas::off() };
        }
        let reader = SharedReader::new(config.metrics.temporality);
        let sdk = builder.with_reader(reader.clone()).build();
        let faas = Faas::new(&sdk);
        let (bytes, schema_url) = (resource.bytes.clone(), resource.schema_url.clone());
        handoff.set_collect(Arc::new(Collector::new(reader, sdk.clone(), bytes, schema_url)));
        Metrics { provider: HandoffMeterProvider::new(sdk), faas }
    }
}

impl Metrics {
    pub(crate) fn install(&self) {
        opentelemetry::global::set_meter_provider(self.provider.clone());
    }
}

impl Builder {
    /// Adds a view: what becomes of an instrument it returns a stream for.
    ///
    /// ```
    /// use lambda_flush::Telemetry;
    /// use opentelemetry_sdk::metrics::{Aggregation, Instrument, Stream};
    ///
    /// let exponential = |instrument: &Instrument| {
    ///     let aggregation =
    ///         Aggregation::Base2ExponentialHistogram { max_size: 160, max_scale: 20, record_min_max: true };
    ///     let stream = Stream::builder().with_aggregation(aggregation);
    ///     (instrument.name() == "order.value").then(|| stream.build().ok()).flatten()
    /// };
    /// let telemetry = Telemetry::builder().with_view(exponential).install_global(false).init()?;
    /// # Ok::<(), lambda_flush::Error>(())
    /// ```
    pub fn with_view(mut self, view: impl Fn(&Instrument) -> Option<Stream> + Send + Sync + 'static) -> Self {
        self.metrics.views.push(Box::new(|builder| builder.with_view(view)));
        self
    }
}

impl Telemetry {
    /// The provider of meters. It is the process's own, too, unless the builder was told not to install anything.
    ///
    /// ```
    /// use lambda_flush::opentelemetry::metrics::MeterProvider;
    ///
    /// let telemetry = lambda_flush::Telemetry::builder().install_global(false).init()?;
    /// let orders = telemetry.meter_provider().meter("orders").u64_counter("orders").build();
    /// orders.add(1, &[]);
    /// # Ok::<(), lambda_flush::Error>(())
    /// ```
    #[must_use]
    pub fn meter_provider(&self) -> &HandoffMeterProvider {
        &self.metrics.provider
    }
}
