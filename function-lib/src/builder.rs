//! How a [`Telemetry`] comes to be: configuration, resource, the one connection, the providers.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use lambda_flush_proto::limits::RESOURCE_BYTES_MAX;
use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanProcessor, TracerProviderBuilder};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

use crate::Error;
use crate::alone::{self, LocalEnd};
use crate::config::{Config, Environment, Source};
use crate::connection::Target;
use crate::counters::DropReason;
use crate::handoff::Handoff;
use crate::id_generator::KernelIdGenerator;
use crate::logs;
use crate::metrics;
use crate::notice::{self, Level};
use crate::parent::Parents;
use crate::processor::HandoffProcessor;
use crate::resource;
use crate::socket::{Address, ConnectError};
use crate::telemetry::Telemetry;

/// The extension of our layer.
const EXTENSION_NAME: &str = "lambda-flush-extension";

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
    pub(crate) metrics: metrics::Setup,
}

type AddProcessor = Box<dyn FnOnce(TracerProviderBuilder) -> TracerProviderBuilder>;

impl Default for Builder {
    fn default() -> Self {
        Self {
            source: Box::new(Environment),
            attributes: Vec::new(),
            processors: Vec::new(),
            install_global: true,
            metrics: metrics::Setup::default(),
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

    /// Whether the providers, the propagators and a `tracing` subscriber with spans, logs and JSON lines on stdout
    /// become the process's own. On unless said otherwise.
    pub fn install_global(self, install_global: bool) -> Self {
        Self { install_global, ..self }
    }

    /// Connects to the extension and sets everything up. What does not work is told on stderr, one line each, and
    /// is no error: the function comes first.
    ///
    /// In Lambda, SIGTERM is the first `Telemetry`'s of a process. Hooks of a second one never run, and nobody collects
    /// or hands over at SIGTERM what it still has; one line says so.
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
            resource: resource.bytes.clone(),
            resource_schema_url: resource.schema_url.clone(),
            wanted: config.carrier,
        });
        let (handoff, connected) = open(target);
        let alone = handoff.shut_reason().is_some();
        if alone {
            alone::ask_for_sigterm(&*self.source);
        }
        let direct = Some(&resource).filter(|_| alone && !config.disabled);
        let direct = direct.and_then(|resource| alone::export_directly(&*self.source, resource, &handoff));
        let extension = alone::extensions(&*self.source).join(EXTENSION_NAME);
        if let Some((level, message)) = problem(&config, connected, handoff.shut_reason(), &extension) {
            match direct {
                // A run outside Lambda, as it was asked for.
                Some(_) if config.address.is_none() => {}
                Some(to) => notice::print(level, &format!("{message}; telemetry goes directly to {to}")),
                None => notice::print(level, &format!("{message}; telemetry is counted and dropped")),
            }
        }
        if self.source.var("AWS_LAMBDA_RUNTIME_API").is_some() {
            catch_sigterm(&handoff);
        }
        let metrics = self.metrics.build(&config, &resource, &handoff);
        let logs = logs::Otlp::new(&config, &resource.resource, &handoff);
        let started = Arc::default();
        let mut providers = SdkTracerProvider::builder()
            .with_resource(resource.resource)
            .with_id_generator(KernelIdGenerator);
        if !config.disabled {
            providers =
                providers.with_span_processor(HandoffProcessor::new(handoff.clone(), Arc::clone(&started)));
        }
        providers = self.processors.into_iter().fold(providers, |providers, add| add(providers));
        let end = Arc::new(LocalEnd::new(&handoff));
        let telemetry = Telemetry {
            provider: providers.build(),
            handoff,
            started,
            metrics,
            logs,
            parents: Parents::new(&config.propagation),
            filter: config.filter,
            stdout_filter: config.stdout_filter,
            disabled: config.disabled,
            _end: end,
        };
        if self.install_global {
            opentelemetry::global::set_text_map_propagator(config.propagation.propagator());
            install(&telemetry);
        }
        Ok(telemetry)
    }
}

fn open(target: Option<Target>) -> (Handoff, Result<(), ConnectError>) {
    let (handoff, connected) = Handoff::open(target);
    if handoff.misses_ring() {
        let message = "LAMBDA_FLUSH_CARRIER=ring: there can be no ring in shared memory between this function and \
                       the extension; the socket is used";
        notice::print(Level::Warn, message);
    }
    (handoff, connected)
}

/// Hooks are there for the function, with or without telemetry.
fn catch_sigterm(handoff: &Handoff) {
    if let Err(error) = handoff.catch_sigterm() {
        let message =
            format!("SIGTERM can't be caught ({error}): hooks will not run, and the last items may be lost");
        notice::print(Level::Warn, &message);
    }
}

fn install(telemetry: &Telemetry) {
    telemetry.make_global();
    opentelemetry::global::set_tracer_provider(telemetry.tracer_provider().clone());
    telemetry.metrics.install();
    let subscriber = Registry::default()
        .with(telemetry.tracing_layer())
        .with(telemetry.stdout_layer())
        .with(telemetry.logs.layer());
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        let message = "a tracing subscriber is installed already and stays; \
                       add telemetry.tracing_layer(), stdout_layer() and logs_layer() to it, \
                       or nothing from tracing becomes telemetry";
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
        let message = "AWS_LAMBDA_RUNTIME_API is not set: not in Lambda";
        return Some((Level::Warn, message.to_owned()));
    };
    match (connected, shut) {
        (Err(error), _) => Some(unreachable(address, error, extension)),
        (Ok(()), Some(DropReason::VersionRefused)) => {
            let message = "the extension speaks other versions of the hand-off protocol than this library: \
                           update the older one of the two";
            Some((Level::Error, message.to_owned()))
        }
        (Ok(()), _) => None,
    }
}

fn unreachable(address: &Address, error: ConnectError, extension: &Path) -> (Level, String) {
    if extension.exists() {
        let extension = extension.display();
        let message = format!("{extension} is there but {address} can't be reached ({error}): it is broken");
        (Level::Error, message)
    } else {
        let message = format!("no lambda-flush extension at {address} ({error}): add its layer");
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
