//! A local AWS Lambda with real processes, for testing functions and extensions.
//!
//! [`Sandbox`] starts a function and its extensions as child processes and plays the platform to them:
//! Runtime API, Extensions API, timeouts, resets, and the shutdown with its signals, budgets and deadlines.
//! [`Backend`] is an OTLP/HTTP backend that fails on demand. [`witness`] is a file in which a function notes,
//! outside of the code under test, what it has handed over; [`check`](mod@check) compares the three.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use lambda_testkit::{Sandbox, ShutdownReason, Status};
//!
//! let sandbox = Sandbox::builder().function("target/debug/bootstrap").extension("target/debug/my-extension").start().await?;
//! let outcome = sandbox.invoke(r#"{"name":"world"}"#).await;
//! assert_eq!(outcome.status, Status::Ok);
//! let report = sandbox.shutdown(ShutdownReason::Spindown).await;
//! assert!(report.extensions.iter().all(|extension| !extension.killed));
//! # Ok(())
//! # }
//! ```
//!
//! What the platform does is taken from the AWS documentation and from the source of AWS's own Runtime Interface
//! Emulator. The freeze between invocations is imitated by stopping the processes, without their
//! clocks. Not imitated: memory limits, response streaming to the client, SnapStart, managed instances, and of the
//! Telemetry API the types `function` and `extension`.

pub mod artifacts;
pub mod backend;
pub mod check;
mod engine;
mod http1;
mod party;
pub mod rie;
pub mod sandbox;
mod span_id;
pub mod trace;
pub mod witness;

pub use backend::{Backend, HttpProxy, Script, TlsSetup};
pub use check::{Evidence, Verdict, check};
pub use party::{Exit, Party, Signal};
pub use sandbox::{
    Fault, Invocation, Line, Outcome, Report, Sandbox, SandboxBuilder, SandboxError, ShutdownReason, Status,
    TelemetryScript,
};
pub use span_id::SpanId;
pub use trace::{Trace, TraceEvent};
