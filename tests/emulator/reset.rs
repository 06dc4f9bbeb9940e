//! Resets: timeout, crash of the function, exit of an extension, and the new init in the next invocation.

use std::time::Duration;

use lambda_testkit::{Exit, Party, ShutdownReason, Signal, Status};

use crate::support::{EXTENSION, NOISE, Probes, eventually};

const TIMEOUT: Duration = Duration::from_millis(1_000);

#[tokio::test]
async fn a_timeout_resets_and_the_next_invocation_starts_anew() {
    let probes = Probes::with_extension().change(|builder| builder.timeout(TIMEOUT));
    let sandbox = probes.start().await;
    let first =
        [Party::Function, Party::Extension("probe_extension".to_owned())].map(|it| sandbox.pid(&it).unwrap());
    std::fs::write(sandbox.tmp_dir().join("kept"), "").unwrap();
    let outcome = sandbox.invoke(r#"{"sleep_ms":60000}"#).await;
    assert_eq!((outcome.status, outcome.error_type.as_deref()), (Status::Timeout, Some("Sandbox.Timedout")));
    assert!((TIMEOUT..TIMEOUT + NOISE).contains(&outcome.duration), "{:?}", outcome.duration);
    assert!(outcome.payload.windows(9).any(|bytes| bytes == b"timed out"));
    let reset = outcome.reset.unwrap();
    assert_eq!(reset.reason, ShutdownReason::Timeout);
    assert!(reset.function.unwrap().after_sigterm.is_some());
    assert_eq!(probes.trace().count("function", "sigterm"), 1);
    let shutdown = &probes.trace().find(EXTENSION, "shutdown").unwrap().detail.clone();
    assert_eq!(shutdown["reason"], "timeout");
    assert!(shutdown["left_ms"].as_u64().unwrap() <= 2_000);

    let outcome = sandbox.invoke("{}").await;
    assert_eq!(outcome.status, Status::Ok);
    assert!(outcome.init_included.unwrap() <= outcome.duration);
    let second =
        [Party::Function, Party::Extension("probe_extension".to_owned())].map(|it| sandbox.pid(&it).unwrap());
    assert!(first[0] != second[0] && first[1] != second[1]);
    assert!(sandbox.tmp_dir().join("kept").exists());
    assert_eq!(probes.trace().count(EXTENSION, "register"), 2);
    assert!(sandbox.invoke("{}").await.init_included.is_none());
}

#[tokio::test]
async fn a_timeout_without_extensions_is_a_sigkill() {
    let probes = Probes::alone().change(|builder| builder.timeout(TIMEOUT));
    let sandbox = probes.start().await;
    let outcome = sandbox.invoke(r#"{"sleep_ms":60000}"#).await;
    let function = outcome.reset.unwrap().function.unwrap();
    assert_eq!((function.after_sigterm, function.exit.is_sigkill()), (None, true));
    assert_eq!(probes.trace().count("function", "sigterm"), 0);
}

#[tokio::test]
async fn a_slow_extension_makes_an_answered_invocation_time_out() {
    let probes = Probes::with_extension().knob("INVOKE_SLEEP_MS", 60_000).change(|it| it.timeout(TIMEOUT));
    let sandbox = probes.start().await;
    let outcome = sandbox.invoke(r#"{"n":1}"#).await;
    assert_eq!((outcome.status, outcome.payload.as_ref()), (Status::Timeout, br#"{"n":1}"#.as_slice()));
    let reset = outcome.reset.unwrap();
    let extension = reset.extension("probe_extension").unwrap();
    assert!(extension.exit.is_sigkill() && !extension.seen_shutdown);
}

#[tokio::test]
async fn a_crash_of_the_function_is_told_as_failure() {
    let probes = Probes::with_extension();
    let sandbox = probes.start().await;
    let outcome = sandbox.invoke(r#"{"crash":true}"#).await;
    assert_eq!((outcome.status, outcome.error_type.as_deref()), (Status::Crash, Some("Runtime.ExitError")));
    let reset = outcome.reset.unwrap();
    let function = reset.function.unwrap();
    assert_eq!((function.exit.code, function.after_sigterm, function.killed), (Some(9), None, false));
    assert_eq!(probes.trace().find(EXTENSION, "shutdown").unwrap().detail["reason"], "failure");
    assert_eq!(sandbox.invoke("{}").await.status, Status::Ok);
}

#[tokio::test]
async fn a_killed_function_fails_the_invocation_under_way() {
    let probes = Probes::with_extension();
    let sandbox = probes.start().await;
    let invocation = sandbox.begin(r#"{"sleep_ms":60000}"#);
    eventually(|| probes.trace().count("function", "invoke") == 1).await;
    assert!(sandbox.kill_function(Signal::Kill));
    let outcome = invocation.outcome().await;
    assert_eq!(outcome.error_type.as_deref(), Some("Runtime.ExitError"));
    assert!(outcome.reset.unwrap().function.unwrap().exit.is_sigkill());
}

#[tokio::test]
async fn a_function_killed_between_invocations_fails_the_next() {
    let probes = Probes::with_extension();
    let sandbox = probes.start().await;
    sandbox.kill_function(Signal::Kill);
    eventually(|| sandbox.pid(&Party::Function).is_none()).await;
    assert!(!sandbox.kill_function(Signal::Kill));
    let outcome = sandbox.invoke("{}").await;
    assert_eq!((outcome.status, outcome.error_type.as_deref()), (Status::Crash, Some("Runtime.ExitError")));
    assert_eq!(sandbox.invoke("{}").await.status, Status::Ok);
}

#[tokio::test]
async fn an_extension_that_exits_fails_the_invocation_also_with_code_0() {
    let probes = Probes::with_extension().knob("EXIT_ON_INVOKE", 2);
    let sandbox = probes.start().await;
    assert_eq!(sandbox.invoke("{}").await.status, Status::Ok);
    let outcome = sandbox.invoke(r#"{"sleep_ms":500}"#).await;
    assert_eq!((outcome.status, outcome.error_type.as_deref()), (Status::Crash, Some("Extension.Crash")));
    let reset = outcome.reset.unwrap();
    assert_eq!(reset.extension("probe_extension").unwrap().exit, Exit { code: Some(0), signal: None });
    assert!(reset.function.unwrap().after_sigterm.is_some());
    assert_eq!(probes.trace().count("function", "sigterm"), 1);
}

#[tokio::test]
async fn an_extension_killed_between_invocations_fails_the_next() {
    let probes = Probes::with_extension();
    let sandbox = probes.start().await;
    sandbox.kill_extensions(Signal::Kill);
    eventually(|| sandbox.pid(&Party::Extension("probe_extension".to_owned())).is_none()).await;
    let outcome = sandbox.invoke("{}").await;
    assert_eq!(outcome.error_type.as_deref(), Some("Extension.Crash"));
    assert_eq!(probes.trace().count("function", "sigterm"), 1);
    assert_eq!(sandbox.invoke("{}").await.status, Status::Ok);
}
