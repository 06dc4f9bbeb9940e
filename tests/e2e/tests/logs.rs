//! Logs of a real function: on its stdout and at the backend, with the ids of the span they happened in.
#![expect(clippy::expect_used, reason = "a test")]

use std::time::Duration;

use lambda_flush_e2e::{Ended, Rig};
use lambda_testkit::backend::OtlpSignal;
use lambda_testkit::{Party, SandboxBuilder, ShutdownReason, Status};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::Value as Json;

/// What the function says once in each invocation, from within its span `query`.
const TEXT: &str = "rows fetched";
const INVOCATIONS: usize = 3;

async fn invoked(event: &str, status: Status, setup: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Ended {
    let rig =
        Rig::start(|builder| setup(builder.timeout(Duration::from_secs(10)))).await.expect("an environment");
    rig.backend.keep_bodies(true);
    for _ in 0..INVOCATIONS {
        assert_eq!(rig.sandbox.invoke(event.to_owned()).await.status, status);
    }
    rig.end(ShutdownReason::Spindown, false).await.expect("an end")
}

fn resource_logs(ended: &Ended) -> Vec<ResourceLogs> {
    let requests =
        ended.backend.requests().into_iter().filter(|request| request.signal == Some(OtlpSignal::Logs));
    let decode = |body| ExportLogsServiceRequest::decode(body).expect("a request").resource_logs;
    requests.filter_map(|request| request.body).flat_map(decode).collect()
}

/// Records with this text, with the name of their scope.
fn records(logs: &[ResourceLogs], text: &str) -> Vec<(String, LogRecord)> {
    let scopes = logs.iter().flat_map(|logs| &logs.scope_logs);
    let named = scopes.flat_map(|scope| {
        let name = scope.scope.as_ref().map(|scope| scope.name.clone()).unwrap_or_default();
        scope.log_records.iter().map(move |record| (name.clone(), record.clone()))
    });
    named.filter(|(_, record)| body(record) == Some(text)).collect()
}

fn body(record: &LogRecord) -> Option<&str> {
    match record.body.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn spans(ended: &Ended) -> (Vec<Resource>, Vec<Span>) {
    let requests = ended.backend.requests();
    let traces: Vec<_> = requests
        .iter()
        .filter_map(|request| request.traces())
        .flat_map(|request| request.resource_spans)
        .collect();
    let resources = traces.iter().filter_map(|traces| traces.resource.clone()).collect();
    let scopes = traces.into_iter().flat_map(|traces| traces.scope_spans);
    (resources, scopes.flat_map(|scope| scope.spans).collect())
}

/// The JSON lines of the function's stdout.
fn lines(ended: &Ended) -> Vec<Json> {
    ended.report.stdout(&Party::Function).filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn an_event_is_on_stdout_and_at_the_backend_with_the_ids_of_its_span() {
    let ended = invoked(r#"{"spans":10}"#, Status::Ok, |builder| builder).await;
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    let logs = resource_logs(&ended);
    let (resources, spans) = spans(&ended);
    assert!(
        logs.iter().all(|logs| logs.resource.as_ref() == resources.first()),
        "one resource for all signals"
    );
    let records = records(&logs, TEXT);
    let lines = lines(&ended);
    let printed: Vec<_> = lines.iter().filter(|line| line["message"] == TEXT).collect();
    assert_eq!((records.len(), printed.len()), (INVOCATIONS, INVOCATIONS));
    let request_ids: std::collections::HashSet<_> =
        printed.iter().map(|line| line["requestId"].as_str().expect("a request id")).collect();
    assert_eq!(request_ids.len(), INVOCATIONS);
    for ((scope, record), line) in records.iter().zip(&printed) {
        let query = spans.iter().find(|span| span.span_id == record.span_id).expect("its span");
        assert_eq!((query.name.as_str(), &query.trace_id), ("query", &record.trace_id));
        let within = query.start_time_unix_nano..=query.end_time_unix_nano;
        assert!(within.contains(&record.time_unix_nano), "{within:?} {}", record.time_unix_nano);
        assert_eq!(record.time_unix_nano, record.observed_time_unix_nano);
        assert_eq!(
            (scope.as_str(), record.severity_text.as_str(), record.flags),
            ("witness_function", "INFO", 1)
        );
        let rows = record.attributes[0].value.as_ref().and_then(|value| value.value.clone());
        assert_eq!(rows, Some(Value::IntValue(3)));
        assert_eq!((&line["target"], &line["level"]), (&Json::from("witness_function"), &Json::from("INFO")));
        assert_eq!(line["fields"]["rows"], 3);
        assert_eq!(line["trace_id"], hex(&record.trace_id));
        assert_eq!(line["span_id"], hex(&record.span_id));
    }
}

#[tokio::test]
async fn a_handlers_error_is_on_stdout_with_its_request_id() {
    let ended = invoked(r#"{"then":"error"}"#, Status::FunctionError, |builder| builder).await;
    let lines = lines(&ended);
    let errors: Vec<_> = lines.iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), INVOCATIONS, "{lines:?}");
    for line in errors {
        assert!(line["message"].as_str().is_some_and(|text| text.contains("out of stock")), "{line}");
        assert!(line["requestId"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn stdout_can_be_off_while_the_backend_gets_all() {
    let off = |builder: SandboxBuilder| builder.function_env("LAMBDA_FLUSH_STDOUT", "off");
    let ended = invoked("{}", Status::Ok, off).await;
    assert!(lines(&ended).iter().all(|line| line["message"] != TEXT));
    assert_eq!(records(&resource_logs(&ended), TEXT).len(), INVOCATIONS);
}

#[tokio::test]
async fn what_was_said_before_a_sigkill_arrives() {
    let rig = Rig::start(|builder| builder.timeout(Duration::from_secs(20))).await.expect("an environment");
    rig.backend.keep_bodies(true);
    let invocation = rig.sandbox.begin(r#"{"spans":10,"then":"hang"}"#);
    assert_eq!(rig.until_ended(10, Duration::from_secs(20)).await, 10);
    rig.sandbox.kill_function(lambda_testkit::Signal::Kill);
    assert_eq!(invocation.outcome().await.status, Status::Crash);
    let ended = rig.end(ShutdownReason::Spindown, true).await.expect("an end");
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    assert_eq!(records(&resource_logs(&ended), TEXT).len(), 1);
}
