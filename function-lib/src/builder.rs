//! How a [`Telemetry`] comes to be: configuration, resource, the one connection, the providers.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use lambda_flush_proto::limits::RESOURCE_BYTES_MAX;
use opentelemetry::KeyValue;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanProcessor, TracerProviderBuilder};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

use crate::Error;
use crate::carrier::Target;
use crate::config::{Config, Environment, Source};
use crate::counters::DropReason;
use crate::handoff::Handoff;
use crate::id_generator::KernelIdGenerator;
use crate::notice::{self, Level};
use crate::processor::HandoffProcessor;
use crate::resource;
use crate::socket::{Address, ConnectError};
use crate::telemetry::Telemetry;

/// Where Lambda puts the extension of our layer.
const EXTENSION_PATH: &str = "/opt/extensions/lambda-flush-extension";

/// See [`Telemetry::builder`].
///
/// ```
/// use lambda_flush::{KeyValue, Telemetry};
///
/// let telemetry = Telemetry::builder()
///     .with_resource_attributes([KeyValue::new("team", "orders")])
///     .install_global(false)
///     .init()?;
/// # Ok::<(), lambda_flush::Error>(())
/// ```
#[must_use]
pub struct Builder {
    source: Box<dyn Source>,
    attributes: Vec<KeyValue>,
    processors: Vec<AddProcessor>,
    install_global: bool,
}

type AddProcessor = Box<dyn FnOnce(TracerProviderBuilder) -> TracerProviderBuilder>;

impl Default for Builder {
    fn default() -> Self {
        Self {
            source: Box::new(Environment),
            attributes: Vec::new(),
            processors: Vec::new(),
            install_global: true,
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attributes, install_global, .. } = self;
        f.debug_struct("Builder")
            .field("attributes", attributes)
            .field("install_global", install_global)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Where variables are read from; the process environment unless said otherwise.
    pub fn source(self, source: impl Source + 'static) -> Self {
        Self { source: Box::new(source), ..self }
    }

    /// Adds resource attributes. They win over those from the environment.
    pub fn with_resource_attributes(mut self, attributes: impl IntoIterator<Item = KeyValue>) -> Self {
        self.attributes.extend(attributes);
        self
    }

    /// Adds a span processor, which comes after ours: a span is handed over before anything else sees its end. The
    /// SDK clones every span that ends, once per processor.
    pub fn with_span_processor(mut self, processor: impl SpanProcessor + 'static) -> Self {
        self.processors.push(Box::new(|providers| providers.with_span_processor(processor)));
        self
    }

    /// Whether the tracer provider, the W3C propagator and a `tracing` subscriber become the process's own. On
    /// unless said otherwise.
    pub fn install_global(self, install_global: bool) -> Self {
        Self { install_global, ..self }
    }

    /// Connects to the extension and sets everything up. What does not work is told on stderr, one line each, and
    /// is no error: the function comes first.
    ///
    /// # Errors
    /// None so far. The type leaves room for a use that can't mean anything.
    pub fn init(self) -> Result<Telemetry, Error> {
        let (config, faults) = Config::read(&*self.source);
        for fault in faults {
            notice::print(Level::Warn, &fault.to_string());
        }
        let resource = resource::build(&config, self.attributes);
        if resource.cut {
            let message =
                format!("the resource is over {RESOURCE_BYTES_MAX} bytes; own attributes are left out");
            notice::print(Level::Warn, &message);
        }
        let target = config.address.clone().filter(|_| !config.disabled).map(|address| Target {
            address,
            resource: resource.bytes,
            resource_schema_url: resource.schema_url,
        });
        let (handoff, connected) = Handoff::open(target);
        if let Some((level, message)) =
            problem(&config, connected, handoff.shut_reason(), Path::new(EXTENSION_PATH))
        {
            notice::print(level, &message);
        }
        let started = Arc::default();
        let mut providers = SdkTracerProvider::builder()
            .with_resource(resource.resource)
            .with_id_generator(KernelIdGenerator);
        if !config.disabled {
            providers =
                providers.with_span_processor(HandoffProcessor::new(handoff.clone(), Arc::clone(&started)));
        }
        providers = self.processors.into_iter().fold(providers, |providers, add| add(providers));
        let telemetry = Telemetry::new(providers.build(), handoff, started, config.filter, config.disabled);
        if self.install_global {
            install(&telemetry);
        }
        Ok(telemetry)
    }
}

fn install(telemetry: &Telemetry) {
    telemetry.make_global();
    opentelemetry::global::set_tracer_provider(telemetry.tracer_provider().clone());
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let subscriber = Registry::default().with(telemetry.tracing_layer());
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        let message = "a tracing subscriber is installed already and stays; \
                       add telemetry.tracing_layer() to it, or no tracing span becomes a span";
        notice::print(Level::Warn, message);
    }
}

/// What stands between this function and the extension, in one line.
fn problem(
    config: &Config,
    connected: Result<(), ConnectError>,
    shut: Option<DropReason>,
    extension: &Path,
) -> Option<(Level, String)> {
    if config.disabled {
        return None;
    }
    let Some(address) = &config.address else {
        let message = "AWS_LAMBDA_RUNTIME_API is not set: not in Lambda; spans are counted and dropped";
        return Some((Level::Warn, message.to_owned()));
    };
    match (connected, shut) {
        (Err(error), _) => Some(unreachable(address, error, extension)),
        (Ok(()), Some(DropReason::VersionRefused)) => {
            let message = "the extension speaks other versions of the hand-off protocol than this library; \
                           spans are counted and dropped: update the older one of the two";
            Some((Level::Error, message.to_owned()))
        }
        (Ok(()), _) => None,
    }
}

fn unreachable(address: &Address, error: ConnectError, extension: &Path) -> (Level, String) {
    if extension.exists() {
        let extension = extension.display();
        let message = format!(
            "{extension} is there but {address} can't be reached ({error}): it is broken; spans are counted and dropped"
        );
        (Level::Error, message)
    } else {
        let message = format!(
            "no lambda-flush extension at {address} ({error}); spans are counted and dropped: add its layer"
        );
        (Level::Warn, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use std::collections::BTreeMap;

    fn config(pairs: &[(&str, &str)]) -> Config {
        let source: BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::read(&source).0
    }

    #[test]
    fn every_kind_of_trouble_has_its_own_line() {
        let nowhere = config(&[]);
        let lambda = config(&[("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")]);
        let disabled = config(&[("OTEL_SDK_DISABLED", "true")]);
        let (absent, present) = (Path::new("/nonexistent"), Path::new("/"));
        let refused = Err(ConnectError::Kernel(Errno::CONNREFUSED));
        let lines = [
            problem(&nowhere, Ok(()), Some(DropReason::NoExtension), absent),
            problem(&lambda, refused, Some(DropReason::NoExtension), absent),
            problem(&lambda, refused, Some(DropReason::NoExtension), present),
            problem(&lambda, Err(ConnectError::ForeignUser(7)), Some(DropReason::NoExtension), absent),
            problem(&lambda, Ok(()), Some(DropReason::VersionRefused), present),
        ];
        let distinct: std::collections::BTreeSet<_> =
            lines.iter().map(|line| line.clone().unwrap().1).collect();
        assert_eq!(distinct.len(), lines.len());
        assert_eq!(lines[2].as_ref().unwrap().0, Level::Error);
        assert_eq!(problem(&lambda, Ok(()), None, present), None);
        assert_eq!(problem(&disabled, Ok(()), Some(DropReason::NoExtension), present), None);
    }
}
