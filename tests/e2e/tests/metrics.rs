//! Metrics: the sums at the backend are those that the function has tallied for itself, however it ends (promise P2).
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::time::{Duration, Instant};

use lambda_flush_e2e::measured::{Sums, delivered};
use lambda_flush_e2e::proxy::Proxy;
use lambda_flush_e2e::{Ended, Rig};
use lambda_testkit::{SandboxBuilder, ShutdownReason, Signal, Status};

const TIMEOUT: Duration = Duration::from_secs(20);

async fn rig(setup: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Rig {
    let rig = Rig::start(|builder| setup(builder.timeout(TIMEOUT))).await.expect("an environment");
    rig.backend.keep_bodies(true);
    rig
}

async fn spindown(rig: Rig) -> Ended {
    rig.end(ShutdownReason::Spindown, false).await.expect("an end")
}

/// Nothing is lost or double, spans and measurements alike, and the wrapper has measured `invocations` that were
/// successful and `errors` that were not.
fn demand_equal(ended: &Ended, invocations: i64, errors: i64) {
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    let sums = delivered(&ended.backend);
    assert!(ended.tallied["witness.counter"] > 0, "{:?}", ended.tallied);
    for (name, tallied) in &ended.tallied {
        assert_eq!(sums.get(name), Some(tallied), "{name}: {sums:?}");
    }
    let of = |name: &str| sums.get(name).copied().unwrap_or_default();
    let faas = ["faas.invocations", "faas.errors", "faas.invoke_duration.count", "faas.coldstarts"].map(of);
    assert_eq!(faas, [invocations, errors, invocations + errors, 1]);
}

#[tokio::test]
async fn success_error_and_panic() {
    let mut status = Vec::new();
    let rig = rig(|builder| builder).await;
    for then in ["ok", "error", "panic", "ok"] {
        status.push(rig.sandbox.invoke(format!(r#"{{"spans":500,"then":"{then}"}}"#)).await.status);
    }
    assert_eq!(status, [Status::Ok, Status::FunctionError, Status::FunctionError, Status::Ok]);
    let ended = spindown(rig).await;
    assert_eq!(ended.tallied["witness.counter"], 2_000);
    demand_equal(&ended, 2, 2);
}

#[tokio::test]
async fn temporality_does_not_matter() {
    let preference = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    for temporality in ["cumulative", "lowmemory"] {
        let rig = rig(|builder| builder.function_env(preference, temporality)).await;
        for _ in 0..3 {
            assert_eq!(rig.sandbox.invoke(r#"{"spans":100}"#).await.status, Status::Ok);
        }
        demand_equal(&spindown(rig).await, 3, 0);
    }
}

#[tokio::test]
async fn a_shutdown_right_after_the_response() {
    for flavor in ["current_thread", "multi_thread"] {
        let rig = rig(|builder| builder.function_env("LAMBDA_TESTKIT_FLAVOR", flavor)).await;
        let mut invocation = rig.sandbox.begin(r#"{"spans":1000}"#);
        invocation.response().await.expect("a response");
        demand_equal(&spindown(rig).await, 1, 0);
    }
}

#[tokio::test]
async fn a_shutdown_while_the_handler_blocks_its_runtime() {
    let rig = rig(|builder| builder).await;
    let _blocked = rig.sandbox.begin(r#"{"spans":300,"block_ms":15000}"#);
    assert_eq!(rig.until_ended(300, TIMEOUT).await, 300);
    demand_equal(&spindown(rig).await, 0, 0);
}

#[tokio::test]
async fn a_timeout() {
    for blocks in ["", r#","block_ms":15000"#] {
        let rig = rig(|builder| builder.timeout(Duration::from_millis(1_500))).await;
        let event = format!(r#"{{"spans":1000,"pace":{{"every":10,"sleep_ms":5}},"then":"hang"{blocks}}}"#);
        assert_eq!(rig.sandbox.invoke(event).await.status, Status::Timeout);
        demand_equal(&spindown(rig).await, 0, 0);
    }
}

/// Measurements that are never decreased by more of them.
const GROWING: [&str; 3] = ["witness.counter", "witness.histogram.count", "witness.histogram.sum"];

/// Between two collections there is a second; what is more is for this machine's sake.
const LOST_AT_MOST: Duration = Duration::from_millis(1_500);

#[tokio::test]
async fn sigkill_costs_the_last_second_at_most() {
    for instant in 0..5 {
        let rig = rig(|builder| builder).await;
        let running = rig.sandbox.begin(r#"{"spans":1000000,"pace":{"every":20,"sleep_ms":2}}"#);
        rig.until_ended(1, TIMEOUT).await;
        let mut tallies: Vec<(Instant, Sums)> = Vec::new();
        let kill_at = Instant::now() + Duration::from_millis(2_300 + 217 * instant);
        while Instant::now() < kill_at {
            tallies.push((Instant::now(), rig.tallied()));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let killed_at = Instant::now();
        rig.sandbox.kill_function(Signal::Kill);
        assert_eq!(running.outcome().await.status, Status::Crash);
        let ended = rig.end(ShutdownReason::Spindown, true).await.expect("an end");
        assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
        let sums = delivered(&ended.backend);
        let safe = tallies.iter().rev().find(|(at, _)| killed_at - *at >= LOST_AT_MOST).expect("a tally");
        for name in GROWING {
            let (least, arrived, most) = (safe.1[name], sums[name], ended.tallied[name]);
            // A measurement is made before it is tallied.
            let most =
                most + if name == "witness.histogram.sum" { ended.tallied["witness.gauge"] + 1 } else { 1 };
            assert!((least..=most).contains(&arrived), "{name}: {least} <= {arrived} <= {most}");
        }
        println!("{} of {} arrived", sums["witness.counter"], ended.tallied["witness.counter"]);
    }
}

#[tokio::test]
async fn a_link_that_is_cut_again_and_again_counts_nothing_twice() {
    let name = format!("lambda-flush-e2e-proxy/{}", std::process::id());
    let rig = rig(|builder| {
        builder
            .function_env("LAMBDA_FLUSH_SOCKET", format!("@{name}"))
            .extension_env("LAMBDA_FLUSH_SOCKET", format!("@{name}/extension"))
    });
    let proxy = Proxy::start(&name, format!("{name}/extension")).expect("a proxy");
    let rig = rig.await;
    for round in 0..10 {
        let running = rig.sandbox.begin(r#"{"spans":400,"pace":{"every":20,"sleep_ms":1}}"#);
        // In the middle of the invocation, or between two.
        if round % 2 == 0 {
            assert!(rig.until_ended(400 * round + 200, TIMEOUT).await >= 400 * round + 200);
            proxy.cut();
        }
        assert_eq!(running.outcome().await.status, Status::Ok);
        if round % 3 == 2 {
            proxy.cut();
        }
    }
    assert_eq!(rig.sandbox.invoke("{}").await.status, Status::Ok);
    println!("{} connections", proxy.connections());
    assert!(proxy.connections() > 5);
    let ended = spindown(rig).await;
    assert_eq!((ended.witnessed_at_backend(), ended.verdict.duplicates), (4_000, 0));
    demand_equal(&ended, 11, 0);
}
