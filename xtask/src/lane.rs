//! What a lane of `cargo verify` is, and the three ways it can end.

use crate::run::Run;

/// One check with a name, a time limit and a row in the closing table.
pub(crate) struct Lane {
    /// As given to `--lane`.
    pub(crate) name: &'static str,
    /// One line for `--list`.
    pub(crate) about: &'static str,
    /// Whether `--ci` runs it; `--all` runs every lane.
    pub(crate) in_ci: bool,
    /// The whole lane's limit, installation of its tools included.
    pub(crate) limit_minutes: u64,
    /// Does the work; says how it ended.
    pub(crate) check: fn(&mut Run) -> Outcome,
}

/// How a lane ended.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All well; the note (may be empty) goes into the table.
    Passed(String),
    /// Something is wrong with the project.
    Failed(String),
    /// A tool, a registry or a permission is missing here; nothing is known about the project.
    Skipped(String),
}

impl Outcome {
    /// A lane that is one command: its success or its fault.
    pub(crate) fn of(result: Result<(), String>) -> Self {
        match result {
            Ok(()) => Self::Passed(String::new()),
            Err(fault) => Self::Failed(fault),
        }
    }

    /// As the table shows it.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Passed(note) if note.is_empty() => "ok".to_owned(),
            Self::Passed(note) => format!("ok ({note})"),
            Self::Failed(fault) => format!("FAIL ({fault})"),
            Self::Skipped(reason) => format!("SKIP({reason})"),
        }
    }
}
