//! Bursts into the ring while the extension stands still, and SIGKILL in the middle: what fits arrives, what does not is
//! counted to the span (promise P2).
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::time::{Duration, Instant};

use fastrand::Rng;
use lambda_flush_e2e::{Ended, Rig};
use lambda_testkit::{ShutdownReason, Signal, Status};

/// Kills of one run of the suite, over both bursts. `LAMBDA_FLUSH_KILLS` asks for more.
const KILLS_DEFAULT: u64 = 40;
/// Spans that the ring has room for, and spans that it has not.
const FIT: usize = 5_000;
const OVERFLOW: usize = 100_000;
/// Kills of the burst that fits come so long after its last span, at the most: they are random instants as well.
const AFTER_MAX: Duration = Duration::from_millis(5);
const TIMEOUT: Duration = Duration::from_secs(60);

/// Half of the suite's kills.
fn kills() -> u64 {
    let asked = std::env::var("LAMBDA_FLUSH_KILLS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(KILLS_DEFAULT).div_ceil(2)
}

/// An environment whose extension stands still. Only spans are counted: a metric that overflows is no span.
async fn stopped() -> Rig {
    let rig = Rig::start(|builder| {
        let builder = builder.timeout(TIMEOUT).function_env("LAMBDA_FLUSH_CARRIER", "ring");
        builder.function_env("OTEL_METRICS_EXPORTER", "none")
    })
    .await
    .expect("an environment");
    assert_eq!(rig.sandbox.invoke("{}").await.status, Status::Ok);
    assert!(rig.has_ring(), "{:#?}", rig.sandbox.lines());
    rig.sandbox.stop_extension();
    rig
}

/// SIGKILL at an instant of the burst that is chosen by a number of spans, and a little time.
async fn killed(burst: usize, random: &mut Rng) -> Ended {
    let rig = stopped().await;
    let invocation = rig.sandbox.begin(format!(r#"{{"spans":{burst},"then":"hang"}}"#));
    let (after, pause) = (random.usize(..=burst), AFTER_MAX.mul_f64(random.f64()));
    assert!(rig.until_ended(after, TIMEOUT).await >= after, "the burst stands still");
    let until = Instant::now() + pause;
    while Instant::now() < until {
        // A timer of tokio has milliseconds.
        tokio::task::yield_now().await;
    }
    rig.sandbox.kill_function(Signal::Kill);
    rig.sandbox.continue_extension();
    assert_eq!(invocation.outcome().await.status, Status::Crash);
    rig.end(ShutdownReason::Spindown, true).await.expect("an end")
}

/// What the function's processes say they dropped, and what of the witness is nowhere.
fn demand_counted(ended: &Ended) -> (u64, u64) {
    let missing = ended.verdict.spans_ended - ended.witnessed_at_backend() - ended.witnessed_dead();
    let summary = ended.summary().expect("a summary");
    let dropped = summary.functions.iter().flat_map(|function| function.dropped.values()).sum();
    assert!(summary.functions.iter().all(|function| !function.unknown_tail), "{:?}", summary.functions);
    assert!(ended.verdict.ledger_balanced.is_ok(), "{:?}", ended.verdict.ledger_balanced);
    assert_eq!(ended.verdict.faults, [""; 0]);
    let by_extension: u64 = summary.destinations.iter().flat_map(|it| it.dropped.values()).sum();
    assert_eq!(by_extension, 0, "the extension took it and lost it: {summary:?}");
    (dropped, u64::try_from(missing).expect("a count"))
}

#[tokio::test]
async fn every_span_of_a_burst_that_fits_outlives_a_sigkill() {
    let mut spans = 0;
    for kill in 0..kills() {
        let ended = killed(FIT, &mut Rng::with_seed(kill)).await;
        let (dropped, missing) = demand_counted(&ended);
        assert_eq!(missing, 0, "kill {kill}: {:?}", ended.summary());
        // One that had ended and was not yet written when the signal came.
        assert!(dropped <= 1, "kill {kill}: {dropped} reported dropped, none is missing");
        spans += ended.verdict.spans_ended;
    }
    println!("{} kills, {spans} spans ended, 0 lost", kills());
}

#[tokio::test]
async fn what_overflows_before_a_sigkill_is_counted_to_the_span() {
    let (mut spans, mut overflowed, mut in_flight) = (0, 0, 0);
    for kill in 0..kills() {
        let ended = killed(OVERFLOW, &mut Rng::with_seed(1_000_000 + kill)).await;
        let (dropped, missing) = demand_counted(&ended);
        assert!(dropped.abs_diff(missing) <= 1, "kill {kill}: {dropped} reported, {missing} are missing");
        spans += ended.verdict.spans_ended;
        overflowed += missing;
        in_flight += dropped.abs_diff(missing);
    }
    println!(
        "{} kills, {spans} spans ended, {overflowed} overflowed and reported, {in_flight} in flight",
        kills()
    );
    assert!(overflowed > 0, "no burst was meant to fit");
}

#[tokio::test]
async fn what_overflows_and_lives_on_is_counted_exactly() {
    let rig = stopped().await;
    let mut invocation = rig.sandbox.begin(format!(r#"{{"spans":{OVERFLOW}}}"#));
    invocation.response().await.expect("a response, whatever the extension does");
    rig.sandbox.continue_extension();
    assert_eq!(invocation.outcome().await.status, Status::Ok);
    // The library goes on with the ring that had been full.
    assert_eq!(rig.sandbox.invoke(r#"{"spans":100}"#).await.status, Status::Ok);
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    let (dropped, missing) = demand_counted(&ended);
    println!("{OVERFLOW} ended, {} delivered, {dropped} reported dropped", ended.witnessed_at_backend());
    assert!(dropped > 0, "the burst was meant not to fit");
    // The invocation's own span, which the witness does not know, came when there was no room.
    assert!((missing..=missing + 1).contains(&dropped), "{dropped} reported, {missing} are missing");
    let last = &ended.evidence.witness[OVERFLOW..];
    let arrived = |span| ended.evidence.deliveries.answered_ok.contains_key(span);
    assert!(last.iter().all(|record| arrived(&record.span_id)), "the ring did not recover");
}
