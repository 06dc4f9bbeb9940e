//! Runs a lane's commands: output into a log, a sign of life at intervals, an end at the deadline.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::kill::kill_tree;
use crate::paths;

/// How often a command that is still at work says so.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(20);
/// How long a killed command may take to be gone before it is left alone.
const KILL_TAKES_MAX: Duration = Duration::from_secs(10);
/// Length of the line shown as a sign of life.
const SIGN_OF_LIFE_CHARS_MAX: usize = 90;
/// How much of a failed command the table shows; the log has all of it.
const SHOWN_COMMAND_CHARS_MAX: usize = 40;
/// How much of a failed lane's log is shown; the whole log stays on disk.
const SHOWN_LINES_MAX: usize = 400;

/// One lane at work.
pub(crate) struct Run {
    lane: &'static str,
    log: PathBuf,
    started: Instant,
    deadline: Instant,
}

impl Run {
    /// Opens an empty log for `lane`, which has `limit` to do all its work.
    pub(crate) fn begin(lane: &'static str, limit: Duration) -> Result<Self, String> {
        let folder = paths::target().join("verify");
        fs::create_dir_all(&folder).map_err(|fault| format!("{}: {fault}", folder.display()))?;
        let log = folder.join(lane).with_extension("log");
        File::create(&log).map_err(|fault| format!("{}: {fault}", log.display()))?;
        let started = Instant::now();
        Ok(Self { lane, log, started, deadline: started + limit })
    }

    /// Time since the lane began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs `cargo` with these arguments in the workspace's root.
    pub(crate) fn cargo<S: AsRef<OsStr>>(&mut self, args: &[S]) -> Result<(), String> {
        self.command(Command::new(paths::cargo()).args(args))
    }

    /// Runs a command to its end; an error unless it exits with 0 before the lane's deadline.
    pub(crate) fn command(&mut self, command: &mut Command) -> Result<(), String> {
        let shown = shown(command);
        self.note(&format!("$ {shown}"));
        let out = OpenOptions::new().append(true).open(&self.log).map_err(|fault| fault.to_string())?;
        let err = out.try_clone().map_err(|fault| fault.to_string())?;
        command.current_dir(paths::root()).stdin(Stdio::null()).stdout(out).stderr(err);
        let shown: String = shown.chars().take(SHOWN_COMMAND_CHARS_MAX).collect();
        match self.wait(command) {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => Err(format!("{shown}: {status}")),
            Ok(None) => Err(format!("{shown}: not done in time, ended")),
            Err(fault) => Err(format!("{shown}: {fault}")),
        }
    }

    /// `None` when the deadline came first.
    fn wait(&self, command: &mut Command) -> Result<Option<ExitStatus>, io::Error> {
        let mut child = command.spawn()?;
        let pid = child.id();
        let (ended, end) = mpsc::channel();
        // Ends with the child; after a deadline nobody may be listening any more, and that is well.
        thread::spawn(move || drop(ended.send(child.wait())));
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match end.recv_timeout(SIGN_OF_LIFE_EVERY.min(left)) {
                Ok(status) => return status.map(Some),
                Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("nobody waits for it")),
                Err(RecvTimeoutError::Timeout) if left > SIGN_OF_LIFE_EVERY => self.sign_of_life(),
                Err(RecvTimeoutError::Timeout) => {
                    kill_tree(pid);
                    drop(end.recv_timeout(KILL_TAKES_MAX));
                    return Ok(None);
                }
            }
        }
    }

    /// Adds a line of ours to the log.
    pub(crate) fn note(&self, line: &str) {
        let written =
            OpenOptions::new().append(true).open(&self.log).and_then(|mut log| writeln!(log, "{line}"));
        if let Err(fault) = written {
            eprintln!("xtask: {}: {fault}", self.log.display());
        }
    }

    /// All that the lane's commands have printed so far, not as a stream but as text.
    pub(crate) fn text(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The log's last line that says something.
    pub(crate) fn last_line(&self) -> String {
        self.text().lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
    }

    /// Shows what a failed lane printed.
    pub(crate) fn show(&self) {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        let hidden = lines.len().saturating_sub(SHOWN_LINES_MAX);
        println!("---- {} ({hidden} earlier lines in {})", self.lane, relative(&self.log).display());
        for line in lines.iter().skip(hidden) {
            println!("{line}");
        }
        println!("---- end of {}", self.lane);
    }

    fn sign_of_life(&self) {
        let line: String = self.last_line().trim().chars().take(SIGN_OF_LIFE_CHARS_MAX).collect();
        println!("   {} {:.0} s: {line}", self.lane, self.elapsed().as_secs_f32());
    }
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix(paths::root()).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_ends_with_its_status_and_its_output() {
        let mut run = Run::begin("self-test-status", Duration::from_secs(60)).unwrap();
        assert_eq!(run.command(Command::new("sh").args(["-c", "echo seen"])), Ok(()));
        assert_eq!(run.last_line(), "seen");
        let failed = run.command(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert!(failed.contains("exit status: 3"), "{failed}");
        assert!(run.command(&mut Command::new("no-such-program-anywhere")).is_err());
    }

    #[test]
    fn a_command_past_the_deadline_is_ended_with_its_children() {
        let mut run = Run::begin("self-test-deadline", Duration::from_millis(200)).unwrap();
        let failed = run.command(Command::new("sh").args(["-c", "sleep 300 & wait"])).unwrap_err();
        assert!(failed.contains("not done in time"), "{failed}");
        assert!(run.elapsed() < Duration::from_secs(100), "the command was waited for");
    }
}
