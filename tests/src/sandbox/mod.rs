//! The execution environment: a function and its extensions as child processes, and the platform played to them.

pub(crate) mod addresses;
mod budget;
mod builder;
mod carrier;
mod environment;
mod error;
mod extensions_api;
mod fault;
mod freeze;
mod invocation;
mod lifecycle;
mod output;
mod process;
mod report;
mod router;
mod runtime_api;
mod shared;
mod shutdown;
mod state;
mod telemetry;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use addresses::free_address;
pub use builder::SandboxBuilder;
pub use carrier::TEST_CARRIER_ENV;
pub use error::SandboxError;
pub use fault::Fault;
pub use invocation::{Invocation, Outcome, Status};
pub use output::Line;
pub use report::{ExtensionExit, FunctionExit, Report, ShutdownReason};
pub use telemetry::TelemetryScript;

use crate::engine::Engine;
use crate::party::{Party, Signal};
use crate::trace::Trace;
use shared::Shared;

/// A running execution environment.
///
/// Dropping it kills every process in it, removes its directory, and waits for both.
#[derive(Debug)]
pub struct Sandbox {
    engine: Engine,
    shared: Arc<Shared>,
    init_duration: Duration,
}

impl Sandbox {
    /// Describes an environment to start.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::default()
    }

    /// Invokes the function and waits until the environment is ready for the next invocation.
    ///
    /// An environment handles one invocation at a time; further ones wait their turn. The wait ends at the latest
    /// with the function's timeout and the reset that follows it.
    pub async fn invoke(&self, payload: impl Into<Bytes>) -> Outcome {
        self.begin(payload).outcome().await
    }

    /// Invokes the function without waiting for anything.
    pub fn begin(&self, payload: impl Into<Bytes>) -> Invocation {
        invocation::begin(&self.engine, &self.shared, payload.into())
    }

    /// Ends the environment, also in the middle of an invocation, and tells how everyone took it.
    ///
    /// It lasts at most as long as the shutdown's budget, and a reset that is under way.
    pub async fn shutdown(self, reason: ShutdownReason) -> Report {
        let shared = Arc::clone(&self.shared);
        let report = self.engine.spawn(async move { shutdown::on_request(&shared, reason).await }).await;
        report.unwrap_or_else(|_| Report::empty(reason))
    }

    /// Sends a signal to the function's process group. False if the function is not running.
    pub fn kill_function(&self, signal: Signal) -> bool {
        self.shared.signal(&Party::Function, signal)
    }

    /// Sends a signal to the process group of each extension. False if none is running.
    pub fn kill_extensions(&self, signal: Signal) -> bool {
        let names = self.shared.update(|state| state.extension_names());
        names
            .into_iter()
            .map(|name| self.signal(&Party::Extension(name), signal))
            .fold(false, |any, one| any | one)
    }

    /// Sends a signal to the process group of one party. False if it is not running.
    pub fn signal(&self, party: &Party, signal: Signal) -> bool {
        self.shared.signal(party, signal)
    }

    /// Stops the function where it stands (SIGSTOP to its process group). False if it is not running.
    pub fn stop_function(&self) -> bool {
        self.kill_function(Signal::Stop)
    }

    /// Lets a stopped function go on (SIGCONT). False if it is not running.
    pub fn continue_function(&self) -> bool {
        self.kill_function(Signal::Cont)
    }

    /// Stops every extension where it stands (SIGSTOP). False if none is running.
    pub fn stop_extension(&self) -> bool {
        self.kill_extensions(Signal::Stop)
    }

    /// Lets stopped extensions go on (SIGCONT). False if none is running.
    pub fn continue_extension(&self) -> bool {
        self.kill_extensions(Signal::Cont)
    }

    /// Waits until no invocation is under way and freezes the environment: SIGSTOP for every process, descendants
    /// included, until each of their threads stands still. The next event thaws it. False if one did not stop.
    ///
    /// `CLOCK_MONOTONIC` goes on, which in Lambda it does not. What a test has stopped itself goes on at the thaw.
    pub async fn freeze(&self) -> bool {
        let shared = Arc::clone(&self.shared);
        let frozen = self.engine.spawn(async move {
            let _one_at_a_time = shared.turn.lock().await;
            shared.update(|state| state.freeze());
            freeze::settle(&shared).await
        });
        frozen.await.unwrap_or_default()
    }

    /// Thaws a frozen environment without an event. False if it was not frozen.
    pub fn thaw(&self) -> bool {
        self.shared.update(|state| {
            let was_frozen = state.frozen;
            state.thaw();
            was_frozen
        })
    }

    /// How the Telemetry API behaves from now on; who has subscribed stays subscribed.
    pub fn telemetry(&self, script: TelemetryScript) {
        self.shared.update(|state| state.telemetry.script = script);
    }

    /// The value of a variable that every process has: one that the builder was given, or an address that the
    /// environment chose for lambda-flush's extension, for instance `LAMBDA_FLUSH_OTLP_HTTP_ADDR`.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let mut variables = self.shared.config.env.iter();
        variables.find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Answers the next `/event/next` call of an external extension with `fault`, once.
    pub fn inject(&self, fault: Fault) {
        self.shared.update(|state| state.faults.inject(fault));
    }

    /// The process id of a party, while it runs.
    pub fn pid(&self, party: &Party) -> Option<u32> {
        self.shared.update(|state| {
            state.running(party).map(|process| process.pid.as_raw_nonzero().get().unsigned_abs())
        })
    }

    /// What happened so far.
    pub fn trace(&self) -> Trace {
        self.shared.update(|state| state.trace.clone())
    }

    /// The lines that the processes printed so far, oldest first.
    pub fn lines(&self) -> Vec<Line> {
        self.shared.output.lines()
    }

    /// How long the first initialisation took: from the first process's start to the last party's first `next`.
    pub fn init_duration(&self) -> Duration {
        self.init_duration
    }

    /// `AWS_LAMBDA_RUNTIME_API` of this environment: `127.0.0.1:<port>`.
    pub fn runtime_api(&self) -> String {
        self.shared.address.to_string()
    }

    /// The environment's `TMPDIR`, which resets leave alone, as they do with `/tmp` in Lambda.
    pub fn tmp_dir(&self) -> &Path {
        &self.shared.directories.tmp
    }
}
