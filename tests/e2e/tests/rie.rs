//! The product under AWS's own emulator. `cargo verify --lane rie` fetches it and sets `LAMBDA_TESTKIT_RIE`.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "all of this target is a test"
)]

#[path = "rie/stock.rs"]
mod stock;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lambda_flush_e2e::measured::Sums;
use lambda_flush_e2e::{measured, rig};
use lambda_testkit::rie::{RieError, RieSandbox};
use lambda_testkit::witness::{self, TALLY_ENV, WITNESS_ENV};
use lambda_testkit::{Backend, Evidence, Script, Status, Verdict, artifacts, check};

const SPANS: usize = 2_000;
const TIMEOUT: Duration = Duration::from_secs(2);

struct OnRie {
    sandbox: RieSandbox,
    backend: Backend,
    witness: PathBuf,
    tally: PathBuf,
    _dir: tempfile::TempDir,
}

/// The product on the emulator, or `None` where there is no emulator or it may not run.
async fn on_rie(strategy: &str) -> Option<OnRie> {
    let Some(emulator) = std::env::var_os("LAMBDA_TESTKIT_RIE") else {
        println!("lambda-testkit: skipped: LAMBDA_TESTKIT_RIE is not set");
        return None;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let witness = dir.path().join("witness");
    let tally = dir.path().join("tally");
    let backend = Backend::start().expect("a backend");
    backend.keep_bodies(true);
    let sandbox = RieSandbox::builder(emulator)
        .function(artifacts::bin("lambda-flush-e2e", "witness-function").expect("the function"))
        .extension(rig::extension().expect("the extension"))
        .env(WITNESS_ENV, witness.to_string_lossy())
        .env(TALLY_ENV, tally.to_string_lossy())
        .env("LAMBDA_FLUSH_OTLP_ENDPOINT", backend.endpoint())
        .env("LAMBDA_FLUSH_STRATEGY", strategy)
        .timeout(TIMEOUT)
        .start()
        .await;
    match sandbox {
        Ok(sandbox) => Some(OnRie { sandbox, backend, witness, tally, _dir: dir }),
        Err(RieError::NotPermitted(said)) => {
            println!("lambda-testkit: skipped: {said}");
            None
        }
        Err(fault) => panic!("{fault}"),
    }
}

impl OnRie {
    async fn invoke(&self, then: &str) -> Status {
        let event = format!(r#"{{"spans":{SPANS},"then":"{then}"}}"#);
        self.sandbox.invoke(event).await.expect("an answer").status
    }

    async fn end(self) -> Ended {
        let report = self.sandbox.shutdown().await.expect("an end");
        let records = witness::read(&self.witness).expect("a witness").records;
        let lines: Vec<String> = report.lines.into_iter().map(|line| line.text).collect();
        let evidence = Evidence::gather(records, &self.backend, lines.iter().map(String::as_str), false);
        Ended {
            verdict: check(&evidence),
            evidence,
            lines: lines.join("\n"),
            tallied: measured::tallied(&self.tally).expect("a tally"),
            delivered: measured::delivered(&self.backend),
        }
    }
}

struct Ended {
    verdict: Verdict,
    evidence: Evidence,
    lines: String,
    tallied: Sums,
    delivered: Sums,
}

/// Every witnessed span is at the backend, from as many environments as `summaries`; and so is every sum, unless the
/// function crashed: then up to the last second's measurements died with it.
async fn demand_everything(on_rie: OnRie, invocations: usize, summaries: usize, crashed: bool) {
    let Ended { verdict, evidence, lines, tallied, delivered } = on_rie.end().await;
    assert!(verdict.is_ok(), "{verdict:?}\n{lines}");
    assert_eq!(verdict.spans_ended, invocations * SPANS);
    let taken = &evidence.deliveries.answered_ok;
    assert!(evidence.witness.iter().all(|record| taken.contains_key(&record.span_id)));
    assert_eq!(evidence.summaries.len(), summaries, "{lines}");
    assert_eq!(verdict.duplicates, 0);
    assert_eq!(tallied["witness.counter"], i64::try_from(invocations * SPANS).expect("small"));
    for (name, tallied) in tallied.iter().filter(|_| !crashed) {
        assert_eq!(delivered.get(name), Some(tallied), "{name}: {delivered:?}");
    }
}

#[tokio::test]
async fn two_invocations_and_the_end() {
    let Some(on_rie) = on_rie("end").await else { return };
    for _ in 0..2 {
        assert_eq!(on_rie.invoke("ok").await, Status::Ok);
    }
    demand_everything(on_rie, 2, 1, false).await;
}

#[tokio::test]
async fn errors_and_panics() {
    let Some(on_rie) = on_rie("end").await else { return };
    for then in ["error", "panic"] {
        // The emulator does not tell an error answer from a good one.
        assert_eq!(on_rie.invoke(then).await, Status::Ok, "{then}");
    }
    demand_everything(on_rie, 2, 1, false).await;
}

#[tokio::test]
async fn a_timeout_and_another_invocation() {
    let Some(on_rie) = on_rie("end").await else { return };
    assert_eq!(on_rie.invoke("hang").await, Status::Timeout);
    assert_eq!(on_rie.invoke("ok").await, Status::Ok);
    demand_everything(on_rie, 2, 2, false).await;
}

/// The client gives up, the handler does not; then the environment ends.
#[tokio::test]
async fn sigterm_while_the_handler_blocks_its_only_thread() {
    let Some(on_rie) = on_rie("end").await else { return };
    let event = format!(r#"{{"spans":{SPANS},"block_ms":15000}}"#);
    let patience = Duration::from_millis(1_200);
    tokio::time::timeout(patience, on_rie.sandbox.invoke(event)).await.expect_err("it blocks");
    demand_everything(on_rie, 1, 1, false).await;
}

/// The function's process in this environment, by its executable and its witness file.
fn pid_of_function(witness: &Path) -> Option<String> {
    let witness = witness.to_string_lossy().into_owned();
    let is_ours = |entry: &Path| {
        let exe = std::fs::read_link(entry.join("exe")).is_ok_and(|exe| exe.ends_with("witness-function"));
        let environ = std::fs::read(entry.join("environ")).unwrap_or_default();
        exe && String::from_utf8_lossy(&environ).contains(&witness)
    };
    let mut processes = std::fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    processes.find(|entry| is_ours(entry))?.file_name()?.to_str().map(str::to_owned)
}

#[tokio::test]
async fn sigkill_in_mid_invocation() {
    let Some(on_rie) = on_rie("end").await else { return };
    let witness = on_rie.witness.clone();
    let killer = tokio::spawn(async move {
        while witness::read(&witness).map_or(0, |contents| contents.records.len()) < SPANS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let pid = pid_of_function(&witness).expect("the function runs");
        std::process::Command::new("kill").args(["-9", &pid]).status().expect("kill");
    });
    let event = format!(r#"{{"spans":{SPANS},"then":"hang"}}"#);
    let answer = on_rie.sandbox.invoke(event).await.expect("an answer");
    killer.await.expect("it was killed");
    assert_eq!(answer.status, Status::Crash);
    demand_everything(on_rie, 1, 1, true).await;
}

#[tokio::test]
async fn a_crash_and_another_invocation() {
    let Some(on_rie) = on_rie("end").await else { return };
    assert_eq!(on_rie.invoke("exit").await, Status::Crash);
    assert_eq!(on_rie.invoke("ok").await, Status::Ok);
    demand_everything(on_rie, 2, 2, true).await;
}

#[tokio::test]
async fn a_backend_that_hangs_at_the_end_leaves_dead_letters() {
    let Some(on_rie) = on_rie("shutdown").await else { return };
    on_rie.backend.set(Script::Hang);
    assert_eq!(on_rie.invoke("ok").await, Status::Ok);
    let Ended { verdict, evidence, lines, .. } = on_rie.end().await;
    assert!(verdict.is_ok(), "{verdict:?}\n{lines}");
    let dead: std::collections::HashSet<_> = evidence.dead_letters.spans().collect();
    assert!(
        evidence.witness.len() == SPANS
            && evidence.witness.iter().all(|record| dead.contains(&record.span_id))
    );
}
