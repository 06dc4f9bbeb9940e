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
//! # Environment
//! | variable | meaning |
//! |---|---|
//! | `OTEL_SDK_DISABLED` | `true`: no telemetry |
//! | `OTEL_SERVICE_NAME` | `service.name`; the function's name if not set |
//! | `OTEL_RESOURCE_ATTRIBUTES` | `key=value,…`, percent-encoded |
//! | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`, `OTEL_SPAN_*_COUNT_LIMIT` | as in the SDK |
//! | `RUST_LOG` | `target=level,…`: which tracing spans and events count; `info` if not set |
//! | `LAMBDA_FLUSH_SOCKET` | where the extension listens: `@name` (abstract) or a path |

mod builder;
mod carrier;
mod collect;
mod config;
mod counters;
mod drainer;
mod encode;
mod error;
mod filter;
mod handler;
mod handoff;
mod id_generator;
mod invocation;
mod layer;
mod notice;
mod outbox;
mod parent;
mod processor;
mod resource;
mod scopes;
mod socket;
mod telemetry;
mod waits;

pub use builder::Builder;
pub use config::{Environment, Source};
pub use counters::{DropReason, Stats};
pub use error::{FlushError, NotInLambda};
pub use handler::{HandlerError, TracedFuture, TracedHandler};
pub use id_generator::KernelIdGenerator;
pub use layer::{InvocationFuture, InvocationLayer, InvocationService};
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
/// # Errors
/// See [`Builder::init`].
pub fn init() -> Result<Telemetry, Error> {
    Telemetry::builder().init()
}
