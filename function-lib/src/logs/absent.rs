//! What stands for OTLP log records in a build without the feature `logs`: nothing.

use opentelemetry_sdk::Resource;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::Identity;
use tracing_subscriber::registry::LookupSpan;

use crate::config::Config;
use crate::handoff::Handoff;

/// See the module's description.
#[derive(Debug, Clone)]
pub(crate) struct Otlp;

impl Otlp {
    pub(crate) fn new(_config: &Config, _resource: &Resource, _handoff: &Handoff) -> Self {
        Self
    }

    /// A layer that wants no event. An unfiltered one would make every other layer's callsites active.
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        Identity::new().with_filter(LevelFilter::OFF)
    }
}
