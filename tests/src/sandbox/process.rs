//! Child processes: each leads a process group, is listened to, and dies with the sandbox.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::Value;
use tokio::process::Child;

use super::shared::Shared;
use super::state::Process;
use crate::party::{Exit, Party};

/// How long a file may be busy.
const BUSY_WAIT: Duration = Duration::from_secs(1);
/// Pause before the next attempt to start a busy file.
const BUSY_RETRY: Duration = Duration::from_millis(5);

/// What to start.
pub(crate) struct Program<'a> {
    pub(crate) party: Party,
    pub(crate) path: &'a Path,
    pub(crate) directory: &'a Path,
    pub(crate) variables: Vec<(String, String)>,
}

/// Starts a process and notes it in the state. Must be called on the engine's thread.
///
/// # Errors
/// It can't be executed.
pub(crate) async fn start(shared: &Arc<Shared>, program: Program<'_>) -> io::Result<()> {
    let mut command = Command::new(std::path::absolute(program.path)?);
    command.env_clear().envs(program.variables).current_dir(program.directory).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    die_with_this_thread(&mut command);
    let mut child = spawn(tokio::process::Command::from(command)).await?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the process ended before it could be noted"))?;
    let party = program.party;
    shared.update(|state| {
        let process =
            Process { party: party.clone(), pid, sigterm_at: None, killed: false, exit: None, open_pipes: 2 };
        state.processes.push(process);
        state.trace.push(&party, "started", Value::Null);
    });
    listen(shared, &mut child, &party, pid);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let exit = child.wait().await.map(Exit::from).unwrap_or_default();
        shared.update(|state| state.exited(pid, exit));
    });
    Ok(())
}

/// Starts it, with patience for a file that was just written: while any thread of the test forks, its child may hold
/// that file open for writing, and the kernel refuses to execute it.
async fn spawn(mut command: tokio::process::Command) -> io::Result<Child> {
    let end = Instant::now() + BUSY_WAIT;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < end => {
                tokio::time::sleep(BUSY_RETRY).await;
            }
            result => return result,
        }
    }
}

fn listen(shared: &Arc<Shared>, child: &mut Child, party: &Party, pid: Pid) {
    let closed = move |shared: &Shared| {
        shared.update(|state| {
            if let Some(process) = state.processes.iter_mut().find(|process| process.pid == pid) {
                process.open_pipes = process.open_pipes.saturating_sub(1);
            }
        });
    };
    if let Some(pipe) = child.stdout.take() {
        let (shared, party) = (Arc::clone(shared), party.clone());
        tokio::spawn(async move {
            shared.output.read(pipe, &party, false).await;
            closed(&shared);
        });
    }
    if let Some(pipe) = child.stderr.take() {
        let (shared, party) = (Arc::clone(shared), party.clone());
        tokio::spawn(async move {
            shared.output.read(pipe, &party, true).await;
            closed(&shared);
        });
    }
}

/// Has the kernel kill the process when the engine's thread ends, however it ends: a function or an extension that
/// waits for a platform which is gone may otherwise wait for ever.
#[expect(unsafe_code, reason = "a child can only ask for its parent's death signal between fork and exec")]
fn die_with_this_thread(command: &mut Command) {
    let ask = || Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?);
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe work is allowed. It makes one
    // `prctl` system call, captures nothing, allocates nothing and takes no lock.
    unsafe { command.pre_exec(ask) };
}
