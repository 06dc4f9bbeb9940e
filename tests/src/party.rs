//! Who takes part in an environment, how a process of theirs ended, and the signals a test may send.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// One of the three kinds of participants in an execution environment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    /// Lambda itself, played by the sandbox.
    Platform,
    /// The function's process.
    Function,
    /// An extension, named by the base name of its file, or by what an internal one calls itself.
    Extension(String),
}

impl fmt::Display for Party {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => formatter.write_str("platform"),
            Self::Function => formatter.write_str("function"),
            Self::Extension(name) => write!(formatter, "extension:{name}"),
        }
    }
}

/// How a process ended: one of the two fields is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// The exit code, if the process ended by itself.
    pub code: Option<i32>,
    /// The number of the signal that ended it.
    pub signal: Option<i32>,
}

impl Exit {
    /// True if the process ended by SIGKILL.
    pub fn is_sigkill(self) -> bool {
        self.signal == Some(rustix::process::Signal::KILL.as_raw())
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        Self { code: status.code(), signal: status.signal() }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(formatter, "exit code {code}"),
            (None, Some(signal)) => write!(formatter, "signal {signal}"),
            (None, None) => formatter.write_str("unknown"),
        }
    }
}

/// A signal for the process group of a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM
    Term,
    /// SIGKILL
    Kill,
    /// SIGSTOP
    Stop,
    /// SIGCONT
    Cont,
    /// SIGABRT
    Abrt,
    /// SIGSEGV
    Segv,
}

impl Signal {
    pub(crate) fn raw(self) -> rustix::process::Signal {
        use rustix::process::Signal as Raw;
        match self {
            Self::Term => Raw::TERM,
            Self::Kill => Raw::KILL,
            Self::Stop => Raw::STOP,
            Self::Cont => Raw::CONT,
            Self::Abrt => Raw::ABORT,
            Self::Segv => Raw::SEGV,
        }
    }
}
