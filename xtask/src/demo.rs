//! `cargo demo`: builds and runs the demo, which has the local Lambda in it.

use std::process::{Command, ExitCode};

use crate::Fault;
use crate::paths;

/// Passes all arguments on; succeeds if the demo does.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<ExitCode, Fault> {
    let mut demo = Command::new(paths::cargo());
    demo.args(["run", "--quiet", "--package", "lambda-flush-e2e", "--bin", "demo", "--"]);
    demo.args(args.raw_args().map_err(|fault| fault.to_string())?);
    let status = demo.current_dir(paths::root()).status().map_err(|fault| format!("cargo: {fault}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
