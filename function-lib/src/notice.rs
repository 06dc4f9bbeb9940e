//! The library's own words: one JSON line each.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::Value;

/// How long a line waits for a full pipe. Then it is lost: the function comes first, and SIGTERM's deadline.
const FULL_PIPE_WAIT_MAX: Duration = Duration::from_millis(5);

/// A pipe that is ready for writing takes so much without blocking (`PIPE_BUF`).
const PIPE_ROOM_BYTES: usize = 4096;

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// As it should be.
    Info,
    /// Telemetry works, but not as the reader may expect.
    Warn,
    /// Telemetry does not work.
    Error,
}

impl Level {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Prints one line on stderr. A closed stderr is no reason to disturb the function.
pub(crate) fn print(level: Level, message: &str) {
    print_until(level, message, Instant::now() + FULL_PIPE_WAIT_MAX);
}

/// As [`print`], with patience for a full pipe until `until`.
pub(crate) fn print_until(level: Level, message: &str, until: Instant) {
    write_line(&std::io::stderr(), &notice(level, message), until);
}

/// Prints a line on stdout, where the function's own log lines are: panics print on stderr, piece by piece, and a line
/// beside one could end up in the middle of it.
pub(crate) fn print_record(line: &Value, until: Instant) {
    write_line(&std::io::stdout(), line, until);
}

/// Takes no lock of the standard library's: whoever holds that may be blocked himself by a full pipe.
fn write_line(to: &impl AsFd, line: &Value, until: Instant) {
    let text = format!("{line}\n");
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let timeout = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
        let mut fds = [PollFd::new(to, PollFlags::OUT)];
        let written = match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return,
            Ok(_) => rustix::io::write(to, rest.get(..PIPE_ROOM_BYTES).unwrap_or(rest)),
            Err(error) => Err(error),
        };
        match written {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn notice(level: Level, message: &str) -> Value {
    serde_json::json!({
        "lambda_flush": "notice", "version": 1, "level": level.as_str(), "message": message
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_one_json_line_whatever_it_says() {
        let text = notice(Level::Warn, "two\nlines and \"quotes\"").to_string();
        assert!(!text.contains('\n'));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["level"], "warn");
        assert_eq!(value["message"], "two\nlines and \"quotes\"");
    }
}
