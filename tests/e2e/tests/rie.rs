//! The product under AWS's own emulator. `cargo verify --lane rie` fetches it and sets `LAMBDA_TESTKIT_RIE`.
#![expect(clippy::expect_used, clippy::panic, reason = "all of this target is a test")]

use std::path::PathBuf;
use std::time::Duration;

use lambda_flush_e2e::rig;
use lambda_testkit::rie::{RieError, RieSandbox};
use lambda_testkit::witness::{self, WITNESS_ENV};
use lambda_testkit::{Backend, Evidence, Script, Status, Verdict, artifacts, check};

const SPANS: usize = 2_000;
const TIMEOUT: Duration = Duration::from_secs(2);

struct OnRie {
    sandbox: RieSandbox,
    backend: Backend,
    witness: PathBuf,
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
    let backend = Backend::start().expect("a backend");
    let sandbox = RieSandbox::builder(emulator)
        .function(artifacts::bin("lambda-flush-e2e", "witness-function").expect("the function"))
        .extension(rig::extension().expect("the extension"))
        .env(WITNESS_ENV, witness.to_string_lossy())
        .env("LAMBDA_FLUSH_OTLP_ENDPOINT", backend.endpoint())
        .env("LAMBDA_FLUSH_STRATEGY", strategy)
        .timeout(TIMEOUT)
        .start()
        .await;
    match sandbox {
        Ok(sandbox) => Some(OnRie { sandbox, backend, witness, _dir: dir }),
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

    async fn end(self) -> (Verdict, Evidence, Vec<String>) {
        let report = self.sandbox.shutdown().await.expect("an end");
        let records = witness::read(&self.witness).expect("a witness").records;
        let lines: Vec<String> = report.lines.into_iter().map(|line| line.text).collect();
        let evidence = Evidence::gather(records, &self.backend, lines.iter().map(String::as_str), false);
        (check(&evidence), evidence, lines)
    }
}

/// Every witnessed span is at the backend, in as many environments as `summaries`.
async fn demand_everything(on_rie: OnRie, invocations: usize, summaries: usize) {
    let (verdict, evidence, lines) = on_rie.end().await;
    assert!(verdict.is_ok(), "{verdict:?}\n{}", lines.join("\n"));
    assert_eq!(verdict.spans_ended, invocations * SPANS);
    let taken = &evidence.deliveries.answered_ok;
    assert!(evidence.witness.iter().all(|record| taken.contains_key(&record.span_id)));
    assert_eq!(evidence.summaries.len(), summaries, "{}", lines.join("\n"));
    assert_eq!(verdict.duplicates, 0);
}

#[tokio::test]
async fn two_invocations_and_the_end() {
    let Some(on_rie) = on_rie("end").await else { return };
    for _ in 0..2 {
        assert_eq!(on_rie.invoke("ok").await, Status::Ok);
    }
    demand_everything(on_rie, 2, 1).await;
}

#[tokio::test]
async fn errors_and_panics() {
    let Some(on_rie) = on_rie("end").await else { return };
    for then in ["error", "panic"] {
        // The emulator does not tell an error answer from a good one.
        assert_eq!(on_rie.invoke(then).await, Status::Ok, "{then}");
    }
    demand_everything(on_rie, 2, 1).await;
}

#[tokio::test]
async fn a_timeout_and_another_invocation() {
    let Some(on_rie) = on_rie("end").await else { return };
    assert_eq!(on_rie.invoke("hang").await, Status::Timeout);
    assert_eq!(on_rie.invoke("ok").await, Status::Ok);
    demand_everything(on_rie, 2, 2).await;
}

#[tokio::test]
async fn a_crash_and_another_invocation() {
    let Some(on_rie) = on_rie("end").await else { return };
    assert_eq!(on_rie.invoke("exit").await, Status::Crash);
    assert_eq!(on_rie.invoke("ok").await, Status::Ok);
    demand_everything(on_rie, 2, 2).await;
}

#[tokio::test]
async fn a_backend_that_hangs_at_the_end_leaves_dead_letters() {
    let Some(on_rie) = on_rie("shutdown").await else { return };
    on_rie.backend.set(Script::Hang);
    assert_eq!(on_rie.invoke("ok").await, Status::Ok);
    let (verdict, evidence, lines) = on_rie.end().await;
    assert!(verdict.is_ok(), "{verdict:?}\n{}", lines.join("\n"));
    let dead: std::collections::HashSet<_> = evidence.dead_letters.spans().collect();
    assert!(
        evidence.witness.len() == SPANS
            && evidence.witness.iter().all(|record| dead.contains(&record.span_id))
    );
}
