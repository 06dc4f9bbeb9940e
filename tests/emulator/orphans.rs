//! A test process that is killed leaves no function and no extension behind.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lambda_testkit::Party;
use rustix::process::{Pid, kill_process};

use crate::support::{Probes, eventually};

/// Set for the process that is to be killed.
const VICTIM_ENV: &str = "TESTKIT_ORPHANS_VICTIM";

/// Not a test of its own: the victim, when the test below starts it.
#[tokio::test]
async fn victim() {
    let Some(path) = std::env::var_os(VICTIM_ENV) else { return };
    let sandbox = Probes::with_extension().knob("SHUTDOWN_IGNORE", 1).start().await;
    let pids =
        [Party::Function, Party::Extension("probe_extension".to_owned())].map(|it| sandbox.pid(&it).unwrap());
    std::fs::write(&path, format!("{} {} ", pids[0], pids[1])).unwrap();
    sandbox.begin(r#"{"sleep_ms":60000}"#).outcome().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
}

#[tokio::test]
async fn a_killed_test_leaves_no_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pids");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "orphans::victim", "--nocapture"])
        .env(VICTIM_ENV, &path)
        .env("TMPDIR", directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually(|| read().ends_with(' ')).await;
    let pids: Vec<u32> = read().split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()));
    kill_process(Pid::from_child(&victim), rustix::process::Signal::KILL).unwrap();
    victim.wait().unwrap();
    // Orphans are reaped by init, or stay as zombies where there is none; neither runs.
    let runs = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    eventually(|| !pids.iter().any(runs)).await;
}
