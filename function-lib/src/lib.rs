//! OpenTelemetry for AWS Lambda functions: a span that has ended is with the companion extension at once, and
//! survives whatever becomes of the function.
//!
//! ```no_run
//! use lambda_flush::{LambdaEvent, service_fn};
//! use serde_json::Value;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), lambda_flush::Error> {
//!     let telemetry = lambda_flush::init()?;
//!     telemetry.run(service_fn(handler)).await
//! }
//!
//! async fn handler(event: LambdaEvent<Value>) -> Result<Value, lambda_flush::Error> {
//!     Ok(event.payload)
//! }
//! ```
//!
//! Spans come from `tracing` and from the OpenTelemetry API alike. Each one is encoded once when it ends, and
//! written to the extension's Unix socket without ever blocking; the kernel keeps what is written if this process
//! dies. What the kernel does not take waits in a buffer of 1 MiB; what does not fit there is dropped and counted
//! ([`Telemetry::stats`]). The extension exports; the response of an invocation never waits for a backend.
//!
//! Metrics come from the OpenTelemetry API ([`Telemetry::meter_provider`], or the global provider), and from the
//! handler's wrapper: `faas.invocations` (the successful ones), `faas.errors`, `faas.coldstarts` and
//! `faas.invoke_duration`. They are collected at the end of each invocation, each second while one runs, 100 ms before
//! its deadline, and at SIGTERM. A data point is an item like a span: handed over once, or counted.
//!
//! # Environment
//! | variable | meaning |
//! |---|---|
//! | `OTEL_SDK_DISABLED` | `true`: no telemetry |
//! | `OTEL_SERVICE_NAME` | `service.name`; the function's name if not set |
//! | `OTEL_RESOURCE_ATTRIBUTES` | `key=value,…`, percent-encoded |
//! | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`, `OTEL_SPAN_*_COUNT_LIMIT` | as in the SDK |
//! | `OTEL_PROPAGATORS` | `tracecontext,baggage` if not set; also `xray`, `xray-lambda`, `none`: see below |
//! | `OTEL_METRICS_EXPORTER` | `none`: no metrics; `otlp` if not set |
//! | `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE` | `delta` if not set; also `cumulative`, `lowmemory` |
//! | `OTEL_LOGS_EXPORTER` | `none`: no OTLP log records; `otlp` if not set |
//! | `RUST_LOG` | `target=level,…`: which tracing spans and events count; `info` if not set |
//! | `AWS_LAMBDA_LOG_LEVEL` | the least severe level that is printed on stdout |
//! | `LAMBDA_FLUSH_STDOUT` | `json`: each tracing event is a line of JSON on stdout, too; `off` |
//! | `LAMBDA_FLUSH_SOCKET` | where the extension listens: `@name` (abstract) or a path |
//!
//! Without the extension (feature `direct`), and then before the `OTEL_EXPORTER_OTLP_…` of the same name:
//!
//! | variable | meaning |
//! |---|---|
//! | `LAMBDA_FLUSH_OTLP_ENDPOINT` | base URL of an OTLP/HTTP backend, `http://` or `https://` |
//! | `LAMBDA_FLUSH_OTLP_HEADERS` | `key=value,…`, percent-encoded; never printed. The standard headers, timeout and certificate count beside our endpoint only while no standard endpoint is another backend's |
//! | `LAMBDA_FLUSH_OTLP_CERTIFICATE` | PEM file with the authorities to trust, instead of the built-in ones |
//! | `LAMBDA_FLUSH_OTLP_TIMEOUT` | one export request, in milliseconds; 10000 if not set |
//! | `LAMBDA_FLUSH_MAX_BILLED_MS` | how long the end of an invocation waits for an export; 100 if not set |
//! | `LAMBDA_FLUSH_BUFFER_BYTES_MAX` | telemetry held; 16 MiB or 1/16 of the memory if not set |
//! | `LAMBDA_FLUSH_NAME_SERVER` | `ip` or `ip:port` to ask for names instead of `/etc/resolv.conf`'s servers |
//! | `LAMBDA_FLUSH_EXTENSIONS_DIR` | where external extensions are; `/opt/extensions` if not set |
//!
//! # Without the extension
//! The one connect at `init` tells. Then telemetry is exported from here, by a thread of its own: after each response,
//! which the end of the invocation waits for (Lambda freezes the process otherwise), and at SIGTERM. Once an export has
//! failed, nothing waits any more: what is held is tried again while the next handler runs, until that goes well.
//! Proxies are not used, names are not completed with search domains. Where `/opt/extensions` is empty, an internal
//! extension that does nothing is registered, for without any extension Lambda sends no SIGTERM. Outside Lambda the same
//! export works every five seconds, at [`Telemetry::flush`], and when the last handle on the telemetry is dropped.
//!
//! # Managed instances
//! [`Telemetry::run_concurrent`] runs as many invocations at a time as `AWS_LAMBDA_MAX_CONCURRENCY` says. Each is told,
//! traced and ended by itself; metrics are collected each second, and when the last of those that run ends. Without the
//! extension telemetry is exported each second there, and the end of an invocation waits for nothing.
//!
//! # Logs
//! A `tracing` event becomes an OTLP log record with the ids of the span it happened in, and a line of JSON on stdout
//! with the names of CloudWatch's JSON log format; it stays an event of that span, too. `hyper`, `tokio`, `rustls`,
//! `opentelemetry` and the like are off unless `RUST_LOG` names them; what happens while an event is handed over, and in
//! OpenTelemetry's suppressed scope, is never telemetry.
//!
//! # Parents
//! An invocation's parent and baggage come from the headers of an HTTP event (API Gateway v1 and v2, ALB, function URL),
//! else from the client context. `xray` reads `X-Amzn-Trace-Id` there; `xray-lambda` reads it, too, and where nothing
//! listed before it has found a parent the trace header of Lambda's own runtime interface. Of several that find one, the
//! last one listed wins. Lambda sends `Sampled=0` to nearly every function without active tracing: such an X-Ray parent
//! keeps its ids and drops nothing, unless `OTEL_TRACES_SAMPLER` says `parentbased_…`. An unsampled W3C parent counts.
//!
//! # Features
//! | feature | on by default | what goes with it |
//! |---|---|---|
//! | `metrics` | yes | OpenTelemetry metrics, and those of the invocations |
//! | `logs` | yes | OTLP log records and the OpenTelemetry logs API; the lines on stdout stay |
//! | `direct` | yes | exporting without the extension |

mod alone;
mod builder;
mod carrier;
mod checkpoints;
mod collect;
mod config;
mod connection;
mod counters;
mod direct;
mod encode;
mod errand;
mod error;
mod fields;
mod filter;
mod handler;
mod handoff;
mod hooks;
mod id_generator;
mod internal_extension;
mod invocation;
mod layer;
mod logs;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "metrics_off.rs"]
mod metrics;
mod notice;
mod outbox;
mod parent;
mod processor;
mod propagation;
mod resource;
mod scopes;
mod scratch;
mod shared;
mod sigterm;
mod socket;
mod state;
mod telemetry;
mod thread;
mod waits;
mod watch;

pub use builder::Builder;
pub use config::{Environment, Source};
pub use counters::{DropReason, Stats};
pub use error::{FlushError, NotInLambda};
pub use handler::{HandlerError, TracedFuture, TracedHandler};
pub use id_generator::KernelIdGenerator;
pub use layer::{InvocationFuture, InvocationLayer, InvocationService};
#[cfg(feature = "metrics")]
pub use metrics::HandoffMeterProvider;
pub use telemetry::{Telemetry, buffered};

pub use lambda_runtime;
pub use lambda_runtime::{Context, LambdaEvent, service_fn};
pub use opentelemetry::{self, KeyValue};
pub use tracing;

/// Any error, as `lambda_runtime` has it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Sets up everything from the environment and connects to the extension, in at most 20 ms and normally far less.
/// The same as `Telemetry::builder().init()`.
///
/// ```
/// let telemetry = lambda_flush::init()?;
/// lambda_flush::tracing::info_span!("work").in_scope(|| ());
/// assert_eq!(telemetry.stats().started, 1);
/// # Ok::<(), lambda_flush::Error>(())
/// ```
///
/// # Errors
/// See [`Builder::init`].
pub fn init() -> Result<Telemetry, Error> {
    Telemetry::builder().init()
}
