//! The product on AWS's emulator of Lambda Managed Instances. `cargo verify --lane rie` fetches it and sets
//! `LAMBDA_TESTKIT_RIE`.
#![expect(clippy::expect_used, clippy::panic, reason = "all of this target is a test")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lambda_flush_e2e::measured::Sums;
use lambda_flush_e2e::{measured, rig};
use lambda_testkit::backend::{OtlpRequest, OtlpSignal};
use lambda_testkit::rie::{RieError, RieSandbox};
use lambda_testkit::sandbox::free_address;
use lambda_testkit::witness::{self, TALLY_ENV, WITNESS_ENV};
use lambda_testkit::{Backend, Evidence, Status, artifacts, check};

const AT_ONCE: usize = 8;
const SPANS: usize = 250;
/// Longer than the extension's timer, so that it flushes while all of them run.
const WORK: Duration = Duration::from_millis(2_500);
const PATIENCE: Duration = Duration::from_secs(20);
/// What the emulator answers to an invocation that it has no worker for.
const UNAVAILABLE: &[u8] = b"Runtime.Unavailable";

struct OnRie {
    sandbox: RieSandbox,
    backend: Backend,
    witness: PathBuf,
    tally: PathBuf,
    _dir: tempfile::TempDir,
}

/// The product on the emulator, or `None` where there is no emulator or it may not run.
async fn on_rie() -> Option<OnRie> {
    let Some(emulator) = std::env::var_os("LAMBDA_TESTKIT_RIE") else {
        println!("lambda-testkit: skipped: LAMBDA_TESTKIT_RIE is not set");
        return None;
    };
    let dir = tempfile::tempdir().expect("a directory");
    // The function is another user there.
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(dir.path(), open).expect("permissions");
    let (witness, tally) = (dir.path().join("witness"), dir.path().join("tally"));
    let backend = Backend::start().expect("a backend");
    backend.keep_bodies(true);
    let mut builder = RieSandbox::builder(emulator)
        .function(artifacts::bin("lambda-flush-e2e", "witness-function").expect("the function"))
        .extension(rig::extension().expect("the extension"))
        .env(WITNESS_ENV, witness.to_string_lossy())
        .env(TALLY_ENV, tally.to_string_lossy())
        .env("LAMBDA_TESTKIT_FLAVOR", "multi_thread")
        .env("LAMBDA_FLUSH_OTLP_ENDPOINT", backend.endpoint())
        .managed(8);
    for name in ["LAMBDA_FLUSH_OTLP_HTTP_ADDR", "LAMBDA_FLUSH_OTLP_GRPC_ADDR", "LAMBDA_FLUSH_TELEMETRY_ADDR"]
    {
        builder = builder.env(name, free_address().expect("a free port").to_string());
    }
    match builder.start().await {
        Ok(sandbox) => Some(OnRie { sandbox, backend, witness, tally, _dir: dir }),
        Err(RieError::NotPermitted(said)) => {
            println!("lambda-testkit: skipped: {said}");
            None
        }
        Err(fault) => panic!("{fault}"),
    }
}

/// Until `seen` or for [`PATIENCE`]; whether it was.
async fn soon(seen: impl Fn() -> bool) -> bool {
    let until = Instant::now() + PATIENCE;
    while !seen() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    seen()
}

impl OnRie {
    /// One invocation, once a worker of the function is there: the processes have only begun to start.
    async fn invoke(&self, event: &str) -> Status {
        let until = Instant::now() + PATIENCE;
        loop {
            let outcome = match self.sandbox.invoke(event.to_owned()).await {
                Ok(outcome) => outcome,
                Err(fault) => panic!("no answer: {fault}\n{:#?}", self.sandbox.lines()),
            };
            let unavailable = outcome.payload.windows(UNAVAILABLE.len()).any(|text| text == UNAVAILABLE);
            if !unavailable || Instant::now() >= until {
                return outcome.status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// [`AT_ONCE`] invocations at the same time, and what they took together.
    async fn invoke_at_once(&self) -> Duration {
        let event = format!(r#"{{"spans":{SPANS},"work_ms":{}}}"#, WORK.as_millis());
        let invoke = || self.invoke(&event);
        let begun = Instant::now();
        let (a, b, c, d, e, f, g, h) =
            tokio::join!(invoke(), invoke(), invoke(), invoke(), invoke(), invoke(), invoke(), invoke());
        assert_eq!([a, b, c, d, e, f, g, h], [Status::Ok; AT_ONCE]);
        begun.elapsed()
    }

    /// How many spans the backend has taken so far.
    fn delivered(&self) -> usize {
        let requests = self.backend.requests();
        requests.iter().filter(|request| request.is_ok()).map(|request| request.spans.len()).sum()
    }

    async fn end(self) -> Ended {
        let report = self.sandbox.shutdown().await.expect("an end");
        let records = witness::read(&self.witness).expect("a witness").records;
        let lines: Vec<String> = report.lines.into_iter().map(|line| line.text).collect();
        Ended {
            evidence: Evidence::gather(records, &self.backend, lines.iter().map(String::as_str), false),
            tallied: measured::tallied(&self.tally).expect("a tally"),
            delivered: measured::delivered(&self.backend),
            log_records: log_records(&self.backend),
            lines: lines.join("\n"),
        }
    }
}

struct Ended {
    evidence: Evidence,
    tallied: Sums,
    delivered: Sums,
    log_records: usize,
    lines: String,
}

fn log_records(backend: &Backend) -> usize {
    let logs = |request: &&OtlpRequest| request.is_ok() && request.signal == Some(OtlpSignal::Logs);
    backend.requests().iter().filter(logs).map(|request| request.items).sum()
}

#[tokio::test]
async fn eight_invocations_at_the_same_time_are_complete_at_shutdown() {
    let Some(on_rie) = on_rie().await else { return };
    let took = on_rie.invoke_at_once().await;
    assert!(took < WORK * 4, "one after the other would take twice as long: {took:?}");
    let timer = soon(|| on_rie.delivered() >= AT_ONCE * SPANS).await;
    assert!(timer, "{} spans came without SHUTDOWN", on_rie.delivered());
    // The platform's word on it is the only one the extension has: its library says it to nobody else.
    assert_eq!(on_rie.invoke(r#"{"spans":1,"then":"error"}"#).await, Status::Ok);
    let Ended { evidence, tallied, delivered, log_records, lines } = on_rie.end().await;
    let verdict = check(&evidence);
    assert!(verdict.is_ok(), "{verdict:?}\n{lines}");
    assert_eq!((verdict.spans_ended, verdict.duplicates), (AT_ONCE * SPANS + 1, 0));
    let taken = &evidence.deliveries.answered_ok;
    assert!(evidence.witness.iter().all(|record| taken.contains_key(&record.span_id)), "{lines}");
    for (name, tallied) in tallied.iter().filter(|(name, _)| *name != "witness.gauge") {
        assert_eq!(delivered.get(name), Some(tallied), "{name}: {delivered:?}");
    }
    assert_eq!(log_records, AT_ONCE + 1, "{lines}");
    let [summary] = evidence.summaries.as_slice() else { panic!("not one summary: {lines}") };
    assert_eq!(summary.reason, "spindown");
    let cause = summary.cause.as_ref().map(|cause| cause.status.as_str());
    assert_eq!(cause, Some("error"), "the platform's telemetry told of the last invocation: {lines}");
    // With INVOKE among its events the registration would have been refused, and told of.
    assert!(!lines.contains(r#""lambda_flush":"notice""#), "{lines}");
}
