//! Why an environment did not start.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::output::Line;

/// Why [`SandboxBuilder::start`](super::SandboxBuilder::start) failed. The caller's to act on; no retry helps.
#[derive(Debug)]
#[non_exhaustive]
pub enum SandboxError {
    /// The builder was given no function.
    NoFunction,
    /// This path is no file, or has no base name that can be an extension's name.
    NoFile(PathBuf),
    /// The operating system refused a directory, a socket or a thread.
    Io(io::Error),
    /// The init phase failed, or did not end within its limit.
    Init {
        /// The platform's error type, for instance `Extension.Crash` or `Sandbox.Timedout`.
        error_type: String,
        /// What the processes had printed.
        lines: Vec<Line>,
    },
}

impl fmt::Display for SandboxError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFunction => formatter.write_str("no function was given"),
            Self::NoFile(path) => write!(formatter, "{} is not a file that can be run", path.display()),
            Self::Io(error) => write!(formatter, "the environment could not be set up: {error}"),
            Self::Init { error_type, lines } => {
                write!(formatter, "init failed with {error_type}")?;
                lines.iter().try_for_each(|line| write!(formatter, "\n  {}: {}", line.party, line.text))
            }
        }
    }
}

impl std::error::Error for SandboxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for SandboxError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
