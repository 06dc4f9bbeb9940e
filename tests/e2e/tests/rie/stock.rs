//! A function with a stock SDK and a timeout of 30 s: the emulator has no Telemetry API, so nobody can say that an
//! invocation ended.

use std::time::Duration;

use lambda_flush_e2e::{rig, stock};
use lambda_testkit::rie::{RieBuilder, RieError, RieSandbox};
use lambda_testkit::sandbox::free_address;
use lambda_testkit::witness::{self, WITNESS_ENV};
use lambda_testkit::{Backend, Evidence, Status, check};

const INVOCATIONS: usize = 6;
const SPANS: usize = 10;
/// No invocation may be longer. The emulator answers when the extensions are done, so its client sees everything.
const LONGEST: Duration = Duration::from_secs(1);

async fn started(builder: RieBuilder) -> Option<RieSandbox> {
    match builder.timeout(stock::TIMEOUT).start().await {
        Ok(sandbox) => Some(sandbox),
        Err(RieError::NotPermitted(said)) => {
            println!("lambda-testkit: skipped: {said}");
            None
        }
        Err(fault) => panic!("{fault}"),
    }
}

/// How long each invocation took; the first one is an init too.
async fn invoke(sandbox: &RieSandbox, event: &str) -> Vec<Duration> {
    let mut durations = Vec::new();
    for number in 0..INVOCATIONS {
        let outcome = sandbox.invoke(event.to_owned()).await.expect("an answer");
        assert_eq!(outcome.status, Status::Ok, "invocation {number}: {outcome:?}");
        durations.push(outcome.duration);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    durations
}

#[tokio::test]
async fn no_invocation_is_held_and_everything_is_delivered() {
    let Some(emulator) = std::env::var_os("LAMBDA_TESTKIT_RIE") else {
        println!("lambda-testkit: skipped: LAMBDA_TESTKIT_RIE is not set");
        return;
    };
    let function = stock::function().expect("the function");
    let Some(sandbox) = started(RieSandbox::builder(&emulator).function(&function)).await else { return };
    let control = invoke(&sandbox, "{}").await;
    sandbox.shutdown().await.expect("an end");

    let dir = tempfile::tempdir().expect("a directory");
    let (witness, door) = (dir.path().join("witness"), free_address().expect("an address"));
    let backend = Backend::start().expect("a backend");
    let builder = RieSandbox::builder(&emulator)
        .function(&function)
        .extension(rig::extension().expect("the extension"))
        .env(WITNESS_ENV, witness.to_string_lossy())
        .env("LAMBDA_FLUSH_OTLP_ENDPOINT", backend.endpoint())
        .env("LAMBDA_FLUSH_OTLP_HTTP_ADDR", door.to_string())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{door}"));
    let Some(sandbox) = started(builder).await else { return };
    let durations = invoke(&sandbox, &format!(r#"{{"spans":{SPANS},"work_ms":20}}"#)).await;
    let report = sandbox.shutdown().await.expect("an end");
    println!("{durations:.0?}; control {control:.0?}");
    for (number, (duration, alone)) in durations.iter().zip(&control).enumerate() {
        assert!(*duration < LONGEST + *alone, "invocation {number}: {duration:?}, alone {alone:?}");
    }
    let records = witness::read(&witness).expect("a witness").records;
    let lines: Vec<&str> = report.lines.iter().map(|line| line.text.as_str()).collect();
    let evidence = Evidence::gather(records, &backend, lines.iter().copied(), false);
    let verdict = check(&evidence);
    assert!(verdict.is_ok(), "{verdict:?}\n{}", lines.join("\n"));
    let taken = &evidence.deliveries.answered_ok;
    let delivered = evidence.witness.iter().filter(|record| taken.contains_key(&record.span_id)).count();
    assert_eq!((verdict.spans_ended, delivered), (INVOCATIONS * SPANS, INVOCATIONS * SPANS));
    assert_eq!(verdict.duplicates, 0);
}
