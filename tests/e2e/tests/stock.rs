//! A function with a stock SDK and without our library: whatever the Telemetry API does, no invocation is prolonged
//! noticeably and nothing is lost.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::time::Duration;

use lambda_flush_e2e::{Ended, Rig, stock};
use lambda_testkit::{Sandbox, ShutdownReason, Status, TelemetryScript};

/// No invocation may be longer than this, from its beginning to everyone's `next`. A rule that is broken holds one to
/// the function's timeout, 30 s away.
const LONGEST: Duration = Duration::from_secs(1);
const INVOCATIONS: usize = 6;
const SPANS: usize = 10;
/// Between invocations, frozen. The longest is a thaw by the extension's own rule.
const GAPS: [Duration; INVOCATIONS] = [
    Duration::from_millis(20),
    Duration::from_millis(150),
    Duration::from_millis(700),
    Duration::from_millis(50),
    Duration::from_millis(2_300),
    Duration::from_millis(150),
];

/// Invokes with gaps. How long each invocation took.
async fn invoke(sandbox: &Sandbox, event: &str, gaps: &[Duration]) -> Vec<Duration> {
    let mut durations = Vec::new();
    for (number, gap) in gaps.iter().enumerate() {
        let outcome = sandbox.invoke(event.to_owned()).await;
        assert_eq!(outcome.status, Status::Ok, "invocation {number}: {outcome:?}");
        durations.push(outcome.duration);
        tokio::time::sleep(*gap).await;
    }
    durations
}

/// The longest invocation of the function alone: what this machine adds, now.
async fn control() -> Duration {
    let sandbox = stock::control().await.expect("a control");
    let durations = invoke(&sandbox, "{}", &[Duration::from_millis(20); INVOCATIONS]).await;
    durations.into_iter().max().unwrap_or_default()
}

async fn end(rig: Rig) -> Ended {
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    assert!(ended.verdict.is_ok(), "{:?}\n{:#?}", ended.verdict, ended.report.lines);
    assert!(!ended.report.extensions[0].killed, "gone before the deadline");
    ended
}

async fn under(script: TelemetryScript) {
    let control = control().await;
    let rig = stock::rig(|builder| builder.telemetry(script)).await.expect("an environment");
    let event = format!(r#"{{"spans":{SPANS},"work_ms":20}}"#);
    let durations = invoke(&rig.sandbox, &event, &GAPS).await;
    println!("{script:?}: {durations:.0?}; control {control:.0?}");
    let longest = durations.iter().max().expect("invocations");
    assert!(*longest < LONGEST + control, "{durations:?}, alone {control:?}");
    let ended = end(rig).await;
    let delivered = (ended.verdict.spans_ended, ended.witnessed_at_backend(), ended.verdict.duplicates);
    assert_eq!(delivered, (INVOCATIONS * SPANS, INVOCATIONS * SPANS, 0), "{:#?}", ended.report.lines);
    let doors = &ended.summary().expect("a summary").doors;
    assert!(doors.accepted >= (INVOCATIONS * SPANS) as u64, "{doors:?}");
}

#[tokio::test]
async fn the_telemetry_api_works() {
    under(TelemetryScript::Good).await;
}

#[tokio::test]
async fn the_telemetry_api_is_silent() {
    under(TelemetryScript::Silent).await;
}

#[tokio::test]
async fn the_telemetry_api_is_late() {
    under(TelemetryScript::Late(Duration::from_millis(200))).await;
}

#[tokio::test]
async fn the_telemetry_api_is_very_late() {
    under(TelemetryScript::Late(Duration::from_secs(3))).await;
}

#[tokio::test]
async fn the_telemetry_api_sends_nonsense() {
    under(TelemetryScript::Malformed).await;
}

#[tokio::test]
async fn the_telemetry_api_refuses() {
    under(TelemetryScript::Forbidden).await;
}

#[tokio::test]
async fn there_is_no_telemetry_api() {
    under(TelemetryScript::NotSupported).await;
}

#[tokio::test]
async fn the_telemetry_api_never_says_that_the_runtime_is_done() {
    under(TelemetryScript::LostDone).await;
}
