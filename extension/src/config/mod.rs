//! Configuration: read once from the environment, every fault reported, and always something to run with.

mod endpoint;
mod export;
mod headers;
mod proxy;
mod read;
mod table;
mod tls;
mod vars;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::core::{FlushConfig, Signal};

pub use export::{Compression, Destination, ExportConfig, Protocol};
pub use headers::Headers;
pub use proxy::{Proxies, Proxy};
pub use read::{early, read};
pub use table::{TABLE, Variable, markdown};
pub use tls::{PemFile, TlsFiles};

/// As the standard variables name them.
const SIGNALS: [(&str, Signal); 3] =
    [("TRACES", Signal::Traces), ("METRICS", Signal::Metrics), ("LOGS", Signal::Logs)];

/// Where variables come from; a test's map or the process's environment.
pub trait Source {
    /// The value of one variable. Readers take an empty one as unset.
    fn var(&self, name: &str) -> Option<String>;
}

/// The environment of this process, read at once: asking the C library for some seventy names would take longer than
/// the rest of the configuration.
// Not `Debug`: there are secrets in it.
pub struct ProcessEnv(Vec<(OsString, OsString)>);

impl ProcessEnv {
    /// All of it, as it is now.
    #[must_use]
    pub fn read() -> Self {
        Self(std::env::vars_os().collect())
    }
}

impl Source for ProcessEnv {
    fn var(&self, name: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(own, _)| own == name)?;
        value.to_str().map(str::to_owned)
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
    /// For the exporter.
    pub export: ExportConfig,
    /// Where functions hand off.
    pub socket: SocketAddress,
    /// Where we listen for OTLP and for the platform.
    pub listen: Listen,
}

/// What has to be known before `register`. Its faults are [`read`]'s to tell.
#[derive(Debug, Clone)]
pub struct Early {
    /// Where functions hand off.
    pub socket: SocketAddress,
    /// Where we listen for OTLP and for the platform.
    pub listen: Listen,
    /// Whether this is a managed instance.
    pub managed: bool,
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

impl Listen {
    /// Where functions send OTLP to: their SDKs and we read the same environment.
    fn otlp(&self) -> [Option<SocketAddr>; 2] {
        [self.otlp_http, self.otlp_grpc]
    }

    fn all(&self) -> [Option<SocketAddr>; 3] {
        [self.otlp_http, self.otlp_grpc, self.telemetry]
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
