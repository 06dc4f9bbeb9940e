//! The library's configuration: parsed once, every fault reported at once, never an error.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use percent_encoding::percent_decode_str;
use tracing_subscriber::filter::Targets;

use crate::connection::Wanted;
use crate::filter;
use crate::metrics;
use crate::propagation::Propagation;
use crate::socket::{ADDRESS_BYTES_MAX, Address};

/// The first part of the abstract socket's name; `AWS_LAMBDA_RUNTIME_API` follows.
const SOCKET_NAME_PREFIX: &str = "lambda-flush/";

/// Where variables come from: the process environment, or a map in tests.
///
/// ```
/// let source = std::collections::HashMap::from([("OTEL_SDK_DISABLED".to_owned(), "true".to_owned())]);
/// let telemetry = lambda_flush::Telemetry::builder().source(source).install_global(false).init()?;
/// # Ok::<(), lambda_flush::Error>(())
/// ```
pub trait Source {
    /// The value of `name`, or `None` where it is not set.
    fn var(&self, name: &str) -> Option<String>;
}

/// The environment of this process. It is read at `init` only: `lambda_runtime` changes it later.
#[derive(Debug, Clone, Copy, Default)]
pub struct Environment;

impl Source for Environment {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }
}

impl<S: std::hash::BuildHasher> Source for HashMap<String, String, S> {
    fn var(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }
}

impl Source for BTreeMap<String, String> {
    fn var(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }
}

/// One variable that could not be used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    name: &'static str,
    problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.problem)
    }
}

/// What the variables say.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// `OTEL_SDK_DISABLED`
    pub(crate) disabled: bool,
    /// `OTEL_SERVICE_NAME`
    pub(crate) service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`, decoded.
    pub(crate) resource_attributes: Vec<(String, String)>,
    /// `RUST_LOG`: which tracing spans and events become telemetry.
    pub(crate) filter: Targets,
    /// `LAMBDA_FLUSH_STDOUT`, `AWS_LAMBDA_LOG_LEVEL`, `RUST_LOG`: which tracing events are printed.
    pub(crate) stdout_filter: Targets,
    /// `OTEL_LOGS_EXPORTER`: whether events become OTLP log records.
    #[cfg_attr(not(feature = "logs"), expect(dead_code, reason = "read all the same, to tell faults"))]
    pub(crate) otlp_logs: bool,
    /// `OTEL_PROPAGATORS`
    pub(crate) propagation: Propagation,
    /// `LAMBDA_FLUSH_SOCKET`, else derived from `AWS_LAMBDA_RUNTIME_API`; `None` outside Lambda.
    pub(crate) address: Option<Address>,
    /// `LAMBDA_FLUSH_CARRIER`
    pub(crate) carrier: Wanted,
    /// What Lambda says about the function.
    pub(crate) function: Function,
    /// `OTEL_METRICS_EXPORTER` and the temporality.
    pub(crate) metrics: metrics::Preferences,
}

/// What Lambda's reserved variables say about the function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) memory_mb: Option<u32>,
    pub(crate) region: Option<String>,
    pub(crate) log_group: Option<String>,
    pub(crate) log_stream: Option<String>,
}

impl Config {
    /// Reads everything; what can't be used is left out and told.
    pub(crate) fn read(source: &dyn Source) -> (Self, Vec<Fault>) {
        let mut reader = Reader { source, faults: Vec::new() };
        let config = Self {
            disabled: reader.disabled(),
            service_name: reader.text("OTEL_SERVICE_NAME"),
            resource_attributes: reader.resource_attributes(),
            filter: reader.filter(),
            stdout_filter: reader.stdout_filter(),
            otlp_logs: reader.otlp_logs(),
            propagation: reader.propagation(),
            address: reader.address(),
            carrier: reader.carrier(),
            function: reader.function(),
            metrics: metrics::Preferences::read(&mut reader),
        };
        (config, reader.faults)
    }
}

pub(crate) struct Reader<'a> {
    source: &'a dyn Source,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    /// An empty value means the same as none (OpenTelemetry's rule).
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.source.var(name).filter(|value| !value.is_empty())
    }

    pub(crate) fn fault(&mut self, name: &'static str, problem: String) {
        self.faults.push(Fault { name, problem });
    }

    fn disabled(&mut self) -> bool {
        const NAME: &str = "OTEL_SDK_DISABLED";
        match self.text(NAME).map(|value| value.to_ascii_lowercase()).as_deref() {
            Some("true") => true,
            Some("false") | None => false,
            Some(other) => {
                self.fault(NAME, format!("{other:?} is neither true nor false; telemetry stays on"));
                false
            }
        }
    }

    /// A list with an error is left out whole, as the specification wants it.
    fn resource_attributes(&mut self) -> Vec<(String, String)> {
        const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
        let Some(list) = self.text(NAME) else { return Vec::new() };
        match list.split(',').filter(|entry| !entry.trim().is_empty()).map(attribute).collect() {
            Ok(attributes) => attributes,
            Err(problem) => {
                self.fault(NAME, format!("{problem}; the whole list is left out"));
                Vec::new()
            }
        }
    }

    fn filter(&mut self) -> Targets {
        const NAME: &str = "RUST_LOG";
        let directives = self.text(NAME).unwrap_or_default();
        filter::targets(&directives).unwrap_or_else(|problem| {
            self.fault(NAME, format!("{problem}; INFO is used (no span or field directives here)"));
            filter::default_targets()
        })
    }

    fn stdout_filter(&mut self) -> Targets {
        const STDOUT: &str = "LAMBDA_FLUSH_STDOUT";
        const LEVEL: &str = "AWS_LAMBDA_LOG_LEVEL";
        match self.text(STDOUT).as_deref() {
            Some("off") => return Targets::new(),
            Some("json") | None => {}
            Some(other) => {
                self.fault(STDOUT, format!("{other:?} is neither json nor off; json is used"));
            }
        }
        let level = self.text(LEVEL);
        let least = level.as_deref().and_then(filter::lambda_level);
        if let (Some(level), None) = (&level, least) {
            self.fault(LEVEL, format!("{level:?} is no level; it is left out"));
        }
        // What is wrong with the directives has been told.
        filter::stdout_targets(&self.text("RUST_LOG").unwrap_or_default(), least)
    }

    fn otlp_logs(&mut self) -> bool {
        const NAME: &str = "OTEL_LOGS_EXPORTER";
        match self.text(NAME).as_deref() {
            Some("none") => false,
            Some("otlp") | None => true,
            Some(other) => {
                self.fault(NAME, format!("{other:?} is neither otlp nor none; otlp is used"));
                true
            }
        }
    }

    fn propagation(&mut self) -> Propagation {
        const NAME: &str = "OTEL_PROPAGATORS";
        let (list, sampler) = (self.text(NAME), self.text("OTEL_TRACES_SAMPLER"));
        let (propagation, unknown) = Propagation::read(list.as_deref(), sampler.as_deref());
        if !unknown.is_empty() {
            let unknown = unknown.join(", ");
            let known = "tracecontext, baggage, xray, xray-lambda and none";
            self.fault(NAME, format!("{unknown}: not known here ({known} are)"));
        }
        propagation
    }

    fn address(&mut self) -> Option<Address> {
        const NAME: &str = "LAMBDA_FLUSH_SOCKET";
        let derived = self
            .text("AWS_LAMBDA_RUNTIME_API")
            .map(|api| Address::Abstract(format!("{SOCKET_NAME_PREFIX}{api}").into_bytes()));
        let Some(value) = self.text(NAME) else { return derived };
        let address = match value.strip_prefix('@') {
            Some(name) => Address::Abstract(name.as_bytes().to_vec()),
            None => Address::Path(value.clone().into()),
        };
        if value.len() > ADDRESS_BYTES_MAX || value == "@" {
            self.fault(
                NAME,
                format!(
                    "{value:?} is no socket address (@name, or a path, of 1 to {ADDRESS_BYTES_MAX} bytes)"
                ),
            );
            return derived;
        }
        Some(address)
    }

    fn carrier(&mut self) -> Wanted {
        const NAME: &str = "LAMBDA_FLUSH_CARRIER";
        match self.text(NAME).as_deref() {
            Some("auto") | None => Wanted::Auto,
            Some("ring") => Wanted::Ring,
            Some("socket") => Wanted::Socket,
            Some(other) => {
                self.fault(NAME, format!("{other:?} is none of auto, ring and socket; auto is used"));
                Wanted::Auto
            }
        }
    }

    fn function(&mut self) -> Function {
        const MEMORY: &str = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";
        let memory = self.text(MEMORY);
        let memory_mb = memory.as_ref().and_then(|value| value.parse().ok());
        if let (Some(value), None) = (&memory, memory_mb) {
            self.fault(MEMORY, format!("{value:?} is not a number of MB"));
        }
        Function {
            name: self.text("AWS_LAMBDA_FUNCTION_NAME"),
            version: self.text("AWS_LAMBDA_FUNCTION_VERSION"),
            memory_mb,
            region: self.text("AWS_REGION"),
            log_group: self.text("AWS_LAMBDA_LOG_GROUP_NAME"),
            log_stream: self.text("AWS_LAMBDA_LOG_STREAM_NAME"),
        }
    }
}

/// One `key=value` with a percent-encoded value.
fn attribute(entry: &str) -> Result<(String, String), String> {
    let (key, value) = entry.split_once('=').ok_or_else(|| format!("{entry:?} is not key=value"))?;
    if key.trim().is_empty() {
        return Err(format!("{entry:?} has no key"));
    }
    let decode = |text: &str| percent_decode_str(text.trim()).decode_utf8().map(std::borrow::Cow::into_owned);
    match (decode(key), decode(value)) {
        (Ok(key), Ok(value)) => Ok((key, value)),
        _ => Err(format!("{entry:?} is not percent-encoded UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn nothing_set_is_no_fault_and_no_address() {
        let (config, faults) = Config::read(&source(&[]));
        assert!(faults.is_empty(), "{faults:?}");
        assert!(!config.disabled && config.address.is_none());
        assert_eq!(config.function, Function::default());
    }

    #[test]
    fn all_faults_are_told_at_once_and_the_rest_is_used() {
        let long = "x".repeat(ADDRESS_BYTES_MAX + 1);
        let (config, faults) = Config::read(&source(&[
            ("OTEL_SDK_DISABLED", "yes"),
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=1,broken"),
            ("RUST_LOG", "[span{field=1}]=info=="),
            ("LAMBDA_FLUSH_STDOUT", "text"),
            ("AWS_LAMBDA_LOG_LEVEL", "LOUD"),
            ("OTEL_LOGS_EXPORTER", "console"),
            ("OTEL_PROPAGATORS", "b3,tracecontext,jaeger"),
            ("LAMBDA_FLUSH_SOCKET", &long),
            ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
            ("LAMBDA_FLUSH_CARRIER", "pigeon"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "plenty"),
        ]));
        let names: Vec<_> = faults.iter().map(|fault| fault.name).collect();
        let expected = [
            "OTEL_SDK_DISABLED",
            "OTEL_RESOURCE_ATTRIBUTES",
            "RUST_LOG",
            "LAMBDA_FLUSH_STDOUT",
            "AWS_LAMBDA_LOG_LEVEL",
            "OTEL_LOGS_EXPORTER",
            "OTEL_PROPAGATORS",
            "LAMBDA_FLUSH_SOCKET",
            "LAMBDA_FLUSH_CARRIER",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        ];
        assert_eq!(names, expected);
        assert_eq!(config.service_name.as_deref(), Some("shop"));
        assert_eq!(config.address, Some(Address::Abstract(b"lambda-flush/127.0.0.1:9001".to_vec())));
    }

    #[test]
    fn an_address_is_abstract_after_an_at_sign_else_a_path() {
        let read = |value| Config::read(&source(&[("LAMBDA_FLUSH_SOCKET", value)])).0.address;
        assert_eq!(read("@mine"), Some(Address::Abstract(b"mine".to_vec())));
        assert_eq!(read("/tmp/mine"), Some(Address::Path("/tmp/mine".into())));
    }

    #[test]
    fn attributes_are_percent_decoded() {
        let (config, faults) = Config::read(&source(&[("OTEL_RESOURCE_ATTRIBUTES", " a = b%2Cc ,d=e=f,")]));
        assert!(faults.is_empty());
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(config.resource_attributes, [pair("a", "b,c"), pair("d", "e=f")]);
        assert!(!Config::read(&source(&[("OTEL_RESOURCE_ATTRIBUTES", "a=%FF")])).1.is_empty());
    }
}
