//! Builds binaries of other packages of the workspace for a test, once per test process.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Names a directory with finished binaries; nothing is built for those that are there.
pub const BIN_DIR_ENV: &str = "LAMBDA_TESTKIT_BIN_DIR";

/// Why there is no binary.
#[derive(Debug)]
#[non_exhaustive]
pub enum ArtifactError {
    /// Cargo can't be run.
    Cargo(io::Error),
    /// The build failed; the compiler's words are on standard error.
    Build {
        /// The package that was to be built.
        package: String,
        /// The binary in it.
        bin: String,
    },
}

impl fmt::Display for ArtifactError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cargo(error) => write!(formatter, "cargo can't be run: {error}"),
            Self::Build { package, bin } => {
                write!(formatter, "binary {bin} of package {package} was not built")
            }
        }
    }
}

impl std::error::Error for ArtifactError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Cargo(error) => Some(error),
            Self::Build { .. } => None,
        }
    }
}

/// The path of a workspace binary in the `dev` profile, built if need be.
///
/// # Errors
/// As [`bin_with_profile`].
pub fn bin(package: &str, bin: &str) -> Result<PathBuf, ArtifactError> {
    bin_with_profile(package, bin, "dev")
}

/// The path of a workspace binary, built with `cargo build` in the current directory's workspace if need be.
///
/// `CARGO_TARGET_DIR` and the rest of cargo's configuration hold; [`BIN_DIR_ENV`] goes first.
///
/// # Errors
/// Cargo can't be run, or the build fails.
pub fn bin_with_profile(package: &str, bin: &str, profile: &str) -> Result<PathBuf, ArtifactError> {
    if let Some(path) = std::env::var_os(BIN_DIR_ENV).map(|directory| Path::new(&directory).join(bin))
        && path.is_file()
    {
        return Ok(path);
    }
    static BUILT: Mutex<Option<HashMap<[String; 3], PathBuf>>> = Mutex::new(None);
    // The lock is held while cargo runs: a second test waits for the first one's build.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let built = built.get_or_insert_default();
    let key = [package.to_owned(), bin.to_owned(), profile.to_owned()];
    if let Some(path) = built.get(&key) {
        return Ok(path.clone());
    }
    let path = build(package, bin, profile)?;
    built.insert(key, path.clone());
    Ok(path)
}

fn build(package: &str, bin: &str, profile: &str) -> Result<PathBuf, ArtifactError> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", package, "--bin", bin, "--profile", profile]);
    cargo.arg("--message-format=json-render-diagnostics");
    let output =
        cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(ArtifactError::Cargo)?;
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_ours = message.get("target")?.get("name")?.as_str()? == bin;
        message.get("executable")?.as_str().filter(|_| is_ours).map(PathBuf::from)
    };
    let path = String::from_utf8_lossy(&output.stdout).lines().filter_map(executable).next_back();
    path.filter(|_| output.status.success())
        .ok_or_else(|| ArtifactError::Build { package: package.to_owned(), bin: bin.to_owned() })
}
