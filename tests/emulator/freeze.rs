//! The freeze: nothing runs between invocations, descendants included, and every event thaws.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lambda_testkit::{Backend, Script, ShutdownReason, Status};

use crate::support::{EXTENSION, NOISE, Probes, eventually};

/// Long enough for a process that runs to show it.
const WHILE_FROZEN: Duration = Duration::from_millis(200);

/// The probe function with a child in its process group and one in a session of its own; each adds a byte to a file
/// every few milliseconds.
fn busy(directory: &Path) -> (PathBuf, [PathBuf; 2]) {
    let (script, files) = (directory.join("bootstrap"), ["inside", "outside"].map(|it| directory.join(it)));
    let tick = |file: &Path| format!("while :; do printf . >> {}; sleep 0.005; done", file.display());
    let text = format!(
        "#!/bin/sh\n({}) > /dev/null 2>&1 &\nsetsid sh -c '{}' > /dev/null 2>&1 &\nexec {}\n",
        tick(&files[0]),
        tick(&files[1]),
        env!("CARGO_BIN_EXE_probe_function"),
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    (script, files)
}

fn sizes(files: &[PathBuf; 2]) -> [u64; 2] {
    files.each_ref().map(|file| std::fs::metadata(file).map_or(0, |it| it.len()))
}

#[tokio::test]
async fn nothing_runs_between_invocations() {
    let directory = tempfile::tempdir().unwrap();
    let (function, files) = busy(directory.path());
    let _ended_at_last = Outside(files[1].clone());
    let probes = Probes::with_extension().change(|builder| builder.function(function).freeze(true));
    let sandbox = probes.start().await;
    for round in 0..3 {
        let before = sizes(&files);
        tokio::time::sleep(WHILE_FROZEN).await;
        assert_eq!(sizes(&files), before, "round {round}: something ran in the freeze");
        let mut invocation = sandbox.begin(r#"{"sleep_ms":100}"#);
        invocation.response().await.unwrap();
        let grown = sizes(&files);
        assert!(grown[0] > before[0] && grown[1] > before[1], "round {round}: {before:?} {grown:?}");
        assert_eq!(invocation.outcome().await.status, Status::Ok);
    }
    let trace = sandbox.trace();
    assert_eq!((trace.count("platform", "freeze"), trace.count("platform", "thaw")), (4, 3));
    assert_eq!(trace.count("platform", "not_frozen"), 0);
    let report = sandbox.shutdown(ShutdownReason::Spindown).await;
    assert!(report.extension("probe_extension").unwrap().seen_shutdown);
    assert_eq!(probes.trace().count("function", "sigterm"), 1);
    // What left the process group outlives it in Lambda's order of things, but not this test.
    let outside = sizes(&files)[1];
    eventually(|| outside < sizes(&files)[1]).await;
}

/// Ends the loop that writes to this file when it is dropped.
struct Outside(PathBuf);

impl Drop for Outside {
    fn drop(&mut self) {
        let pattern = self.0.display().to_string();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let is_it = String::from_utf8_lossy(&command).contains(&pattern);
            let pid = entry.file_name().to_str().and_then(|it| it.parse().ok());
            if let Some(pid) = pid.filter(|_| is_it).and_then(rustix::process::Pid::from_raw) {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
    }
}

#[tokio::test]
async fn the_freeze_is_nobodys_time() {
    let probes = Probes::with_extension().change(|builder| builder.freeze(true));
    let sandbox = probes.start().await;
    sandbox.invoke("{}").await;
    tokio::time::sleep(NOISE * 2).await;
    let outcome = sandbox.invoke("{}").await;
    assert_eq!(outcome.status, Status::Ok);
    assert!(outcome.duration < NOISE, "{:?}", outcome.duration);
    tokio::time::sleep(NOISE * 2).await;
    let report = sandbox.shutdown(ShutdownReason::Spindown).await;
    assert!(report.extensions[0].spare > Duration::from_millis(1_600) - NOISE, "{:?}", report.extensions);
    assert!(!report.extensions[0].killed && !report.function.unwrap().killed);
}

#[tokio::test]
async fn a_test_may_freeze_and_thaw_itself() {
    let probes = Probes::with_extension();
    let sandbox = probes.start().await;
    assert!(!sandbox.thaw());
    let invocation = sandbox.begin(r#"{"sleep_ms":50}"#);
    eventually(|| probes.trace().count("function", "invoke") == 1).await;
    assert!(sandbox.freeze().await && sandbox.freeze().await);
    assert_eq!(probes.trace().count("function", "respond"), 1, "the freeze waits for the invocation");
    assert_eq!(invocation.outcome().await.status, Status::Ok);
    assert!(sandbox.thaw() && !sandbox.thaw());
    assert!(sandbox.freeze().await);
    assert_eq!(sandbox.invoke("{}").await.status, Status::Ok);
    assert_eq!(probes.trace().count(EXTENSION, "invoke"), 2);
    // Dropped while it is frozen.
    assert!(sandbox.freeze().await);
}

#[test]
fn a_backend_closes_idle_connections_and_finishes_the_others() {
    let backend = Backend::start().unwrap();
    let exchange = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").unwrap();
    };
    let mut idle = TcpStream::connect(backend.address()).unwrap();
    exchange(&mut idle);
    let mut answer = [0; 512];
    assert!(idle.read(&mut answer).unwrap() > 0);
    backend.set(Script::Delay(Duration::from_millis(200)));
    let mut busy = TcpStream::connect(backend.address()).unwrap();
    exchange(&mut busy);
    while backend.requests().len() < 2 {
        std::thread::yield_now();
    }
    backend.close_idle();
    assert_eq!(idle.read(&mut answer).unwrap(), 0);
    let mut whole = Vec::new();
    busy.read_to_end(&mut whole).unwrap();
    assert!(whole.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&whole));
    let mut new = TcpStream::connect(backend.address()).unwrap();
    exchange(&mut new);
    assert!(new.read(&mut answer).unwrap() > 0);
}
