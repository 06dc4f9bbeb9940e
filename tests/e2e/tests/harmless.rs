//! Whatever is wrong with us, the function runs, and no invocation is longer than its work plus the billed cap
//! (promise P4).
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::time::Duration;

use lambda_flush_e2e::Rig;
use lambda_testkit::sandbox::Fault;
use lambda_testkit::{Outcome, SandboxBuilder, Script, ShutdownReason, Status};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The default of `LAMBDA_FLUSH_MAX_BILLED_MS`.
const CAP: Duration = Duration::from_millis(100);
/// What a busy machine may add. A rule that is broken holds an invocation to its deadline, 10 s away.
const NOISE: Duration = Duration::from_millis(400);

fn held(outcome: &Outcome) -> Duration {
    outcome.duration - outcome.response_time.expect("an answer")
}

async fn ten_invocations(rig: &Rig) {
    for number in 0..10 {
        let outcome = rig.sandbox.invoke(r#"{"spans":50,"work_ms":5}"#).await;
        assert_eq!(outcome.status, Status::Ok, "invocation {number}: {outcome:?}");
        assert!(held(&outcome) < CAP + NOISE, "invocation {number} was held for {:?}", held(&outcome));
    }
}

async fn rig(setup: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Rig {
    Rig::start(|builder| setup(builder.timeout(TIMEOUT))).await.expect("an environment")
}

#[tokio::test]
async fn a_wrong_configuration_is_reported_and_everything_is_dead_lettered() {
    let rig = rig(|builder| {
        builder
            .env("LAMBDA_FLUSH_OTLP_ENDPOINT", "htp:/nowhere")
            .env("LAMBDA_FLUSH_STRATEGY", "whenever")
            .env("LAMBDA_FLUSH_MAX_BILLED_MS", "a lot")
    })
    .await;
    ten_invocations(&rig).await;
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    assert_eq!(ended.witnessed_dead(), 500);
    let lines: Vec<&str> =
        ended.report.extension_stdout().filter(|line| line.contains("\"notice\"")).collect();
    for variable in ["LAMBDA_FLUSH_OTLP_ENDPOINT", "LAMBDA_FLUSH_STRATEGY", "LAMBDA_FLUSH_MAX_BILLED_MS"] {
        assert_eq!(lines.iter().filter(|line| line.contains(variable)).count(), 1, "{variable} in {lines:?}");
    }
}

#[tokio::test]
async fn a_backend_that_hangs_costs_no_more_than_the_cap_and_everything_is_dead_lettered() {
    let rig = rig(|builder| builder).await;
    rig.backend.set(Script::Hang);
    ten_invocations(&rig).await;
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    assert_eq!(ended.witnessed_dead(), 500);
    assert!(!ended.report.extensions[0].killed, "gone before the deadline");
}

#[tokio::test]
async fn a_backend_that_refuses_connections_costs_no_more_than_the_cap() {
    // Port 9 of loopback: nobody listens.
    let rig = rig(|builder| builder.env("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://127.0.0.1:9")).await;
    ten_invocations(&rig).await;
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    assert_eq!((ended.witnessed_dead(), ended.verdict.duplicates), (500, 0));
}

#[tokio::test]
async fn the_extensions_own_loop_goes_on_when_lambda_extensions_ends() {
    for fault in [Fault::Status500, Fault::GarbageJson, Fault::UnknownEvent, Fault::CloseConnection] {
        let rig = rig(|builder| builder.fault(3, fault)).await;
        ten_invocations(&rig).await;
        let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
        assert!(ended.verdict.is_ok(), "{fault:?}: {:?}", ended.verdict);
        assert_eq!(ended.witnessed_at_backend(), 500, "{fault:?}");
        let told =
            ended.report.extension_stdout().any(|line| line.contains("the extension's own loop goes on"));
        assert!(told, "{fault:?} did not end lambda-extension's loop");
    }
}

/// After the first bad answer it is our own loop that gets the others, one after another.
#[tokio::test]
async fn the_extensions_own_loop_survives_every_answer() {
    let faults = [Fault::GarbageJson, Fault::Status500, Fault::UnknownEvent, Fault::CloseConnection];
    let rig = rig(|builder| builder).await;
    for number in 0..3 {
        faults.iter().for_each(|fault| rig.sandbox.inject(*fault));
        let outcome = rig.sandbox.invoke(r#"{"spans":50}"#).await;
        assert_eq!(outcome.status, Status::Ok, "invocation {number}: {outcome:?}");
    }
    assert_eq!(rig.sandbox.trace().count("platform", "fault"), 3 * faults.len(), "not every fault was met");
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    let extension = &ended.report.extensions[0];
    assert!(extension.seen_shutdown && extension.exit.code == Some(0), "{extension:?}");
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    assert_eq!(ended.witnessed_at_backend(), 150);
}

/// "Backend healthy but 200 ms slow": an export can't end within the cap, so after the first try nothing is sent in
/// billed time.
#[tokio::test]
async fn a_slow_backend_duplicates_one_batch_at_most_and_gets_everything() {
    let rig = rig(|builder| builder).await;
    rig.backend.set(Script::Delay(Duration::from_millis(200)));
    for number in 0..30 {
        let outcome = rig.sandbox.invoke(r#"{"spans":20,"work_ms":5}"#).await;
        assert_eq!(outcome.status, Status::Ok);
        assert!(held(&outcome) < CAP + NOISE, "invocation {number} was held for {:?}", held(&outcome));
    }
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    assert_eq!(ended.witnessed_at_backend(), 600);
    let received_twice = ended.evidence.deliveries.received.values().filter(|times| **times > 1).count();
    // One invocation's batch: 20 spans, the invocation's own and three of its parts.
    assert!(received_twice <= 24, "{received_twice} spans were sent more than once");
    // Of any signal: a request that arrived whole and was cut off before its answer is sent again.
    let requests = ended.backend.requests();
    let cut = requests.iter().filter(|request| request.received_at.is_some() && !request.is_ok()).count();
    assert!(cut <= 1, "{cut} batches were sent and cut off");
    println!("30 invocations, 600 delivered, {received_twice} spans sent twice, {cut} batches cut off");
}
