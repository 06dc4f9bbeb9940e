//! The description of an environment, and its start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::RUNTIME_SHARE;
use super::error::SandboxError;
use super::fault::{Fault, Faults};
use super::report::ShutdownReason;
use super::shared::Shared;
use super::telemetry::TelemetryScript;
use super::{Sandbox, addresses, carrier, freeze, lifecycle, router, shutdown};
use crate::engine::Engine;

/// Lambda's default function timeout.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Lambda's limit for the init phase of an on-demand function.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Memory size in MiB if the builder is told none: one whole core in Lambda.
const MEMORY_MB: u32 = 1_769;

/// What the environment is made of.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) function: PathBuf,
    pub(crate) function_name: String,
    pub(crate) function_env: Vec<(String, String)>,
    pub(crate) extensions: Vec<PathBuf>,
    pub(crate) extension_env: Vec<(String, String)>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) timeout: Duration,
    pub(crate) init_timeout: Duration,
    pub(crate) runtime_share: Duration,
    pub(crate) memory_mb: u32,
    pub(crate) telemetry: TelemetryScript,
    pub(crate) freeze: bool,
    pub(crate) xray_sampled: bool,
    pub(crate) echo: bool,
}

/// Describes an environment; [`SandboxBuilder::start`] starts it.
#[derive(Clone, Debug)]
pub struct SandboxBuilder {
    config: Config,
    faults: Faults,
}

impl Default for SandboxBuilder {
    fn default() -> Self {
        let config = Config {
            function: PathBuf::new(),
            function_name: "function".to_owned(),
            function_env: Vec::new(),
            extensions: Vec::new(),
            extension_env: Vec::new(),
            env: Vec::new(),
            timeout: TIMEOUT,
            init_timeout: INIT_TIMEOUT,
            runtime_share: RUNTIME_SHARE,
            memory_mb: MEMORY_MB,
            telemetry: TelemetryScript::default(),
            freeze: false,
            xray_sampled: false,
            echo: false,
        };
        Self { config, faults: Faults::default() }
    }
}

impl SandboxBuilder {
    /// The function's executable (Lambda's `bootstrap`). Required.
    #[must_use]
    pub fn function(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.function = path.into();
        self
    }

    /// `AWS_LAMBDA_FUNCTION_NAME`. Default `function`.
    #[must_use]
    pub fn function_name(mut self, name: impl Into<String>) -> Self {
        self.config.function_name = name.into();
        self
    }

    /// A variable for the function's process only.
    #[must_use]
    pub fn function_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.function_env.push((name.into(), value.into()));
        self
    }

    /// Adds an external extension. Its name is the base name of the file.
    #[must_use]
    pub fn extension(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.extensions.push(path.into());
        self
    }

    /// A variable for the extensions' processes only.
    #[must_use]
    pub fn extension_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.extension_env.push((name.into(), value.into()));
        self
    }

    /// A variable for every process, as a function's configuration in Lambda sets it. Nothing is inherited.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.env.push((name.into(), value.into()));
        self
    }

    /// The function's timeout, extensions included. Default 3 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// Limit for the init phase. Default 10 s.
    #[must_use]
    pub fn init_timeout(mut self, timeout: Duration) -> Self {
        self.config.init_timeout = timeout;
        self
    }

    /// The memory size in MiB that the processes are told; it is not enforced. Default 1769.
    #[must_use]
    pub fn memory_mb(mut self, memory_mb: u32) -> Self {
        self.config.memory_mb = memory_mb;
        self
    }

    /// Time from SIGTERM to SIGKILL of the function beside external extensions. AWS's documentation says 300 ms, its
    /// emulator does 600 ms. Default 300 ms.
    #[must_use]
    pub fn runtime_share(mut self, share: Duration) -> Self {
        self.config.runtime_share = share;
        self
    }

    /// How the Telemetry API behaves. Default [`TelemetryScript::NotSupported`].
    #[must_use]
    pub fn telemetry(mut self, script: TelemetryScript) -> Self {
        self.config.telemetry = script;
        self
    }

    /// Whether the processes are frozen whenever all of them have called `next`, until the next event, as in Lambda.
    /// See [`Sandbox::freeze`]. Default false.
    #[must_use]
    pub fn freeze(mut self, freeze: bool) -> Self {
        self.config.freeze = freeze;
        self
    }

    /// The `Sampled` flag of the X-Ray trace header. Default false, as without active tracing.
    #[must_use]
    pub fn xray_sampled(mut self, sampled: bool) -> Self {
        self.config.xray_sampled = sampled;
        self
    }

    /// Prints every line of the processes to standard error too. Default false.
    #[must_use]
    pub fn echo(mut self, echo: bool) -> Self {
        self.config.echo = echo;
        self
    }

    /// Answers the `call`th `/event/next` call of external extensions (the first is 1) with `fault`.
    #[must_use]
    pub fn fault(mut self, call: u32, fault: Fault) -> Self {
        self.faults.plan(call, fault);
        self
    }

    /// Starts the processes and waits for the end of the init phase.
    ///
    /// # Errors
    /// A file is missing, the operating system refuses something, or init fails or exceeds its limit; then
    /// everything that had been started is ended as by a reset.
    pub async fn start(mut self) -> Result<Sandbox, SandboxError> {
        self.check_files()?;
        let Config { extensions, extension_env, function_env, env, .. } = &mut self.config;
        addresses::assign(extensions, extension_env, env)?;
        carrier::assign(std::env::var(carrier::TEST_CARRIER_ENV).ok(), env, function_env);
        let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared::new(self.config, self.faults, listener.local_addr()?)?);
        let last = Arc::clone(&shared);
        let engine = Engine::start("lambda-testkit", async move { shutdown::kill_everything(&last).await })?;
        let first = Arc::clone(&shared);
        let init = engine.spawn(async move {
            router::start(&first, listener)?;
            let _one_at_a_time = first.turn.lock().await;
            let deadline = Instant::now() + first.config.init_timeout;
            match lifecycle::init(&first, deadline, "init").await {
                Ok(duration) => {
                    freeze::settle(&first).await;
                    Ok(duration)
                }
                Err(failure) => {
                    shutdown::end(&first, ShutdownReason::Failure).await;
                    Err(SandboxError::Init { error_type: failure.error_type, lines: first.output.lines() })
                }
            }
        });
        let init_duration = init.await.map_err(|error| SandboxError::Io(std::io::Error::other(error)))??;
        Ok(Sandbox { engine, shared, init_duration })
    }

    fn check_files(&self) -> Result<(), SandboxError> {
        if self.config.function.as_os_str().is_empty() {
            return Err(SandboxError::NoFunction);
        }
        let files = std::iter::once(&self.config.function).chain(&self.config.extensions);
        let is_usable =
            |path: &&PathBuf| path.is_file() && path.file_name().is_some_and(|name| name.to_str().is_some());
        match files.into_iter().find(|path| !is_usable(path)) {
            Some(path) => Err(SandboxError::NoFile(path.clone())),
            None => Ok(()),
        }
    }
}
