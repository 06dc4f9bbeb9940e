//! Shutdown: order, budgets, signals, the latched event, the kill at the deadline; and what happens without.

use std::time::Duration;

use lambda_testkit::{Exit, Party, ShutdownReason};

use crate::support::{EXTENSION, NOISE, Probes, eventually};

const EXIT_0: Exit = Exit { code: Some(0), signal: None };
const SIGKILL: Exit = Exit { code: None, signal: Some(9) };

#[tokio::test]
async fn the_function_goes_first_and_leaves_its_time_to_the_extension() {
    let probes = Probes::with_extension();
    let sandbox = probes.start().await;
    sandbox.invoke("{}").await;
    let report = sandbox.shutdown(ShutdownReason::Spindown).await;
    let function = report.function.unwrap();
    assert_eq!((function.exit, function.killed), (EXIT_0, false));
    assert!(function.after_sigterm.unwrap() < NOISE);
    let extension = report.extension("probe_extension").unwrap();
    assert_eq!((extension.exit, extension.killed, extension.seen_shutdown), (EXIT_0, false, true));
    assert_eq!(report.budget, Duration::from_millis(2_000));
    let printed: Vec<_> = report.extension_stdout().collect();
    assert_eq!(printed.len(), 1, "{printed:?}");
    let trace = probes.trace();
    let position =
        |who, event| trace.events.iter().position(|it| it.who == who && it.event == event).unwrap();
    assert!(position("function", "sigterm") < position(EXTENSION, "shutdown"));
    let detail = &trace.find(EXTENSION, "shutdown").unwrap().detail;
    assert_eq!(detail["reason"], "spindown");
    assert!((1_000..=2_000).contains(&detail["left_ms"].as_u64().unwrap()), "{detail}");
}

#[tokio::test]
async fn without_an_extension_there_is_no_sigterm() {
    let probes = Probes::alone();
    let sandbox = probes.start().await;
    sandbox.invoke("{}").await;
    let report = sandbox.shutdown(ShutdownReason::Spindown).await;
    let function = report.function.unwrap();
    assert_eq!((function.exit, function.killed, function.after_sigterm), (SIGKILL, true, None));
    assert_eq!(report.budget, Duration::ZERO);
    assert_eq!(probes.trace().count("function", "sigterm"), 0);
}

#[tokio::test]
async fn an_internal_extension_gives_the_function_500_ms() {
    let probes = Probes::alone().knob("INTERNAL", 1).knob("SIGTERM_IGNORE", 1);
    let sandbox = probes.start().await;
    sandbox.invoke("{}").await;
    let report = sandbox.shutdown(ShutdownReason::Spindown).await;
    let function = report.function.unwrap();
    assert_eq!((function.exit, function.killed), (SIGKILL, true));
    assert_eq!(report.budget, Duration::from_millis(500));
    let lasted = function.after_sigterm.unwrap();
    assert!((report.budget..report.budget + NOISE).contains(&lasted), "{lasted:?}");
    assert_eq!(probes.trace().count("function", "sigterm"), 1);
}

#[tokio::test]
async fn the_function_has_its_share_and_then_sigkill() {
    for share in [300, 600].map(Duration::from_millis) {
        let probes = Probes::with_extension().knob("SIGTERM_IGNORE", 1).change(|it| it.runtime_share(share));
        let report = probes.start().await.shutdown(ShutdownReason::Spindown).await;
        let function = report.function.unwrap();
        assert_eq!((function.exit, function.killed), (SIGKILL, true));
        let lasted = function.after_sigterm.unwrap();
        assert!((share..share + NOISE).contains(&lasted), "{lasted:?}");
        // The deadline counts from the start of the shutdown, not from the function's end.
        let left = probes.trace().find(EXTENSION, "shutdown").unwrap().detail["left_ms"].as_u64().unwrap();
        assert!(u128::from(left) <= (report.budget - share).as_millis(), "{left}");
        assert!(left > 0);
    }
}

#[tokio::test]
async fn an_extension_at_the_deadline_is_killed() {
    let probes = Probes::with_extension().knob("SHUTDOWN_IGNORE", 1);
    let report = probes.start().await.shutdown(ShutdownReason::Spindown).await;
    let extension = report.extension("probe_extension").unwrap();
    assert_eq!((extension.exit, extension.killed, extension.seen_shutdown), (SIGKILL, true, true));
    assert_eq!(extension.spare, Duration::ZERO);
    assert!((report.budget..report.budget + NOISE).contains(&report.duration), "{:?}", report.duration);
    assert_eq!(probes.trace().count(EXTENSION, "exit"), 0);
}

#[tokio::test]
async fn an_extension_within_the_deadline_is_not() {
    let probes = Probes::with_extension().knob("SHUTDOWN_SLEEP_MS", 500).knob("EXIT_CODE", 4);
    let report = probes.start().await.shutdown(ShutdownReason::Spindown).await;
    let extension = report.extension("probe_extension").unwrap();
    assert_eq!((extension.exit.code, extension.killed), (Some(4), false));
    assert!(extension.after_shutdown.unwrap() >= Duration::from_millis(500));
    assert!(extension.spare > Duration::ZERO && extension.spare <= Duration::from_millis(1_500));
}

#[tokio::test]
async fn an_extension_without_shutdown_is_killed_unasked_but_the_function_has_its_time() {
    let probes = Probes::with_extension().knob("EVENTS", "INVOKE");
    let sandbox = probes.start().await;
    sandbox.invoke("{}").await;
    let report = sandbox.shutdown(ShutdownReason::Spindown).await;
    let extension = report.extension("probe_extension").unwrap();
    assert_eq!((extension.exit, extension.killed, extension.seen_shutdown), (SIGKILL, true, false));
    assert_eq!(report.function.unwrap().exit, EXIT_0);
    let trace = probes.trace();
    assert_eq!((trace.count(EXTENSION, "shutdown"), trace.count("function", "sigterm")), (0, 1));
    assert!(report.duration < report.budget);
}

/// Shuts down while the extension is busy with INVOKE for `busy_ms`.
async fn shut_down_busy(busy_ms: u64) -> (Probes, lambda_testkit::Report) {
    let probes = Probes::with_extension().knob("INVOKE_SLEEP_MS", busy_ms);
    let sandbox = probes.start().await;
    let mut invocation = sandbox.begin("{}");
    assert!(invocation.response().await.is_some());
    eventually(|| probes.trace().count(EXTENSION, "invoke") == 1).await;
    let report = sandbox.shutdown(ShutdownReason::Spindown).await;
    assert_eq!(invocation.outcome().await.error_type.as_deref(), Some("Sandbox.Shutdown"));
    (probes, report)
}

#[tokio::test]
async fn shutdown_is_latched_for_an_extension_that_is_busy() {
    let (probes, report) = shut_down_busy(800).await;
    let extension = report.extension("probe_extension").unwrap();
    assert_eq!((extension.exit, extension.killed, extension.seen_shutdown), (EXIT_0, false, true));
    let left = probes.trace().find(EXTENSION, "shutdown").unwrap().detail["left_ms"].as_u64().unwrap();
    assert!((1..1_900).contains(&left), "{left}");
    assert_eq!(report.trace.count(EXTENSION, "latched_delivered"), 1);
}

#[tokio::test]
async fn an_extension_that_stays_busy_is_killed_unaware() {
    let (probes, report) = shut_down_busy(30_000).await;
    let extension = report.extension("probe_extension").unwrap();
    assert_eq!((extension.exit, extension.killed, extension.seen_shutdown), (SIGKILL, true, false));
    assert_eq!(probes.trace().count(EXTENSION, "shutdown"), 0);
}

#[tokio::test]
async fn a_stopped_extension_is_killed_at_the_deadline() {
    let probes = Probes::with_extension();
    let sandbox = probes.start().await;
    sandbox.stop_extension();
    let report = sandbox.shutdown(ShutdownReason::Spindown).await;
    assert!(report.extension("probe_extension").unwrap().exit.is_sigkill());
    assert_eq!(probes.trace().count(EXTENSION, "shutdown"), 0);
}

#[tokio::test]
async fn shutdown_interrupts_an_invocation() {
    let probes = Probes::with_extension();
    let sandbox = probes.start().await;
    let invocation = sandbox.begin(r#"{"sleep_ms":60000}"#);
    eventually(|| probes.trace().count("function", "invoke") == 1).await;
    let report = sandbox.shutdown(ShutdownReason::Spindown).await;
    assert_eq!(report.function.unwrap().exit, EXIT_0);
    assert_eq!(report.stdout(&Party::Function).count(), 0);
    assert!(invocation.outcome().await.payload.ends_with(b"\"errorType\":\"Sandbox.Shutdown\"}"));
}
