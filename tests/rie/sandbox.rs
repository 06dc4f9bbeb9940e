//! The environment around the emulator: variables reach whom they are for, and nothing outlives it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lambda_testkit::rie::RieSandbox;
use lambda_testkit::{Status, Trace};

use crate::{EXTENSION, FUNCTION, emulator, permitted};

/// Killed processes are gone within milliseconds; a slow machine may take this long.
const GONE_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn variables_reach_whom_they_are_for() {
    let Some(emulator) = emulator() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let mut builder = RieSandbox::builder(emulator).function(FUNCTION).extension(EXTENSION);
    builder = builder.function_env("LAMBDA_TESTKIT_TRACE", file("the function's"));
    builder = builder.extension_env("LAMBDA_TESTKIT_TRACE", file("the extension's"));
    let Some(sandbox) = permitted(builder.start().await) else { return };
    let outcome = sandbox.invoke(r#"{"a":1}"#).await.unwrap();
    assert_eq!((outcome.status, outcome.payload.as_ref()), (Status::Ok, br#"{"a":1}"#.as_slice()));
    let report = sandbox.shutdown().await.unwrap();
    assert!(report.lines.iter().any(|line| line.text.starts_with("probe_extension: SHUTDOWN")), "{report:?}");
    let parties = |name: &str| {
        let mut parties: Vec<_> =
            Trace::read(file(name)).unwrap().events.into_iter().map(|event| event.who).collect();
        parties.dedup();
        parties
    };
    assert_eq!(parties("the function's"), ["function"]);
    assert_eq!(parties("the extension's"), ["extension:probe_extension"]);
}

#[tokio::test]
async fn nothing_outlives_a_dropped_sandbox() {
    let Some(emulator) = emulator() else { return };
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("trace");
    let builder = RieSandbox::builder(emulator).function(FUNCTION).extension(EXTENSION);
    let builder = builder.env("LAMBDA_TESTKIT_TRACE", mark.display().to_string());
    let Some(sandbox) = permitted(builder.start().await) else { return };
    sandbox.invoke("{}").await.unwrap();
    let running = with_variable(&mark);
    assert!(running >= 3, "{running} processes: the emulator, the function and the extension were expected");
    drop(sandbox);
    let deadline = Instant::now() + GONE_WITHIN;
    while with_variable(&mark) > 0 {
        assert!(Instant::now() < deadline, "{} processes are left", with_variable(&mark));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How many processes have the path in their environment.
fn with_variable(path: &Path) -> usize {
    let path = path.as_os_str().as_encoded_bytes();
    let has = |environment: Vec<u8>| environment.windows(path.len()).any(|window| window == path);
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter(|process| fs::read(process.path().join("environ")).is_ok_and(has)).count()
}
