//! The emulator's process, in a mount and a process namespace.
//!
//! `setpriv` (dies with this thread) → `unshare` (namespaces, takes its child along) → `sh` (mounts) → the emulator.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::RieError;
use crate::party::{Exit, Party};
use crate::sandbox::Line;

/// Printed once the namespaces and mounts are there: what fails before this is the machine's doing.
const MOUNTED: &str = "lambda-testkit: mounted";
/// Replaces `/opt` and `/var` by the directories in the first two arguments, an empty one by nothing, then becomes the
/// command in the others.
const SCRIPT: &str = r#"set -eu
mount --make-rprivate /
mount --bind "$1" /opt
if [ -n "$2" ]; then mount --bind "$2" /var; fi
shift 2
echo "lambda-testkit: mounted"
exec "$@""#;
/// Bytes of output kept; what comes later is lost.
const OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The emulator listens a few milliseconds after its start.
const START_MAX: Duration = Duration::from_secs(10);
/// Between two attempts to connect to it.
const CONNECT_PAUSE: Duration = Duration::from_millis(5);
/// For the rest of the output after the last process is gone.
const PIPE_WAIT: Duration = Duration::from_secs(2);

/// The emulator at work.
#[derive(Debug)]
pub(super) struct Emulator {
    /// Where it takes invocations.
    pub(super) address: SocketAddr,
    /// Of `unshare`; the emulator is its only child.
    pid: Option<u32>,
    output: Arc<Output>,
    /// How `unshare` ended, with the emulator's own code, once all output is read.
    exit: watch::Receiver<Option<Exit>>,
}

#[derive(Debug, Default)]
struct Output {
    kept: Mutex<(Vec<Line>, usize)>,
}

impl Emulator {
    /// Starts `command` with its own `/opt` and perhaps `/var`. Must be called on the engine's thread: the process dies
    /// with it.
    pub(super) async fn start(
        address: SocketAddr,
        (opt, var): (&Path, Option<&Path>),
        command: &[&std::ffi::OsStr],
        variables: &[(String, String)],
    ) -> Result<Self, RieError> {
        let mut unshare = Command::new("setpriv");
        unshare.args([
            "--pdeathsig",
            "SIGKILL",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child=SIGKILL",
        ]);
        if !rustix::process::geteuid().is_root() {
            unshare.arg("--map-root-user");
        }
        unshare.args(["--", "sh", "-c", SCRIPT, "sh"]).arg(opt);
        unshare.arg(var.unwrap_or(Path::new(""))).args(command);
        unshare.env_clear().envs(variables.iter().cloned()).process_group(0).kill_on_drop(true);
        unshare.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = unshare.spawn().map_err(|fault| match fault.kind() {
            io::ErrorKind::NotFound => {
                RieError::NotPermitted("setpriv (util-linux) is not installed".to_owned())
            }
            _ => RieError::Io(fault),
        })?;
        let pid = child.id();
        let output = Arc::new(Output::default());
        let exit = follow(child, &output);
        let emulator = Self { address, pid, output, exit };
        emulator.listening().await?;
        Ok(emulator)
    }

    /// Waits until it takes connections.
    async fn listening(&self) -> Result<(), RieError> {
        let deadline = Instant::now() + START_MAX;
        while self.exit.borrow().is_none() && Instant::now() < deadline {
            // Whoever else listens there must not be taken for the emulator: it is up when it has mounted, too.
            if self.output.has(MOUNTED) && tokio::net::TcpStream::connect(self.address).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(CONNECT_PAUSE).await;
        }
        let said: Vec<String> = self.lines().into_iter().map(|line| line.text).collect();
        let mounted = self.output.has(MOUNTED);
        Err(if mounted {
            RieError::NotStarted(said.join("; "))
        } else {
            RieError::NotPermitted(said.join("; "))
        })
    }

    /// Asks it to end everything in good order.
    pub(super) fn terminate(&self) -> io::Result<()> {
        let gone = || io::Error::other("the emulator is gone");
        let unshare = self.pid.filter(|_| self.exit.borrow().is_none()).ok_or_else(gone)?;
        let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"))?;
        let pid = children.split_whitespace().next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        rustix::process::kill_process(pid.ok_or_else(gone)?, Signal::TERM).map_err(io::Error::from)
    }

    /// Waits for its end; `None` if it does not come within `limit`.
    pub(super) async fn ended(&self, limit: Duration) -> Option<Exit> {
        let mut exit = self.exit.clone();
        let ended = tokio::time::timeout(limit, exit.wait_for(Option::is_some)).await;
        ended.ok()?.ok().and_then(|exit| *exit)
    }

    /// What was printed so far.
    pub(super) fn lines(&self) -> Vec<Line> {
        self.output.kept.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// Reads the output to its end, then tells the exit. `child` is killed if the engine ends before.
fn follow(mut child: Child, output: &Arc<Output>) -> watch::Receiver<Option<Exit>> {
    let (tell, exit) = watch::channel(None);
    let stdout = child.stdout.take().map(|pipe| tokio::spawn(Arc::clone(output).read(pipe, false)));
    let stderr = child.stderr.take().map(|pipe| tokio::spawn(Arc::clone(output).read(pipe, true)));
    tokio::spawn(async move {
        let status = child.wait().await;
        for reader in [stdout, stderr].into_iter().flatten() {
            // The pipes end with the last process of the namespace, which is the emulator.
            tokio::time::timeout(PIPE_WAIT, reader).await.ok();
        }
        tell.send(Some(status.map(Exit::from).unwrap_or_default())).ok();
    });
    exit
}

impl Output {
    async fn read(self: Arc<Self>, pipe: impl AsyncRead + Unpin, stderr: bool) {
        let mut lines = BufReader::new(pipe).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let text = String::from_utf8_lossy(&line).into_owned();
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.1 += text.len();
            if kept.1 <= OUTPUT_BYTES_MAX {
                kept.0.push(Line { at: Instant::now(), party: Party::Platform, stderr, text });
            }
        }
    }

    fn has(&self, text: &str) -> bool {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).0.iter().any(|line| line.text == text)
    }
}
