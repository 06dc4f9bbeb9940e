//! The Telemetry API beside the product: it is subscribed to in time, what it tells is used, and what it withholds
//! costs nothing.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use std::time::Duration;

use lambda_flush_e2e::{Ended, Rig, stock};
use lambda_testkit::{Outcome, Sandbox, SandboxBuilder, ShutdownReason, Status, TelemetryScript};
use serde_json::json;

const EXTENSION: &str = "extension:lambda-flush-extension";
/// The default of `LAMBDA_FLUSH_MAX_BILLED_MS`.
const CAP: Duration = Duration::from_millis(100);
/// What a busy machine may add; a broken rule holds an invocation to its deadline, 30 s away.
const NOISE: Duration = Duration::from_millis(400);

/// How long the environment was held after the function's answer.
fn held(outcome: &Outcome) -> Duration {
    outcome.duration - outcome.response_time.expect("an answer")
}

async fn ten_invocations(sandbox: &Sandbox, event: &str) -> Vec<Duration> {
    let mut all = Vec::new();
    for number in 0..10 {
        let outcome = sandbox.invoke(event.to_owned()).await;
        assert_eq!(outcome.status, Status::Ok, "invocation {number}: {outcome:?}");
        all.push(held(&outcome));
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    all
}

/// The witness function, with our library.
async fn library(setup: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Rig {
    let rig = Rig::start(|builder| setup(builder.timeout(stock::TIMEOUT).freeze(true)));
    rig.await.expect("an environment")
}

async fn end(rig: Rig) -> Ended {
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    assert!(ended.verdict.is_ok(), "{:?}\n{:#?}", ended.verdict, ended.report.lines);
    ended
}

#[tokio::test]
async fn it_is_subscribed_before_the_first_next() {
    let rig = library(|builder| builder.telemetry(TelemetryScript::Good)).await;
    let trace = rig.sandbox.trace();
    let subscribed = trace.find(EXTENSION, "telemetry_subscribed").expect("a subscription");
    assert_eq!(subscribed.detail["types"], json!(["platform"]));
    let advertised = rig.sandbox.variable("LAMBDA_FLUSH_TELEMETRY_ADDR").expect("an address");
    assert!(advertised.ends_with(&format!(":{}", subscribed.detail["port"])), "{advertised}");
    ten_invocations(&rig.sandbox, r#"{"spans":5,"work_ms":40}"#).await;
    let ended = end(rig).await;
    assert_eq!(ended.complaints(), [""; 0]);
    assert_eq!(ended.report.trace.count("platform", "telemetry_dropped"), 0, "no record was given up");
    assert!(ended.report.trace.count("platform", "telemetry_delivered") >= 10);
}

/// The library says itself when an invocation begins and ends: nothing of the Telemetry API may make it slower.
#[tokio::test]
async fn with_the_library_nothing_of_it_costs_anything() {
    let scripts = [
        TelemetryScript::Good,
        TelemetryScript::Silent,
        TelemetryScript::Late(Duration::from_millis(200)),
        TelemetryScript::Late(Duration::from_secs(3)),
        TelemetryScript::Malformed,
        TelemetryScript::Forbidden,
        TelemetryScript::LostDone,
    ];
    for script in scripts {
        let rig = library(|builder| builder.telemetry(script)).await;
        let held = ten_invocations(&rig.sandbox, r#"{"spans":20,"work_ms":5}"#).await;
        println!("{script:?}: held for {held:.0?}");
        assert!(held.iter().all(|held| *held < CAP + NOISE), "{script:?}: {held:?}");
        let ended = end(rig).await;
        assert_eq!((ended.witnessed_at_backend(), ended.verdict.duplicates), (200, 0), "{script:?}");
        // A refusal is the platform's right, and nothing that a user can change.
        assert_eq!(ended.complaints(), [""; 0], "{script:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_off_subscribes_to_nothing() {
    let off = |builder: SandboxBuilder| builder.env("LAMBDA_FLUSH_TELEMETRY_ADDR", "off");
    let rig = library(|builder| off(builder).telemetry(TelemetryScript::Good)).await;
    let held = ten_invocations(&rig.sandbox, r#"{"spans":20}"#).await;
    assert!(held.iter().all(|held| *held < CAP + NOISE), "{held:?}");
    let ended = end(rig).await;
    assert_eq!(ended.report.trace.count(EXTENSION, "telemetry_subscribed"), 0);
    assert_eq!(ended.witnessed_at_backend(), 200);
}

/// Records stop in mid-life and come back: at most one invocation waits for what does not come, and it does not wait
/// for the timeout.
#[tokio::test]
async fn trust_that_is_lost_costs_one_invocation_at_most() {
    let rig = stock::rig(|builder| builder.telemetry(TelemetryScript::Good)).await.expect("an environment");
    let event = r#"{"spans":5,"work_ms":30}"#;
    ten_invocations(&rig.sandbox, event).await;
    for script in [TelemetryScript::LostDone, TelemetryScript::Good, TelemetryScript::Silent] {
        rig.sandbox.telemetry(script);
        let held = ten_invocations(&rig.sandbox, event).await;
        println!("{script:?}: held for {held:.0?}");
        let long = held.iter().filter(|held| **held >= CAP + NOISE).count();
        assert!(long <= 1, "{script:?}: {held:?}");
        assert!(held.iter().all(|held| *held < stock::TIMEOUT / 3), "{script:?}: {held:?}");
    }
    let ended = end(rig).await;
    assert_eq!(ended.witnessed_at_backend(), 200);
}

/// Without our library only the platform knows why an invocation ended.
#[tokio::test]
async fn the_cause_of_death_is_in_the_summary() {
    let causes = [
        ("hang", Status::Timeout, "timeout", None),
        ("exit", Status::Crash, "error", Some("Runtime.ExitError")),
    ];
    for (then, status, told, error_type) in causes {
        let rig =
            stock::rig(|builder| builder.telemetry(TelemetryScript::Good).timeout(Duration::from_secs(2)));
        let rig = rig.await.expect("an environment");
        let event = format!(r#"{{"spans":5,"work_ms":300,"then":"{then}"}}"#);
        let outcome = rig.sandbox.invoke(event).await;
        assert_eq!(outcome.status, status);
        let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
        assert!(ended.verdict.is_ok(), "{then}: {:?}", ended.verdict);
        assert_eq!(ended.witnessed_at_backend() + ended.witnessed_dead(), 5, "{then}");
        let cause = ended.summary().and_then(|summary| summary.cause.clone());
        let cause = cause.unwrap_or_else(|| panic!("{then}: no cause in {:#?}", ended.report.lines));
        assert_eq!((cause.request_id.as_str(), cause.status.as_str()), (outcome.request_id.as_str(), told));
        assert_eq!(cause.error_type.as_deref(), error_type, "{then}");
    }
}
