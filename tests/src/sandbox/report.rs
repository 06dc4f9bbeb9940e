//! How the parties took the end of an environment.

use std::time::Duration;

use super::output::Line;
use crate::party::{Exit, Party};
use crate::trace::Trace;

/// Why an environment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// Lambda needs it no more.
    Spindown,
    /// The function exceeded its timeout.
    Timeout,
    /// A process crashed.
    Failure,
}

impl ShutdownReason {
    /// The `shutdownReason` of the SHUTDOWN event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spindown => "spindown",
            Self::Timeout => "timeout",
            Self::Failure => "failure",
        }
    }
}

/// The end of an environment: by [`Sandbox::shutdown`](super::Sandbox::shutdown) or by a reset.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The reason that the extensions were told.
    pub reason: ShutdownReason,
    /// The whole time allowed: 0, 500 or 2000 ms.
    pub budget: Duration,
    /// How long it took.
    pub duration: Duration,
    /// The function's end, unless it had not been started.
    pub function: Option<FunctionExit>,
    /// The ends of the external extensions.
    pub extensions: Vec<ExtensionExit>,
    /// Everything printed in this environment, resets included.
    pub lines: Vec<Line>,
    /// Lines that are missing from `lines` because the bound on kept output was reached.
    pub lines_dropped: u64,
    /// Everything that happened in this environment, resets included.
    pub trace: Trace,
}

/// The end of the function's process.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FunctionExit {
    /// Exit code or signal.
    pub exit: Exit,
    /// From SIGTERM to the exit; `None` if there was no SIGTERM.
    pub after_sigterm: Option<Duration>,
    /// True if the platform sent SIGKILL.
    pub killed: bool,
}

/// The end of an external extension's process.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExtensionExit {
    /// The base name of its file.
    pub name: String,
    /// Exit code or signal.
    pub exit: Exit,
    /// What was left until `deadlineMs` at its exit; zero if it was killed there, the whole budget if it had exited
    /// before.
    pub spare: Duration,
    /// From the release of SHUTDOWN to the exit; `None` if it was not released to this extension, or came too late.
    pub after_shutdown: Option<Duration>,
    /// True if the SHUTDOWN event was delivered to it.
    pub seen_shutdown: bool,
    /// True if the platform sent SIGKILL.
    pub killed: bool,
}

impl Report {
    pub(crate) fn empty(reason: ShutdownReason) -> Self {
        Self {
            reason,
            budget: Duration::ZERO,
            duration: Duration::ZERO,
            function: None,
            extensions: Vec::new(),
            lines: Vec::new(),
            lines_dropped: 0,
            trace: Trace::default(),
        }
    }

    /// The extension of this name.
    pub fn extension(&self, name: &str) -> Option<&ExtensionExit> {
        self.extensions.iter().find(|extension| extension.name == name)
    }

    /// The standard output of one party, line by line.
    pub fn stdout(&self, party: &Party) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .filter(move |line| line.party == *party && !line.stderr)
            .map(|line| line.text.as_str())
    }

    /// The standard output of all extensions, line by line: where dead letters and summaries are.
    pub fn extension_stdout(&self) -> impl Iterator<Item = &str> {
        let of_extension = |line: &&Line| matches!(line.party, Party::Extension(_)) && !line.stderr;
        self.lines.iter().filter(of_extension).map(|line| line.text.as_str())
    }
}
