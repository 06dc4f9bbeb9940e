//! SHUTDOWN: everything held is exported or dead-lettered, and the extension is gone before its deadline (promise P3).
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lambda_flush_e2e::{Ended, Rig, rig};
use lambda_testkit::{Backend, Sandbox, SandboxBuilder, Script, ShutdownReason, Status, artifacts};
use rustix::fs::OFlags;

const SPANS: usize = 2_000;

async fn ended_by(script: Script, setup: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Ended {
    let rig = Rig::start(|builder| {
        setup(builder.timeout(Duration::from_secs(10)).env("LAMBDA_FLUSH_STRATEGY", "shutdown"))
    })
    .await
    .expect("an environment");
    rig.backend.set(script);
    let outcome = rig.sandbox.invoke(format!(r#"{{"spans":{SPANS},"work_ms":50}}"#)).await;
    assert_eq!(outcome.status, Status::Ok);
    assert_eq!(rig.backend.requests().len(), 0, "the strategy is shutdown");
    rig.end(ShutdownReason::Spindown, false).await.expect("an end")
}

fn demand_in_time(ended: &Ended) {
    let extension = &ended.report.extensions[0];
    assert!(extension.seen_shutdown && !extension.killed, "{extension:?}");
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
}

#[tokio::test]
async fn everything_is_exported_at_shutdown() {
    let ended = ended_by(Script::Healthy, |builder| builder).await;
    demand_in_time(&ended);
    assert_eq!((ended.witnessed_at_backend(), ended.verdict.duplicates), (SPANS, 0));
}

#[tokio::test]
async fn whatever_the_backend_does_nothing_is_lost_and_the_deadline_holds() {
    let faults = [
        Script::Hang,
        Script::status(503),
        Script::status(401),
        Script::ResetMidBody,
        Script::ResetAfterBody,
        Script::Delay(Duration::from_secs(30)),
    ];
    for script in faults {
        for share_ms in [300, 600] {
            let ended =
                ended_by(script.clone(), |builder| builder.runtime_share(Duration::from_millis(share_ms)))
                    .await;
            demand_in_time(&ended);
            assert_eq!(ended.witnessed_dead(), SPANS, "{script:?}");
        }
    }
}

#[tokio::test]
async fn a_backend_that_heals_during_shutdown_gets_everything() {
    let rig =
        Rig::start(|builder| builder.env("LAMBDA_FLUSH_STRATEGY", "shutdown")).await.expect("an environment");
    rig.backend.queue(&Script::status(503), 2);
    assert_eq!(rig.sandbox.invoke(format!(r#"{{"spans":{SPANS}}}"#)).await.status, Status::Ok);
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    demand_in_time(&ended);
    assert_eq!((ended.witnessed_at_backend(), ended.witnessed_dead()), (SPANS, 0));
}

/// Each invocation's batch was reset after its body: it may have been sent, so it stays apart from the others.
#[tokio::test]
async fn hundreds_of_batches_are_all_dead_lettered() {
    let rig = Rig::start(|builder| builder).await.expect("an environment");
    rig.backend.set(Script::ResetAfterBody);
    for _ in 0..400 {
        assert_eq!(rig.sandbox.invoke(r#"{"spans":5}"#).await.status, Status::Ok);
    }
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    demand_in_time(&ended);
    assert_eq!(ended.witnessed_dead(), 2_000);
}

/// An extension whose standard output is a pipe of the test's: full, and nobody reads it yet.
struct Stalled {
    script: PathBuf,
    pipe: File,
    _dir: tempfile::TempDir,
}

impl Stalled {
    fn make() -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let (script, fifo) = (dir.path().join("lambda-flush-extension"), dir.path().join("stdout"));
        assert!(Command::new("mkfifo").arg(&fifo).status()?.success(), "mkfifo");
        let real = rig::extension().expect("the extension");
        // Opened for reading too, which waits for nobody.
        let text = format!("#!/bin/sh\nexec {} 1<>{}\n", real.display(), fifo.display());
        std::fs::write(&script, text)?;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
        let mut options = OpenOptions::new();
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag");
        let mut pipe = options.read(true).write(true).custom_flags(flags).open(&fifo)?;
        while pipe.write(&[b'\n'; 4096]).is_ok() {}
        Ok(Self { script, pipe, _dir: dir })
    }

    async fn start(&self, backend: &Backend) -> Sandbox {
        let builder = Sandbox::builder()
            .function(artifacts::bin("lambda-flush-e2e", "witness-function").expect("the function"))
            .extension(&self.script)
            .env("PATH", "/usr/bin:/bin")
            .env("LAMBDA_FLUSH_OTLP_ENDPOINT", backend.endpoint());
        builder.timeout(Duration::from_secs(20)).start().await.expect("an environment")
    }

    /// What can be read at once.
    fn read(&mut self) -> String {
        let mut read = Vec::new();
        // Ends with "would block".
        self.pipe.read_to_end(&mut read).ok();
        String::from_utf8_lossy(&read).into_owned()
    }
}

#[tokio::test]
async fn a_stalled_stdout_does_not_keep_the_extension() {
    let stalled = Stalled::make().expect("a pipe");
    let backend = Backend::start().expect("a backend");
    backend.set(Script::status(503));
    let sandbox = stalled.start(&backend).await;
    let outcome = sandbox.invoke(r#"{"spans":20000,"attributes":20}"#).await;
    assert_eq!(outcome.status, Status::Ok);
    let report = sandbox.shutdown(ShutdownReason::Spindown).await;
    let extension = &report.extensions[0];
    assert!(extension.seen_shutdown && !extension.killed, "{extension:?}");
}

/// The writer comes to its turn late, as on a small part of a core: the summary is worth the wait.
#[tokio::test]
async fn a_stdout_that_stalls_for_a_while_does_not_cost_the_summary() {
    let mut stalled = Stalled::make().expect("a pipe");
    let backend = Backend::start().expect("a backend");
    let sandbox = stalled.start(&backend).await;
    assert_eq!(sandbox.invoke(r#"{"spans":10}"#).await.status, Status::Ok);
    let ending = tokio::spawn(sandbox.shutdown(ShutdownReason::Spindown));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut text = stalled.read();
    let report = ending.await.expect("a report");
    text.push_str(&stalled.read());
    let extension = &report.extensions[0];
    assert!(extension.seen_shutdown && !extension.killed, "{extension:?}");
    assert!(
        text.contains(r#""lambda_flush":"summary""#),
        "gone {:?} after SHUTDOWN",
        extension.after_shutdown
    );
}

#[tokio::test]
async fn a_backend_that_rejects_is_counted_as_such() {
    let rejected = Script::PartialSuccess { rejected: 7, message: "too old".into() };
    let ended = ended_by(rejected, |builder| builder).await;
    demand_in_time(&ended);
    let destination = &ended.summary().expect("a summary").destinations[0];
    assert!(destination.rejected >= 7 && destination.exported > 0, "{destination:?}");
    let bad = ended_by(Script::status(400), |builder| builder).await;
    let destination = &bad.summary().expect("a summary").destinations[0];
    assert_eq!(destination.rejected, destination.accepted);
    assert!(bad.report.extension_stdout().any(|line| line.contains("HTTP 400")));
}

#[tokio::test]
async fn shutdown_before_any_invocation_is_quiet_and_quick() {
    let rig = Rig::start(|builder| builder).await.expect("an environment");
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    let extension = &ended.report.extensions[0];
    assert!(extension.seen_shutdown && !extension.killed);
    assert!(ended.verdict.ledger_balanced.is_ok(), "{:?}", ended.verdict);
}

#[tokio::test]
async fn a_timeout_resets_the_environment_and_keeps_both_accounts() {
    let rig =
        Rig::start(|builder| builder.timeout(Duration::from_millis(900))).await.expect("an environment");
    let outcome = rig.sandbox.invoke(format!(r#"{{"spans":{SPANS},"then":"hang"}}"#)).await;
    assert_eq!(outcome.status, Status::Timeout);
    assert_eq!(rig.sandbox.invoke(r#"{"spans":10}"#).await.status, Status::Ok);
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    assert_eq!(ended.evidence.summaries.len(), 2, "one for each extension process");
    assert_eq!(ended.evidence.summaries[0].reason, "timeout");
    assert_eq!(ended.witnessed_at_backend(), SPANS + 10);
}

#[tokio::test]
async fn a_crash_of_the_function_loses_nothing() {
    for then in ["exit", "panic", "error"] {
        let rig = Rig::start(|builder| builder).await.expect("an environment");
        let outcome = rig.sandbox.invoke(format!(r#"{{"spans":{SPANS},"then":"{then}"}}"#)).await;
        let expected = if then == "exit" { Status::Crash } else { Status::FunctionError };
        assert_eq!(outcome.status, expected, "{then}");
        let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
        assert!(ended.verdict.is_ok(), "{then}: {:?}", ended.verdict);
        assert_eq!(ended.witnessed_at_backend(), SPANS, "{then}");
    }
}
