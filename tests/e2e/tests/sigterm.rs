//! SIGTERM: hooks run, everything is handed over, and the function is gone before the platform's patience ends.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::time::Duration;

use lambda_flush_e2e::{Ended, Rig};
use lambda_testkit::sandbox::{FunctionExit, Report};
use lambda_testkit::{Backend, Line, Party, Sandbox, SandboxBuilder, ShutdownReason, Status, artifacts};

/// The smallest share of a function on record. The sandbox kills what exceeds it.
const SHARE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);

async fn rig(hooks: &str, setup: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Rig {
    let function = artifacts::bin("lambda-flush-e2e", "hooks-function").expect("a function");
    Rig::start(|builder| {
        setup(builder.function(function).timeout(PATIENCE).runtime_share(SHARE).function_env("HOOKS", hooks))
    })
    .await
    .expect("an environment")
}

/// What the function says of its hooks, in alphabetical order.
fn outcomes(report: &Report) -> Vec<String> {
    let hook = |text: &str| -> Option<String> {
        let line: serde_json::Value = serde_json::from_str(text).ok()?;
        let is_hook = line["lambda_flush"] == "hook";
        is_hook.then(|| {
            format!("{}: {}", line["hook"].as_str().unwrap_or(""), line["outcome"].as_str().unwrap_or(""))
        })
    };
    let mut outcomes: Vec<_> = report.stdout(&Party::Function).filter_map(hook).collect();
    outcomes.sort();
    outcomes
}

fn demand_gone(function: Option<FunctionExit>) -> Duration {
    let function = function.expect("a function");
    assert!(!function.killed && function.exit.code == Some(0), "{function:?}");
    let after = function.after_sigterm.expect("a SIGTERM");
    assert!(after < SHARE, "{after:?}");
    after
}

/// Nothing is lost, the ledger balances, and the function's last word has come.
fn demand_complete(ended: &Ended) {
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    assert_eq!(ended.witnessed_at_backend(), ended.verdict.spans_ended);
    let function = &ended.summary().expect("a summary").functions[0];
    assert!(!function.unknown_tail, "{function:?}");
    let whole = format!("{function:?}, {:?}", ended.verdict);
    assert_eq!((function.ended, function.buffered), (function.written, 0), "{whole}");
}

#[tokio::test]
async fn right_after_the_response_nothing_is_lost_and_the_function_is_gone_at_once() {
    for flavor in ["current_thread", "multi_thread"] {
        let rig = rig("", |builder| builder.function_env("LAMBDA_TESTKIT_FLAVOR", flavor)).await;
        let mut invocation = rig.sandbox.begin(r#"{"spans":2000}"#);
        invocation.response().await.expect("a response");
        let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
        let after = demand_gone(ended.report.function);
        demand_complete(&ended);
        println!("{flavor}: {} spans, gone {after:?} after SIGTERM", ended.verdict.spans_ended);
    }
}

#[tokio::test]
async fn a_handler_that_blocks_a_current_thread_runtime_is_no_obstacle() {
    let rig = rig("quick,hangs,panics", |builder| builder).await;
    let _blocked = rig.sandbox.begin(r#"{"spans":500,"block_ms":10000}"#);
    assert_eq!(rig.until_ended(500, PATIENCE).await, 500);
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    let after = demand_gone(ended.report.function);
    demand_complete(&ended);
    let not_polled = ["hangs: not_polled", "panics: not_polled", "quick: not_polled"];
    assert_eq!(outcomes(&ended.report), not_polled);
    println!("blocked runtime: gone {after:?} after SIGTERM");
}

#[tokio::test]
async fn hooks_run_beside_each_other_and_their_telemetry_is_complete() {
    for flavor in ["current_thread", "multi_thread"] {
        let rig =
            rig("quick,hangs,panics", |builder| builder.function_env("LAMBDA_TESTKIT_FLAVOR", flavor)).await;
        assert_eq!(rig.sandbox.invoke(r#"{"spans":100}"#).await.status, Status::Ok);
        let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
        let after = demand_gone(ended.report.function);
        demand_complete(&ended);
        assert_eq!(ended.verdict.spans_ended, 102, "two of them ended in a hook");
        assert_eq!(outcomes(&ended.report), ["hangs: timed_out", "panics: panicked", "quick: done"]);
        println!("{flavor}: hooks until {after:?} after SIGTERM");
    }
}

#[tokio::test]
async fn a_quick_hook_does_not_use_up_the_whole_share() {
    let rig = rig("quick", |builder| builder).await;
    assert_eq!(rig.sandbox.invoke("{}").await.status, Status::Ok);
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    let after = demand_gone(ended.report.function);
    demand_complete(&ended);
    assert!(after > Duration::from_millis(50) && after < Duration::from_millis(200), "{after:?}");
}

#[tokio::test]
async fn beside_a_foreign_extension_alone_hooks_run_in_time() {
    let function = artifacts::bin("lambda-flush-e2e", "hooks-function").expect("a function");
    // It stands for Lambda Insights, say.
    let stub = artifacts::bin("lambda-testkit", "probe_extension").expect("an extension");
    let backend = Backend::start().expect("a backend");
    let sandbox = Sandbox::builder()
        .function(function)
        .runtime_share(SHARE)
        .env("LAMBDA_FLUSH_OTLP_ENDPOINT", backend.endpoint())
        .function_env("LAMBDA_FLUSH_EXTENSIONS_DIR", stub.parent().expect("a folder").to_string_lossy())
        .function_env("HOOKS", "quick,hangs,panics")
        .extension(stub)
        .start()
        .await
        .expect("an environment");
    assert_eq!(sandbox.invoke(r#"{"spans":100}"#).await.status, Status::Ok);
    let report = sandbox.shutdown(ShutdownReason::Spindown).await;
    let after = demand_gone(report.function);
    assert_eq!(outcomes(&report), ["hangs: timed_out", "panics: panicked", "quick: done"]);
    assert!(report.extensions[0].seen_shutdown);
    // The invocation's own span, 100 in it, the hooks' three, and two in one of them.
    assert_eq!(backend.deliveries().answered_ok.len(), 106, "{:?}", report.lines);
    println!("foreign extension: gone {after:?} after SIGTERM");
}

#[tokio::test]
async fn spans_that_end_between_a_timeout_s_sigterm_and_the_exit_arrive() {
    for flavor in ["current_thread", "multi_thread"] {
        let rig = rig("quick", |builder| {
            builder.timeout(Duration::from_millis(700)).function_env("LAMBDA_TESTKIT_FLAVOR", flavor)
        })
        .await;
        let outcome = rig.sandbox.invoke(r#"{"paced_ms":60000}"#).await;
        assert_eq!(outcome.status, Status::Timeout);
        let reset = outcome.reset.expect("a reset");
        demand_gone(reset.function);
        assert_eq!(outcomes(&reset), ["quick: done"]);
        let collections = observed(&reset.lines);
        assert_eq!(collections, [true; 3], "100 ms before the deadline, and twice at SIGTERM");
        let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
        let summary = &ended.evidence.summaries[0];
        assert!(ended.verdict.lost.is_empty(), "{:?}", ended.verdict);
        assert_eq!(ended.witnessed_at_backend(), ended.verdict.spans_ended);
        assert_eq!(summary.reason, "timeout");
        assert!(!summary.functions[0].unknown_tail, "{:?}", summary.functions);
        println!("{flavor}: {} spans ended until the exit, all arrived", ended.verdict.spans_ended);
    }
}

/// What the function printed when its metrics were observed.
fn observations(sandbox: &Sandbox) -> Vec<bool> {
    observed(&sandbox.lines())
}

fn observed(lines: &[Line]) -> Vec<bool> {
    let texts = lines.iter().filter_map(|line| line.text.strip_prefix("observed, handler running: "));
    texts.map(|running| running == "true").collect()
}

#[tokio::test]
async fn a_freeze_between_invocations_makes_no_checkpoint_fire_in_the_next_one() {
    let rig = rig("", |builder| builder).await;
    let sandbox = &rig.sandbox;
    // A checkpoint is 400 ms away when the invocation ends, and the freeze begins.
    assert_eq!(sandbox.invoke(r#"{"work_ms":600}"#).await.status, Status::Ok);
    assert_eq!(observations(sandbox), [false], "one collection, at the end");
    let pid = sandbox.pid(&Party::Function);
    for frozen_ms in [1_500, 100] {
        assert!(sandbox.stop_function());
        tokio::time::sleep(Duration::from_millis(frozen_ms)).await;
        let invocation = sandbox.begin(r#"{"work_ms":500}"#);
        assert!(sandbox.continue_function());
        assert_eq!(invocation.outcome().await.status, Status::Ok);
    }
    assert_eq!(observations(sandbox), [false; 3], "none while a handler ran");
    assert_eq!(sandbox.invoke(r#"{"work_ms":1500}"#).await.status, Status::Ok);
    assert_eq!(observations(sandbox), [false, false, false, true, false], "one after a second");
    assert_eq!(sandbox.pid(&Party::Function), pid, "nobody ended");
    demand_complete(&rig.end(ShutdownReason::Spindown, false).await.expect("an end"));
}
