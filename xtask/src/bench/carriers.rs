//! `cargo xtask bench --carriers`: the extension as the layer has it, the function as its author builds it.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use super::{PACKAGE, Wanted};
use crate::Fault;
use crate::layer;
use crate::paths;
use crate::run::Run;

/// The package of the function, and its binary.
const FUNCTION: &str = "lambda-flush-bench-function";
/// Of `Cargo.toml`: cargo's own release profile, which the workspace's is not; and where cargo puts what it builds so.
const PROFILE: &str = "bench";
const PROFILE_FOLDER: &str = "release";

/// Builds all three and measures. Without the other measurements' real-time priority: it would keep the two processes
/// from taking turns as they do in Lambda, and out of every CPU quota.
pub(super) fn compare(run: &mut Run, wanted: &Wanted) -> Result<ExitCode, Fault> {
    eprintln!("building the extension as the layer is built, and the function");
    let built = build(run, wanted);
    if built.is_err() {
        run.show();
    }
    let (extension, bench, function) = built?;
    let mut command = Command::new(&bench);
    command.arg("--carriers").args(&wanted.passed_on);
    command.arg("--extension").arg(extension).arg("--function").arg(function);
    command.arg("--json-file").arg(paths::target().join("carriers.json"));
    if wanted.extension.is_none() {
        command.arg("--svg").arg(paths::root().join("docs").join("carriers.svg"));
    }
    let status = command.current_dir(paths::root()).status();
    let status = status.map_err(|fault| format!("{}: {fault}", bench.display()))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Extension, bench and function.
fn build(run: &mut Run, wanted: &Wanted) -> Result<(PathBuf, PathBuf, PathBuf), Fault> {
    let extension = match &wanted.extension {
        Some(extension) if extension.is_file() => extension.clone(),
        Some(extension) => return Err(format!("there is no file {}", extension.display())),
        None => layer::make_native(run)?.file,
    };
    for package in [PACKAGE, FUNCTION] {
        run.cargo(&["build", "--profile", PROFILE, "--package", package, "--bin", package])?;
    }
    let built = |bin: &str| paths::target().join(PROFILE_FOLDER).join(bin);
    Ok((extension, built(PACKAGE), built(FUNCTION)))
}
