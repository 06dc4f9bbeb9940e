//! The freeze: connections die in it unseen, and no export lives through it.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::time::{Duration, Instant};

use lambda_flush_e2e::wire::Wire;
use lambda_flush_e2e::{Ended, Rig, stock};
use lambda_testkit::backend::OtlpRequest;
use lambda_testkit::{Backend, SandboxBuilder, Script, ShutdownReason, Status};

/// Longer than the wall time by which the extension knows a thaw, longer than most backends' patience.
const FREEZE: Duration = Duration::from_secs(5);
/// The pool itself never gives a connection up.
const ONE_HOUR_MS: &str = "3600000";
/// The default of `LAMBDA_FLUSH_MAX_BILLED_MS`.
const CAP: Duration = Duration::from_millis(100);

async fn library(setup: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Rig {
    let rig = Rig::start(|builder| setup(builder.timeout(stock::TIMEOUT).freeze(true)));
    rig.await.expect("an environment")
}

async fn invoke(rig: &Rig, event: &str) {
    let outcome = rig.sandbox.invoke(event.to_owned()).await;
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
}

async fn end(rig: Rig) -> Ended {
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    assert!(ended.verdict.is_ok(), "{:?}\n{:#?}", ended.verdict, ended.report.lines);
    assert_eq!(ended.report.trace.count("platform", "not_frozen"), 0);
    ended
}

fn possible_duplicates(ended: &Ended) -> u64 {
    ended.summary().expect("a summary").destinations.iter().map(|it| it.possible_duplicates).sum()
}

/// Spans, of any origin, that the backend received more often than once.
fn received_again(ended: &Ended) -> u64 {
    ended.evidence.deliveries.received.values().map(|times| u64::from(times.saturating_sub(1))).sum()
}

/// Two invocations with a long freeze between them, in which the backend closes what is idle; then a short one.
async fn across_a_closed_connection(rig: Rig, exported_before: usize) {
    let event = r#"{"spans":20,"work_ms":30}"#;
    invoke(&rig, event).await;
    invoke(&rig, event).await;
    assert!(rig.backend.requests().len() >= exported_before, "nothing was exported before the freeze");
    rig.backend.close_idle();
    tokio::time::sleep(FREEZE).await;
    invoke(&rig, event).await;
    invoke(&rig, event).await;
    let ended = end(rig).await;
    assert_eq!((ended.verdict.spans_ended, ended.witnessed_at_backend()), (80, 80));
    assert_eq!(ended.complaints(), [""; 0], "the freeze is nobody's fault");
    assert_eq!((possible_duplicates(&ended), ended.verdict.duplicates, received_again(&ended)), (0, 0, 0));
}

#[tokio::test]
async fn a_connection_that_was_closed_in_the_freeze_surfaces_nowhere() {
    let rig = library(|builder| builder.env("LAMBDA_FLUSH_OTLP_IDLE_MS", ONE_HOUR_MS)).await;
    across_a_closed_connection(rig, 1).await;
}

#[tokio::test]
async fn nor_does_it_without_our_library() {
    let rig = stock::rig(|builder| builder.env("LAMBDA_FLUSH_OTLP_IDLE_MS", ONE_HOUR_MS)).await;
    across_a_closed_connection(rig.expect("an environment"), 1).await;
}

/// The gateway between has forgotten the connection: without the thaw rule the next export would wait for an answer.
async fn across_a_dead_wire(rig: Rig, wire: &Wire) {
    let event = r#"{"spans":20,"work_ms":30}"#;
    invoke(&rig, event).await;
    invoke(&rig, event).await;
    assert!(wire.die() > 0, "nothing was exported before the freeze");
    tokio::time::sleep(FREEZE).await;
    invoke(&rig, event).await;
    invoke(&rig, event).await;
    let ended = end(rig).await;
    assert_eq!((ended.verdict.spans_ended, ended.witnessed_at_backend()), (80, 80));
    assert_eq!(ended.complaints(), [""; 0]);
    assert_eq!((possible_duplicates(&ended), ended.verdict.duplicates, received_again(&ended)), (0, 0, 0));
}

/// A backend behind a wire, and what makes the extension use that.
fn wired() -> (Backend, Wire, impl FnOnce(SandboxBuilder) -> SandboxBuilder) {
    let backend = Backend::start().expect("a backend");
    let wire = Wire::start(backend.address()).expect("a wire");
    let endpoint = wire.endpoint();
    let setup = |builder: SandboxBuilder| {
        builder
            .env("LAMBDA_FLUSH_OTLP_ENDPOINT", endpoint)
            .env("LAMBDA_FLUSH_OTLP_IDLE_MS", ONE_HOUR_MS)
            .timeout(stock::TIMEOUT)
            .freeze(true)
    };
    (backend, wire, setup)
}

#[tokio::test]
async fn nor_does_one_that_died_without_a_word() {
    let (backend, wire, setup) = wired();
    let rig = Rig::start_with(backend, setup).await.expect("an environment");
    across_a_dead_wire(rig, &wire).await;
}

/// A freeze that is too short to be known as one: the connection is not dropped for its age, but found dead.
#[tokio::test]
async fn nor_does_a_connection_that_was_closed_in_a_short_freeze() {
    let rig = library(|builder| builder.env("LAMBDA_FLUSH_OTLP_IDLE_MS", ONE_HOUR_MS)).await;
    let event = r#"{"spans":20,"work_ms":30}"#;
    for _ in 0..5 {
        invoke(&rig, event).await;
        rig.backend.close_idle();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let ended = end(rig).await;
    assert_eq!((ended.verdict.spans_ended, ended.witnessed_at_backend()), (100, 100));
    assert_eq!(ended.complaints(), [""; 0]);
    assert_eq!((possible_duplicates(&ended), ended.verdict.duplicates, received_again(&ended)), (0, 0, 0));
}

/// From the end of an invocation to the beginning of the next.
type Frozen = (Instant, Instant);

/// The requests that arrived whole and whose answer nobody heard: the client had left, or stood still.
fn unheard<'a>(requests: &'a [OtlpRequest], freezes: &[Frozen]) -> Vec<&'a OtlpRequest> {
    let in_a_freeze = |at: Instant| freezes.iter().any(|(from, to)| (*from..*to).contains(&at));
    let is_unheard = |request: &&OtlpRequest| request.answered.is_none_or(|(_, at)| in_a_freeze(at));
    requests.iter().filter(|request| request.received_at.is_some()).filter(is_unheard).collect()
}

/// The backend needs longer than the cap allows: what is under way then is given up, and counted as a possible
/// duplicate. An export that waited through the freeze would take the answer that came in it, and count nothing.
async fn an_export_under_way_at_the_cap(rig: Rig, event: &str) {
    let mut freezes = Vec::new();
    invoke(&rig, event).await;
    rig.backend.set(Script::Delay(CAP * 8));
    for _ in 0..3 {
        invoke(&rig, event).await;
        let from = Instant::now();
        tokio::time::sleep(CAP * 10).await;
        freezes.push((from, Instant::now()));
    }
    rig.backend.set(Script::Healthy);
    tokio::time::sleep(FREEZE).await;
    invoke(&rig, event).await;
    let ended = end(rig).await;
    assert_eq!(ended.verdict.spans_ended, ended.witnessed_at_backend());
    let requests = ended.backend.requests();
    let (unheard, again) = (unheard(&requests, &freezes), received_again(&ended));
    let (items, possible) =
        (unheard.iter().map(|request| request.items as u64).sum::<u64>(), possible_duplicates(&ended));
    println!(
        "{} requests unheard with {items} items, {again} spans again, {possible} counted",
        unheard.len()
    );
    assert!(!unheard.is_empty(), "no export was under way: nothing is shown");
    assert!(again <= possible, "{again} spans were received again, {possible} possible duplicates counted");
    assert!(items <= possible, "{items} items were sent without an answer, {possible} counted");
}

#[tokio::test]
async fn an_export_under_way_at_the_cap_is_given_up_and_counted() {
    let rig = library(|builder| builder).await;
    an_export_under_way_at_the_cap(rig, r#"{"spans":20,"work_ms":10}"#).await;
}

#[tokio::test]
async fn an_export_under_way_at_the_cap_is_given_up_and_counted_without_our_library() {
    let rig = stock::rig(|builder| builder).await.expect("an environment");
    an_export_under_way_at_the_cap(rig, r#"{"spans":20,"work_ms":10}"#).await;
}
