//! Init: the order of its steps, who is external, what makes it fail, the variables of the processes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use lambda_testkit::{Party, Sandbox, SandboxError, ShutdownReason};

use crate::support::{EXTENSION, Probes};

#[tokio::test]
async fn every_extension_registers_before_the_function_starts() {
    let probes = Probes::with_extension().knob("INIT_SLEEP_MS", 150);
    let sandbox = probes.start().await;
    assert!(sandbox.init_duration() >= Duration::from_millis(150));
    let events: Vec<_> =
        sandbox.trace().events.iter().map(|event| (event.who.clone(), event.event.clone())).collect();
    let position =
        |who: &str, event: &str| events.iter().position(|it| it.0 == who && it.1 == event).unwrap();
    assert!(position(EXTENSION, "started") < position(EXTENSION, "registered"));
    assert!(position(EXTENSION, "registered") < position("function", "started"));
    assert!(position("function", "next") < position("platform", "init_done"));
    assert!(position(EXTENSION, "next") < position("platform", "init_done"));
}

#[tokio::test]
async fn an_extension_that_exits_fails_init() {
    let probes = Probes::with_extension().change(|builder| builder.extension("/bin/true"));
    match probes.builder.clone().start().await {
        Err(SandboxError::Init { error_type, .. }) => assert_eq!(error_type, "Extension.Crash"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_function_that_exits_fails_init() {
    let probes = Probes::with_extension().knob("INIT_EXIT", 1);
    match probes.builder.clone().start().await {
        Err(SandboxError::Init { error_type, .. }) => assert_eq!(error_type, "Runtime.ExitError"),
        other => panic!("{other:?}"),
    }
    // The extension was told before it was ended.
    assert_eq!(probes.trace().find(EXTENSION, "shutdown").unwrap().detail["reason"], "failure");
}

#[tokio::test]
async fn init_has_a_limit() {
    let probes = Probes::with_extension().knob("INIT_SLEEP_MS", 60_000);
    let probes = probes.change(|builder| builder.init_timeout(Duration::from_millis(100)));
    match probes.builder.clone().start().await {
        Err(SandboxError::Init { error_type, .. }) => assert_eq!(error_type, "Sandbox.Timedout"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_that_is_missing_is_named() {
    let missing = Sandbox::builder().function("/nowhere/bootstrap").start().await;
    assert!(missing.unwrap_err().to_string().contains("/nowhere/bootstrap"));
    assert!(matches!(Sandbox::builder().start().await, Err(SandboxError::NoFunction)));
}

#[tokio::test]
async fn a_file_that_cannot_be_executed_fails_init() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("not-executable");
    std::fs::write(&path, "text").unwrap();
    let probes = Probes::alone().change(|builder| builder.extension(&path));
    match probes.builder.clone().start().await {
        Err(SandboxError::Init { error_type, .. }) => assert_eq!(error_type, "Extension.LaunchError"),
        other => panic!("{other:?}"),
    }
}

/// A shell script that prints its variables before it becomes the probe.
fn printing(directory: &Path, name: &str, probe: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, format!("#!/bin/sh\nenv | sed s/^/var:/\nexec {probe}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn the_variables_are_those_of_lambda_and_nothing_is_inherited() {
    let directory = tempfile::tempdir().unwrap();
    let function = printing(directory.path(), "bootstrap", env!("CARGO_BIN_EXE_probe_function"));
    let mut builder = Sandbox::builder().function(function).function_name("shop").memory_mb(128);
    builder = builder.env("STAGE", "test").env("_PRIVATE", "1").function_env("ONLY_F", "1");
    let sandbox = builder.start().await.unwrap();
    let api = sandbox.runtime_api();
    let report = sandbox.shutdown(ShutdownReason::Spindown).await;
    let variables: Vec<&str> =
        report.stdout(&Party::Function).filter_map(|line| line.strip_prefix("var:")).collect();
    let value = |name: &str| variables.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    assert_eq!(value("AWS_LAMBDA_RUNTIME_API"), Some(api.as_str()));
    assert_eq!(value("AWS_LAMBDA_FUNCTION_NAME"), Some("shop"));
    assert_eq!(value("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"), Some("128"));
    assert_eq!(value("AWS_LAMBDA_INITIALIZATION_TYPE"), Some("on-demand"));
    assert_eq!(value("AWS_LAMBDA_LOG_GROUP_NAME"), Some("/aws/lambda/shop"));
    assert_eq!((value("STAGE"), value("_PRIVATE"), value("ONLY_F")), (Some("test"), Some("1"), Some("1")));
    assert_eq!((value("_HANDLER"), value("TZ")), (Some("bootstrap"), Some(":UTC")));
    assert!(value("LAMBDA_TASK_ROOT").is_some() && value("AWS_LAMBDA_LOG_STREAM_NAME").is_some());
    for absent in ["AWS_EXECUTION_ENV", "_X_AMZN_TRACE_ID", "HOME", "CARGO", "CARGO_MANIFEST_DIR"] {
        assert_eq!(value(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn an_extension_gets_no_handler_log_group_or_task_root() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("printing.sh");
    let script = "#!/bin/sh\nenv | sed s/^/var:/\nexit 3\n";
    std::fs::write(&link, script).unwrap();
    std::fs::set_permissions(&link, std::fs::Permissions::from_mode(0o755)).unwrap();
    let builder = Sandbox::builder().function(env!("CARGO_BIN_EXE_probe_function")).extension(&link);
    let builder = builder.env("STAGE", "test").env("_PRIVATE", "1").extension_env("ONLY_X", "1");
    let Err(SandboxError::Init { lines, .. }) = builder.start().await else { panic!("it exits") };
    let names: Vec<_> =
        lines.iter().filter_map(|line| line.text.strip_prefix("var:")?.split('=').next()).collect();
    for present in ["AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_FUNCTION_NAME", "AWS_REGION", "STAGE", "ONLY_X"] {
        assert!(names.contains(&present), "{present}");
    }
    let absent = [
        "_HANDLER",
        "_PRIVATE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "LAMBDA_TASK_ROOT",
    ];
    for absent in
        absent.into_iter().chain(["AWS_XRAY_CONTEXT_MISSING", "LAMBDA_RUNTIME_DIR", "AWS_EXECUTION_ENV"])
    {
        assert!(!names.contains(&absent), "{absent}");
    }
}

#[tokio::test]
async fn dropping_a_sandbox_ends_every_process() {
    let probes = Probes::with_extension().knob("SIGTERM_IGNORE", 1).knob("SHUTDOWN_IGNORE", 1);
    let sandbox = probes.start().await;
    let pids =
        [Party::Function, Party::Extension("probe_extension".to_owned())].map(|it| sandbox.pid(&it).unwrap());
    let directory = sandbox.tmp_dir().to_owned();
    assert!(pids.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()) && directory.exists());
    drop(sandbox);
    assert!(pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
    assert!(!directory.exists());
    assert_eq!(probes.trace().count("function", "sigterm"), 0);
}
