//! The function dies: what had ended is at the backend or in a dead letter, what overflowed is counted (promise P2).
//!
//! A paced run by whichever carrier there is; bursts by the socket. Bursts into the ring are in `bursts.rs`.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::time::Duration;

use lambda_flush_e2e::{Ended, Rig};
use lambda_testkit::{ShutdownReason, Signal, Status};

/// Random instants of one run of the suite. `LAMBDA_FLUSH_KILLS` asks for more.
const KILLS_DEFAULT: u64 = 40;
const TIMEOUT: Duration = Duration::from_secs(20);

async fn killed_after(wait: Duration) -> Ended {
    let rig = Rig::start(|builder| builder.timeout(TIMEOUT)).await.expect("an environment");
    let paced = r#"{"spans":100000,"pace":{"every":100,"sleep_ms":2}}"#;
    let invocation = rig.sandbox.begin(paced);
    rig.until_ended(1, TIMEOUT).await;
    tokio::time::sleep(wait).await;
    rig.sandbox.kill_function(Signal::Kill);
    assert_eq!(invocation.outcome().await.status, Status::Crash);
    rig.end(ShutdownReason::Spindown, true).await.expect("an end")
}

#[tokio::test]
async fn sigkill_at_random_instants_of_a_paced_run_loses_nothing() {
    let kills =
        std::env::var("LAMBDA_FLUSH_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS_DEFAULT);
    let (mut spans, mut overflowed) = (0, 0);
    for kill in 0..kills {
        let wait = Duration::from_micros(fastrand::Rng::with_seed(kill).u64(..150_000));
        let ended = killed_after(wait).await;
        let verdict = &ended.verdict;
        assert!(verdict.is_ok(), "kill {kill}: {verdict:?}");
        assert_eq!(
            verdict.spans_ended,
            ended.witnessed_at_backend() + ended.witnessed_dead() + verdict.overflowed.len(),
            "kill {kill}"
        );
        spans += verdict.spans_ended;
        overflowed += verdict.overflowed.len();
    }
    println!("{kills} kills, {spans} spans ended, 0 lost, {overflowed} overflowed");
    assert_eq!(overflowed, 0, "a paced run fits the carrier");
}

/// 5,000 spans of about 1 KB: more than the smallest credit window (2 MiB) and the library's buffer (1 MiB) hold
/// together, however much this machine's kernel takes into a socket.
const BURST: &str = r#"{"spans":5000,"attributes":32}"#;
const BURST_THAT_HANGS: &str = r#"{"spans":5000,"attributes":32,"then":"hang"}"#;

/// A function without the ring, which a budget this small has no memory for either.
async fn small_window() -> Rig {
    let rig = Rig::start(|builder| {
        builder
            .timeout(TIMEOUT)
            .env("LAMBDA_FLUSH_BUFFER_BYTES_MAX", "4194304")
            .function_env("LAMBDA_FLUSH_CARRIER", "socket")
    })
    .await
    .expect("an environment");
    assert_eq!(rig.sandbox.invoke("{}").await.status, Status::Ok);
    assert!(!rig.has_ring());
    rig
}

#[tokio::test]
async fn a_burst_against_a_stopped_extension_is_counted_exactly() {
    let rig = small_window().await;
    rig.sandbox.stop_extension();
    let mut invocation = rig.sandbox.begin(BURST);
    invocation.response().await.expect("a response, whatever the extension does");
    rig.sandbox.continue_extension();
    assert_eq!(invocation.outcome().await.status, Status::Ok);
    // The next invocation's counters cover all of it.
    assert_eq!(rig.sandbox.invoke("{}").await.status, Status::Ok);
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    let missing = ended.verdict.spans_ended - ended.witnessed_at_backend() - ended.witnessed_dead();
    let function = &ended.summary().expect("a summary").functions[0];
    let dropped: u64 = function.dropped.values().sum();
    println!("5000 ended, {} delivered, {dropped} reported dropped", ended.witnessed_at_backend());
    assert!(dropped > 0, "the burst was meant not to fit");
    assert_eq!(dropped, missing as u64, "{function:?}");
    assert_eq!(function.ended, function.written + dropped);
    assert!(!function.unknown_tail && ended.verdict.ledger_balanced.is_ok());
}

#[tokio::test]
async fn a_burst_ended_by_sigkill_is_reported_as_an_unknown_tail() {
    let rig = small_window().await;
    rig.sandbox.stop_extension();
    let invocation = rig.sandbox.begin(BURST_THAT_HANGS);
    assert_eq!(rig.until_ended(5_000, TIMEOUT).await, 5_000);
    rig.sandbox.kill_function(Signal::Kill);
    rig.sandbox.continue_extension();
    assert_eq!(invocation.outcome().await.status, Status::Crash);
    let ended = rig.end(ShutdownReason::Spindown, true).await.expect("an end");
    let function = &ended.summary().expect("a summary").functions[0];
    let missing = ended.verdict.spans_ended - ended.witnessed_at_backend() - ended.witnessed_dead();
    println!("5000 ended, {} delivered, {missing} are the unknown tail", ended.witnessed_at_backend());
    assert!(function.unknown_tail, "{function:?}");
    assert!(missing > 0 && ended.witnessed_at_backend() > 0);
    assert!(ended.verdict.ledger_balanced.is_ok());
}
