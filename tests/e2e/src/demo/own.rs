//! The reader's own function on the local Lambda, with the extension and a backend of their choice.

use std::path::PathBuf;
use std::process::ExitCode;

use lambda_testkit::{Sandbox, ShutdownReason, Status};

use crate::rig::{Fault, extension};

/// What to run.
#[derive(Debug)]
pub struct Own {
    /// The function's binary.
    pub function: PathBuf,
    /// A file with the event; `{}` without one.
    pub event: Option<PathBuf>,
    /// An OTLP/HTTP backend; without one everything is dead-lettered.
    pub endpoint: Option<String>,
}

impl Own {
    pub(super) async fn run(self) -> Result<ExitCode, Fault> {
        let event = match &self.event {
            Some(path) => std::fs::read(path)?,
            None => b"{}".to_vec(),
        };
        let mut builder = Sandbox::builder().function(&self.function).extension(extension()?).echo(true);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.env("LAMBDA_FLUSH_OTLP_ENDPOINT", endpoint);
        }
        let sandbox = builder.start().await?;
        let outcome = sandbox.invoke(event).await;
        println!(
            "{:?} in {:?}: {}",
            outcome.status,
            outcome.duration,
            String::from_utf8_lossy(&outcome.payload)
        );
        sandbox.shutdown(ShutdownReason::Spindown).await;
        Ok(if outcome.status == Status::Ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
