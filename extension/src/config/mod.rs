//! Configuration: read once from the environment, every fault reported, and always something to run with.

mod endpoint;
mod headers;
mod read;
mod table;

use std::net::SocketAddr;
use std::path::PathBuf;

use http::Uri;

use crate::core::{FlushConfig, Signal};

pub use headers::Headers;
pub use read::read;
pub use table::{TABLE, Variable, markdown};

/// Where variables come from; a test's map or the process's environment.
pub trait Source {
    /// The value of one variable. Readers take an empty one as unset.
    fn var(&self, name: &str) -> Option<String>;
}

/// The environment of this process.
#[derive(Debug, Clone, Copy)]
pub struct ProcessEnv;

impl Source for ProcessEnv {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Something wrong with one variable, and what to do about it. Never contains a secret's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The variable.
    pub variable: String,
    /// What is wrong, what is used instead, what to change.
    pub message: String,
}

/// Everything the extension was told.
#[derive(Debug, Clone)]
pub struct Config {
    /// For the core.
    pub flush: FlushConfig,
    /// Where each signal goes.
    pub endpoints: Endpoints,
    /// Sent with each export.
    pub headers: Headers,
    /// Where functions hand off.
    pub socket: SocketAddress,
    /// Where we listen for OTLP and for the platform.
    pub listen: Listen,
}

/// TCP addresses of ours; `None` switches a receiver off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// `LAMBDA_FLUSH_OTLP_HTTP_ADDR`.
    pub otlp_http: Option<SocketAddr>,
    /// `LAMBDA_FLUSH_OTLP_GRPC_ADDR`.
    pub otlp_grpc: Option<SocketAddr>,
    /// `LAMBDA_FLUSH_TELEMETRY_ADDR`; advertised as `sandbox.localdomain`.
    pub telemetry: Option<SocketAddr>,
}

/// A URL for each signal that has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    traces: Option<Uri>,
    metrics: Option<Uri>,
    logs: Option<Uri>,
}

impl Endpoints {
    /// The URL of `signal`.
    #[must_use]
    pub fn of(&self, signal: Signal) -> Option<&Uri> {
        match signal {
            Signal::Traces => self.traces.as_ref(),
            Signal::Metrics => self.metrics.as_ref(),
            Signal::Logs => self.logs.as_ref(),
        }
    }
}

/// Where the hand-off socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketAddress {
    /// A name in the abstract namespace of this sandbox's network.
    Abstract(String),
    /// A file, made with mode 0600.
    Path(PathBuf),
}
