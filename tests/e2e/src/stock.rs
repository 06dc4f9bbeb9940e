//! The function with a stock SDK in an environment that freezes: what the extension meets without our library.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lambda_testkit::sandbox::free_address;
use lambda_testkit::{Sandbox, SandboxBuilder, artifacts};

use crate::rig::{Fault, Rig};

/// The function's timeout. Waiting for it must never be the answer to anything.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The function's binary.
///
/// # Errors
/// It can't be built.
pub fn function() -> Result<PathBuf, Fault> {
    Ok(artifacts::bin("lambda-flush-e2e", "stock-function")?)
}

/// An environment with the stock function, whose exporter sends to the extension, and freezes between invocations.
///
/// # Errors
/// As [`Rig::start`].
pub async fn rig(setup: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Result<Rig, Fault> {
    let (function, door) = (function()?, free_address()?);
    Rig::start(|builder| setup(exporting_to(door, builder).function(function).timeout(TIMEOUT).freeze(true)))
        .await
}

/// The same function without an extension, which does nothing: how long an invocation takes here and now.
///
/// # Errors
/// A binary can't be built, or the environment does not start.
pub async fn control() -> Result<Sandbox, Fault> {
    Ok(Sandbox::builder().function(function()?).timeout(TIMEOUT).freeze(true).start().await?)
}

/// The extension receives OTLP/HTTP there, and the function's SDK sends there.
fn exporting_to(door: SocketAddr, builder: SandboxBuilder) -> SandboxBuilder {
    builder
        .env("LAMBDA_FLUSH_OTLP_HTTP_ADDR", door.to_string())
        .function_env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{door}"))
}
