//! The same function and extensions under AWS's own emulator (`aws-lambda-rie`), to hold the [`Sandbox`] against it.
//!
//! The emulator runs what lies in `/opt/extensions`, so it gets a mount namespace with an `/opt` of its own; and a
//! process namespace, so that nothing of it outlives the test. Both need root or unprivileged user namespaces.
//!
//! It differs from Lambda, and from [`Sandbox`], in this: nothing starts before the first invocation; the client is
//! answered only when the extensions are done as well; SHUTDOWN has reasons of its own ([`lambda_reason`]); the
//! output of all processes and the emulator's log are one stream.
//!
//! [`RieBuilder::managed`] is the emulator's other half: Lambda Managed Instances, with a Telemetry API that delivers.
//!
//! [`Sandbox`]: crate::Sandbox

mod builder;
mod client;
mod namespace;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use builder::RieBuilder;

use crate::engine::Engine;
use crate::party::Exit;
use crate::sandbox::{Line, Status};
use namespace::Emulator;

/// What resets and the emulator itself may take beyond the function's timeout.
const INVOKE_EXTRA: Duration = Duration::from_secs(10);
/// From SIGTERM to the emulator's exit: 2 s for the processes, the rest is generous.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// A function and its extensions under AWS's emulator. Dropping it kills all of them.
#[derive(Debug)]
pub struct RieSandbox {
    engine: Engine,
    emulator: Arc<Emulator>,
    timeout: Duration,
    /// Keeps `/opt` and `TMPDIR` of the processes; removed after them.
    _directory: tempfile::TempDir,
}

/// The end of an invocation, as the emulator tells it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RieOutcome {
    /// How it ended. The emulator does not tell an error answer from a good one: both are [`Status::Ok`].
    pub status: Status,
    /// The answer, or the emulator's message.
    pub payload: Bytes,
    /// From the request to the answer, extensions included.
    pub duration: Duration,
}

/// The end of the emulator.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RieReport {
    /// The emulator's own; code 0 if all went well.
    pub exit: Exit,
    /// From SIGTERM to the exit.
    pub duration: Duration,
    /// Everything that the function, the extensions and the emulator printed, oldest first.
    pub lines: Vec<Line>,
}

impl RieSandbox {
    /// Describes an environment under the emulator at `emulator`.
    pub fn builder(emulator: impl Into<PathBuf>) -> RieBuilder {
        RieBuilder::new(emulator.into())
    }

    /// Invokes the function and waits for the answer; the first invocation also starts all processes.
    ///
    /// # Errors
    /// The emulator does not answer, or not in time.
    pub async fn invoke(&self, payload: impl Into<Bytes>) -> io::Result<RieOutcome> {
        let (address, payload, limit) = (self.emulator.address, payload.into(), self.timeout + INVOKE_EXTRA);
        let begun = Instant::now();
        let call = self.engine.spawn(async move { client::invoke(address, &payload, limit).await });
        let answer = call.await.map_err(io::Error::other)??;
        Ok(RieOutcome { status: status(&answer), payload: answer.body, duration: begun.elapsed() })
    }

    /// Ends the environment as Lambda does when it needs it no more, and waits for that.
    ///
    /// # Errors
    /// The emulator is gone already, or does not end in time.
    pub async fn shutdown(self) -> io::Result<RieReport> {
        let begun = Instant::now();
        self.emulator.terminate()?;
        let emulator = Arc::clone(&self.emulator);
        let end = self.engine.spawn(async move { emulator.ended(SHUTDOWN_MAX).await });
        let exit = end.await.map_err(io::Error::other)?;
        let exit = exit.ok_or_else(|| io::Error::other("the emulator did not end after SIGTERM"))?;
        Ok(RieReport { exit, duration: begun.elapsed(), lines: self.emulator.lines() })
    }

    /// The lines printed so far, oldest first.
    pub fn lines(&self) -> Vec<Line> {
        self.emulator.lines()
    }
}

/// The emulator answers 200 to a timeout as well and says it in words.
fn status(answer: &client::Answer) -> Status {
    let timed_out = answer.body.starts_with(b"Task timed out after ");
    match answer.status {
        200 if timed_out => Status::Timeout,
        200 => Status::Ok,
        _ => Status::Crash,
    }
}

/// What Lambda says where the emulator says `reason`; other reasons are in lower case.
///
/// Source: `rapidcore/server.go` and `rapidcore/sandbox_builder.go` of the emulator.
pub fn lambda_reason(reason: &str) -> String {
    match reason.to_ascii_lowercase().as_str() {
        "sandboxterminated" => "spindown".to_owned(),
        "releasefail" => "failure".to_owned(),
        other => other.to_owned(),
    }
}

/// Why [`RieBuilder::start`] failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum RieError {
    /// This machine does not allow the namespaces; nothing is known about the function. With what it said.
    NotPermitted(String),
    /// This path is no file, or has no base name that can be an extension's name.
    NoFile(PathBuf),
    /// The operating system refused a directory, a process or a thread.
    Io(io::Error),
    /// The emulator did not come up; with what it printed.
    NotStarted(String),
}

impl fmt::Display for RieError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPermitted(said) => write!(formatter, "namespaces are not permitted here: {said}"),
            Self::NoFile(path) => write!(formatter, "{} is not a file that can be run", path.display()),
            Self::Io(error) => write!(formatter, "the environment could not be set up: {error}"),
            Self::NotStarted(said) => write!(formatter, "the emulator did not start: {said}"),
        }
    }
}

impl std::error::Error for RieError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for RieError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
