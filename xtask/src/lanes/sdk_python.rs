//! The lane of Python's stock SDK: PyPI's `awslambdaric` and the OpenTelemetry SDK for the `sdk` test target.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::sdk;
use crate::lane::Outcome;
use crate::paths;
use crate::run::Run;

/// Pinned, so that a release of theirs does not change what passes. The JSON exporter's release decides the others'.
const PACKAGES: [&str; 5] = [
    "awslambdaric==4.2.2",
    "opentelemetry-sdk==1.45.1",
    "opentelemetry-exporter-otlp-proto-http==1.45.1",
    "opentelemetry-exporter-otlp-proto-grpc==1.45.1",
    "opentelemetry-exporter-otlp-json-http==0.66b1",
];
/// Tells the test target which interpreter to use; without it those tests pass without doing anything.
const PYTHON: &str = "LAMBDA_FLUSH_SDK_PYTHON";

pub(super) fn check(run: &mut Run) -> Outcome {
    match python(run) {
        Ok(python) => sdk::check(run, "python", PYTHON, &python),
        Err(reason) => Outcome::Skipped(reason),
    }
}

/// The interpreter of a virtual environment under `target/tools`, made there first if need be.
fn python(run: &mut Run) -> Result<PathBuf, String> {
    let venv = paths::tools().join("venv-sdk");
    let python = venv.join("bin").join("python");
    if has_packages(run, &python) {
        return Ok(python);
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    run.command(&mut create).map_err(|_| format!("no Python environment: {}", run.last_line().trim()))?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    run.command(&mut install).map_err(|_| format!("pip: {}", run.last_line().trim()))?;
    Ok(python)
}

/// Whether the environment is finished, and of these versions.
fn has_packages(run: &mut Run, python: &Path) -> bool {
    let versions = PACKAGES.map(|package| {
        let (name, version) = package.split_once("==").unwrap_or((package, ""));
        format!("assert version('{name}') == '{version}'")
    });
    let program = format!("from importlib.metadata import version; {}", versions.join("; "));
    python.is_file() && run.command(Command::new(python).args(["-c", &program])).is_ok()
}
