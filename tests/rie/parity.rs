//! The same scenarios with the same probe processes on both; what the probes noted must be equal.

use std::time::Duration;

use lambda_testkit::rie::{RieError, RieSandbox, lambda_reason};
use lambda_testkit::{Sandbox, ShutdownReason, Status, Trace};
use serde_json::Value;

use crate::{EXTENSION, FUNCTION, emulator, permitted};

/// Who the extension's probe is in a trace.
const EXTENSION_NAME: &str = "extension:probe_extension";
/// From SIGTERM to SIGKILL of the function in the emulator: 30 % of 2000 ms (`rapid/shutdown.go`).
const RUNTIME_SHARE: Duration = Duration::from_millis(600);
/// What then is left of the 2000 ms for the extension, at most.
const LEFT_AFTER_SHARE_MS: u64 = 1_400;

/// What is done to an environment, and what of it the probes must have noted at least.
struct Scenario {
    with_extension: bool,
    env: &'static [(&'static str, &'static str)],
    payloads: &'static [&'static str],
    statuses: &'static [Status],
    /// `(who, event, how often)`.
    noted: &'static [(&'static str, &'static str, usize)],
    /// The reasons of the SHUTDOWNs in their order.
    reasons: &'static [&'static str],
}

/// What a run has come to.
struct Played {
    statuses: Vec<Status>,
    trace: Trace,
}

/// Long enough for a slow machine to start the processes in, short enough to wait for.
const TIMEOUT: Duration = Duration::from_secs(2);
const OVER_TIMEOUT: &str = r#"{"sleep_ms":30000}"#;

#[tokio::test]
async fn two_invocations_and_the_end() {
    compare(&Scenario {
        with_extension: true,
        env: &[],
        payloads: &["{}", r#"{"sleep_ms":20}"#],
        statuses: &[Status::Ok, Status::Ok],
        noted: &[("function", "respond", 2), ("function", "sigterm", 1), (EXTENSION_NAME, "invoke", 2)],
        reasons: &["spindown"],
    })
    .await;
}

#[tokio::test]
async fn a_timeout_resets_and_the_next_invocation_starts_anew() {
    compare(&Scenario {
        with_extension: true,
        env: &[],
        payloads: &["{}", OVER_TIMEOUT, "{}"],
        statuses: &[Status::Ok, Status::Timeout, Status::Ok],
        noted: &[("function", "started", 2), ("function", "sigterm", 2), (EXTENSION_NAME, "register", 2)],
        reasons: &["timeout", "spindown"],
    })
    .await;
}

#[tokio::test]
async fn a_crash_resets_without_sigterm() {
    compare(&Scenario {
        with_extension: true,
        env: &[],
        payloads: &["{}", r#"{"crash":true}"#, "{}"],
        statuses: &[Status::Ok, Status::Crash, Status::Ok],
        noted: &[("function", "started", 2), ("function", "sigterm", 1), (EXTENSION_NAME, "register", 2)],
        reasons: &["failure", "spindown"],
    })
    .await;
}

#[tokio::test]
async fn a_function_that_ignores_sigterm_costs_the_extension_its_share() {
    let both = compare(&Scenario {
        with_extension: true,
        env: &[("LAMBDA_TESTKIT_PROBE_SIGTERM_IGNORE", "1")],
        payloads: &["{}"],
        statuses: &[Status::Ok],
        noted: &[("function", "sigterm", 1)],
        reasons: &["spindown"],
    })
    .await;
    for played in both.iter().flatten() {
        let shutdown = played.trace.find(EXTENSION_NAME, "shutdown").unwrap();
        let left_ms = shutdown.detail.get("left_ms").and_then(Value::as_u64).unwrap();
        assert!((1..=LEFT_AFTER_SHARE_MS).contains(&left_ms), "{left_ms} ms left");
    }
}

#[tokio::test]
async fn an_extension_that_did_not_subscribe_is_killed_unaware() {
    compare(&Scenario {
        with_extension: true,
        env: &[("LAMBDA_TESTKIT_PROBE_EVENTS", "INVOKE")],
        payloads: &["{}"],
        statuses: &[Status::Ok],
        noted: &[("function", "sigterm", 1), (EXTENSION_NAME, "exit", 0)],
        reasons: &[],
    })
    .await;
}

#[tokio::test]
async fn without_an_extension_there_is_no_sigterm() {
    compare(&Scenario {
        with_extension: false,
        env: &[],
        payloads: &["{}", OVER_TIMEOUT, "{}"],
        statuses: &[Status::Ok, Status::Timeout, Status::Ok],
        noted: &[("function", "started", 2), ("function", "sigterm", 0)],
        reasons: &[],
    })
    .await;
}

#[tokio::test]
async fn an_internal_extension_is_enough_for_sigterm() {
    compare(&Scenario {
        with_extension: false,
        env: &[("LAMBDA_TESTKIT_PROBE_INTERNAL", "1")],
        payloads: &["{}"],
        statuses: &[Status::Ok],
        noted: &[("function", "sigterm", 1)],
        reasons: &[],
    })
    .await;
}

/// Plays the scenario on the testkit and, if it can be had, on the emulator.
async fn compare(scenario: &Scenario) -> [Option<Played>; 2] {
    let Some(emulator) = emulator() else { return [None, None] };
    let Some(emulated) = permitted(on_emulator(scenario, &emulator).await) else { return [None, None] };
    let sandboxed = on_testkit(scenario).await;
    for (place, played) in [("the emulator", &emulated), ("the testkit", &sandboxed)] {
        scenario.assert_played(place, played);
    }
    assert_eq!(
        emulated.trace.normalised(),
        sandboxed.trace.normalised(),
        "the traces differ.\nthe emulator:\n{}the testkit:\n{}",
        emulated.trace.to_json_lines(),
        sandboxed.trace.to_json_lines(),
    );
    [Some(emulated), Some(sandboxed)]
}

impl Scenario {
    fn assert_played(&self, place: &str, played: &Played) {
        let lines = played.trace.to_json_lines();
        assert_eq!(played.statuses, self.statuses, "on {place}:\n{lines}");
        for (who, event, count) in self.noted {
            assert_eq!(played.trace.count(who, event), *count, "{who} {event} on {place}:\n{lines}");
        }
        let shutdowns = played.trace.of(EXTENSION_NAME).filter(|event| event.event == "shutdown");
        let reasons: Vec<_> = shutdowns.filter_map(|event| event.detail.get("reason")?.as_str()).collect();
        assert_eq!(reasons, self.reasons, "on {place}:\n{lines}");
    }

    fn extensions(&self) -> Option<&'static str> {
        self.with_extension.then_some(EXTENSION)
    }
}

async fn on_testkit(scenario: &Scenario) -> Played {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace");
    let mut builder = Sandbox::builder().function(FUNCTION).timeout(TIMEOUT).runtime_share(RUNTIME_SHARE);
    builder = builder.env("LAMBDA_TESTKIT_TRACE", file.display().to_string());
    builder = scenario.env.iter().fold(builder, |builder, (name, value)| builder.env(*name, *value));
    builder = scenario.extensions().into_iter().fold(builder, |builder, path| builder.extension(path));
    let sandbox = builder.start().await.unwrap();
    let mut statuses = Vec::new();
    for payload in scenario.payloads {
        statuses.push(sandbox.invoke(*payload).await.status);
    }
    sandbox.shutdown(ShutdownReason::Spindown).await;
    Played { statuses, trace: Trace::read(&file).unwrap() }
}

async fn on_emulator(scenario: &Scenario, emulator: &std::path::Path) -> Result<Played, RieError> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("trace");
    let mut builder = RieSandbox::builder(emulator).function(FUNCTION).timeout(TIMEOUT);
    builder = builder.env("LAMBDA_TESTKIT_TRACE", file.display().to_string());
    builder = scenario.env.iter().fold(builder, |builder, (name, value)| builder.env(*name, *value));
    builder = scenario.extensions().into_iter().fold(builder, |builder, path| builder.extension(path));
    let sandbox = builder.start().await?;
    let mut statuses = Vec::new();
    for payload in scenario.payloads {
        statuses.push(sandbox.invoke(*payload).await?.status);
    }
    let report = sandbox.shutdown().await?;
    assert_eq!(report.exit.code, Some(0), "{:?}", report.lines);
    let mut trace = Trace::read(&file)?;
    for event in &mut trace.events {
        if let Some(Value::String(reason)) = event.detail.get_mut("reason") {
            *reason = lambda_reason(reason);
        }
    }
    Ok(Played { statuses, trace })
}
