//! The measured process: its start, its memory and its CPU time as `/proc` tells them, its end.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::Fault;
use crate::platform::Platform;

/// Longer than any extension may take for SHUTDOWN.
const EXIT_MAX: Duration = Duration::from_secs(10);

/// A running extension; killed when dropped.
pub(crate) struct Extension {
    child: Child,
    /// Just before the process was made.
    pub(crate) started: Instant,
}

impl Extension {
    /// Starts `program` with Lambda's variables, `variables`, and nothing else.
    pub(crate) fn start(
        program: &[&str],
        platform: &Platform,
        variables: &[(&str, String)],
    ) -> Result<Self, Fault> {
        let Some((file, arguments)) = program.split_first() else { return Err("no program".to_owned()) };
        let mut command = Command::new(file);
        command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        command.env("AWS_LAMBDA_RUNTIME_API", &platform.address);
        command.env("AWS_LAMBDA_FUNCTION_NAME", "bench").env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769");
        command.env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand").env("AWS_REGION", "eu-central-1");
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/opt/bin");
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let started = Instant::now();
        let child = command.spawn().map_err(|fault| format!("{file}: {fault}"))?;
        Ok(Self { child, started })
    }

    /// Resident memory in bytes: now, and at its highest.
    pub(crate) fn memory(&self) -> Result<(u64, u64), Fault> {
        let status = self.proc("status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
        };
        field("VmRSS:").zip(field("VmHWM:")).ok_or_else(|| "the process has no memory left".to_owned())
    }

    /// CPU time of the whole process so far, user and system.
    pub(crate) fn cpu(&self) -> Result<Duration, Fault> {
        let stat = self.proc("stat")?;
        let ticks = cpu_ticks(&stat).ok_or_else(|| format!("odd /proc/<pid>/stat: {stat}"))?;
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Ok(Duration::from_nanos(ticks * 1_000_000_000 / per_second))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its exit after SHUTDOWN.
    pub(crate) fn ended(mut self) -> Result<(), Fault> {
        let pid = self.child.id();
        let (done, waiting) = mpsc::channel();
        thread::scope(|scope| {
            let child = &mut self.child;
            scope.spawn(move || drop(done.send(child.wait())));
            let status = waiting.recv_timeout(EXIT_MAX);
            if status.is_err() {
                // The scope has to end: whoever ignores SHUTDOWN is killed.
                drop(Command::new("kill").args(["-KILL", &pid.to_string()]).status());
            }
            match status {
                Ok(Ok(status)) if status.success() => Ok(()),
                Ok(status) => Err(format!("the extension ended with {status:?}")),
                Err(_) => Err("the extension ignored SHUTDOWN".to_owned()),
            }
        })
    }

    fn proc(&self, file: &str) -> Result<String, Fault> {
        let path = Path::new("/proc").join(self.child.id().to_string()).join(file);
        fs::read_to_string(&path).map_err(|fault: io::Error| format!("{}: {fault}", path.display()))
    }
}

impl Drop for Extension {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// CPU time of the threads that a process has, in nanoseconds: finer than the clock's ticks.
pub(crate) fn cpu_nanos(pid: u32) -> Result<u64, Fault> {
    let folder = Path::new("/proc").join(pid.to_string()).join("task");
    let threads = fs::read_dir(&folder).map_err(|fault| format!("{}: {fault}", folder.display()))?;
    let of_thread = |path: &Path| {
        let stat = fs::read_to_string(path.join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    };
    let times: Vec<u64> = threads.flatten().filter_map(|thread| of_thread(&thread.path())).collect();
    if times.is_empty() { Err("the kernel keeps no schedstat".to_owned()) } else { Ok(times.iter().sum()) }
}

/// utime + stime of `/proc/<pid>/stat`, the 14th and 15th field; the second may itself contain spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_an_odd_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 12 34 0 0 20 0 1 0 5 1000 200";
        assert_eq!(cpu_ticks(stat), Some(46));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }
}
