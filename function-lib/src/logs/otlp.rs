//! The layer that hands each event over as an OTLP log record, and the provider of the OpenTelemetry logs API.
//!
//! The layer encodes an event itself: `opentelemetry-appender-tracing` builds a record of values first, which costs more,
//! names every event after its source line and leaves its time out. What comes by the logs API goes through
//! [`HandoffLogProcessor`], which shares the encoder and everything after it.

use std::time::SystemTime;

use lambda_flush_proto::Signal;
use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::EventsOnly;
use super::event::Origins;
use super::processor::HandoffLogProcessor;
use super::record;
use super::silence::Silence;
use crate::carrier::Item;
use crate::config::Config;
use crate::handoff::Handoff;
use crate::scratch;
use crate::telemetry::Telemetry;

/// The OTLP side of a telemetry's logs.
#[derive(Debug, Clone)]
pub(crate) struct Otlp {
    handoff: Handoff,
    provider: SdkLoggerProvider,
    filter: Targets,
}

impl Otlp {
    pub(crate) fn new(config: &Config, resource: &Resource, handoff: &Handoff) -> Self {
        let mut providers = SdkLoggerProvider::builder().with_resource(resource.clone());
        let mut filter = Targets::new();
        if !config.disabled && config.otlp_logs {
            providers = providers.with_log_processor(HandoffLogProcessor::new(handoff.clone()));
            filter = config.filter.clone();
        }
        Self { handoff: handoff.clone(), provider: providers.build(), filter }
    }

    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let layer = EventLayer { handoff: self.handoff.clone(), origins: Origins::default() };
        layer.with_filter(EventsOnly(self.filter.clone()))
    }
}

#[derive(Debug)]
struct EventLayer {
    handoff: Handoff,
    origins: Origins,
}

impl<S: Subscriber> Layer<S> for EventLayer {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.origins.register(dispatch);
    }

    fn on_event(&self, event: &Event<'_>, _cx: Context<'_, S>) {
        let Some(_silence) = Silence::begin() else { return };
        let Some(origin) = self.origins.of(event) else { return };
        let scope = InstrumentationScope::builder(event.metadata().target()).build();
        scratch::encoded(
            |out| record::of_event(event, SystemTime::now(), origin.span.as_ref(), out),
            |encoded| self.handoff.item(Item { signal: Signal::Logs, scope: &scope, encoded }),
        );
    }
}

impl Telemetry {
    /// The provider of the OpenTelemetry logs API. A record is handed over when it is emitted; `force_flush` only gives
    /// what had to wait another chance. Records without a time get the time at which they were emitted.
    ///
    /// ```
    /// use lambda_flush::opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
    ///
    /// let telemetry = lambda_flush::Telemetry::builder().install_global(false).init()?;
    /// let logger = telemetry.logger_provider().logger("audit");
    /// let mut record = logger.create_log_record();
    /// record.set_severity_number(Severity::Info);
    /// record.set_body("order accepted".into());
    /// record.add_attribute("order.id", 17);
    /// logger.emit(record);
    /// assert_eq!(telemetry.stats().ended, 1);
    /// # Ok::<(), lambda_flush::Error>(())
    /// ```
    #[must_use]
    pub fn logger_provider(&self) -> &SdkLoggerProvider {
        &self.logs.provider
    }

    /// A layer for a `tracing` subscriber of your own that hands each event over as an OTLP log record: its time,
    /// severity, text and fields with their types, the ids of the span it happened in, and its target as the scope.
    /// It has the filter of [`Telemetry::tracing_layer`]; `OTEL_LOGS_EXPORTER=none` closes it.
    ///
    /// ```
    /// use tracing_subscriber::layer::SubscriberExt;
    ///
    /// let telemetry = lambda_flush::Telemetry::builder().install_global(false).init()?;
    /// let subscriber = tracing_subscriber::registry()
    ///     .with(telemetry.tracing_layer())
    ///     .with(telemetry.logs_layer());
    /// tracing::subscriber::with_default(subscriber, || tracing::info!(items = 3, "priced"));
    /// assert_eq!(telemetry.stats().ended, 1);
    /// # Ok::<(), lambda_flush::Error>(())
    /// ```
    pub fn logs_layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        self.logs.layer()
    }
}
