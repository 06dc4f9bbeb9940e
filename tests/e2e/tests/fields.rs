//! What arrives at the backend is what the SDK recorded, field by field, read by a decoder that is not ours.
//!
//! The comparison is `fields/compare.py`. `cargo verify --lane fields` provides its Python; without one these tests
//! say so and pass.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lambda_flush_e2e::rig;
use lambda_testkit::backend::OtlpSignal;
use lambda_testkit::{Backend, Outcome, Sandbox, SandboxBuilder, ShutdownReason, Status};
use serde_json::{Value, json};

/// Names a Python interpreter that has `opentelemetry-proto`.
const PYTHON_ENV: &str = "LAMBDA_FLUSH_PYTHON";

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const TRACE_STATE: &str = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
const UNSAMPLED_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn python() -> Option<OsString> {
    let python = std::env::var_os(PYTHON_ENV);
    if python.is_none() {
        println!("lambda-flush: skipped: {PYTHON_ENV} is not set");
    }
    python
}

/// A function with the extension and a backend that keeps what it gets.
struct Environment {
    sandbox: Sandbox,
    backend: Backend,
    dir: tempfile::TempDir,
}

impl Environment {
    async fn start(function: &Path, setup: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Self {
        let backend = Backend::start().expect("a backend");
        backend.keep_bodies(true);
        let dir = tempfile::tempdir().expect("a directory");
        let builder = Sandbox::builder()
            .function(function)
            .function_name("orders")
            .timeout(Duration::from_secs(10))
            .extension(rig::extension().expect("the extension"))
            .env("LAMBDA_FLUSH_OTLP_ENDPOINT", backend.endpoint());
        let sandbox = setup(builder).start().await.expect("an environment");
        Self { sandbox, backend, dir }
    }

    async fn invoke(&self, payload: &Value, status: Status) -> Outcome {
        let outcome = self.sandbox.invoke(payload.to_string()).await;
        assert_eq!(outcome.status, status, "{outcome:?}");
        outcome
    }

    /// Ends the environment and compares. `recorded`: the capture, if the function has made one.
    async fn compare(self, python: OsString, recorded: Option<&Path>, expected: &Value) {
        let report = self.sandbox.shutdown(ShutdownReason::Spindown).await;
        let requests = self.dir.path().join("requests");
        fs::create_dir(&requests).expect("a directory");
        // Metrics and logs travel beside the spans; their encoders have tests of their own.
        let all = self.backend.requests();
        let traces = all.iter().filter(|request| request.signal == Some(OtlpSignal::Traces));
        for (number, request) in traces.enumerate() {
            assert!(request.is_ok() && request.malformed.is_none(), "{request:?}\n{:#?}", report.lines);
            let body = request.body.as_ref().expect("a body that is kept");
            fs::write(requests.join(format!("{number:04}.bin")), body).expect("a file");
        }
        if let Some(recorded) = recorded {
            fs::copy(recorded, self.dir.path().join("recorded.jsonl")).expect("the capture");
        }
        fs::write(self.dir.path().join("expected.json"), expected.to_string()).expect("a file");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fields/compare.py");
        // `-B`: no bytecode among the sources.
        let compared = Command::new(python).arg("-B").arg(script).arg(self.dir.path()).output();
        let compared = compared.expect("Python runs");
        let said = String::from_utf8_lossy(&compared.stdout);
        println!("{said}");
        assert!(compared.status.success(), "{said}{}", String::from_utf8_lossy(&compared.stderr));
    }
}

/// What API Gateway sends for an HTTP API, cut down, with a W3C parent.
fn http_event(trace_id: &str, flags: &str, then: &str) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "POST /orders",
        "headers": {
            "content-type": "application/json",
            "traceparent": format!("00-{trace_id}-{PARENT}-{flags}"),
            "tracestate": TRACE_STATE,
        },
        "requestContext": { "http": { "method": "POST", "path": "/orders" }, "stage": "$default" },
        "then": then,
        "isBase64Encoded": false,
    })
}

/// What the testkit told the function, in the words of the semantic conventions.
fn resource(service_name: &str) -> Value {
    json!({
        "service.name": service_name,
        "cloud.provider": "aws",
        "cloud.platform": "aws_lambda",
        "cloud.region": "eu-central-1",
        "faas.name": "orders",
        "faas.version": "$LATEST",
        "faas.max_memory": 1_769_u64 << 20,
        "aws.log.group.names": ["/aws/lambda/orders"],
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.language": "rust",
        "telemetry.distro.name": "lambda-flush",
    })
}

/// The invocation's span. An error's type is what Lambda tells the caller.
fn invocation(outcome: &Outcome, coldstart: bool, error: Option<&str>) -> Value {
    let mut attributes = json!({
        "faas.invocation_id": outcome.request_id,
        "faas.coldstart": coldstart,
        "cloud.account.id": "123456789012",
        "cloud.resource_id": "arn:aws:lambda:eu-central-1:123456789012:function:orders",
    });
    let (code, events) = match error {
        Some(_) => ("STATUS_CODE_ERROR", vec!["exception"]),
        None => ("STATUS_CODE_UNSET", Vec::new()),
    };
    if error.is_some() {
        let answer: Value = serde_json::from_slice(&outcome.payload).expect("an answer");
        attributes["error.type"] = answer["errorType"].clone();
    }
    json!({
        "name": "orders",
        "kind": "SPAN_KIND_SERVER",
        "parent_span_id": "",
        "trace_state": "",
        "scope": format!("lambda-flush {}", env!("CARGO_PKG_VERSION")),
        "attributes": attributes,
        "status": { "code": code, "message": error.unwrap_or_default() },
        "events": events,
    })
}

fn with_parent(mut invocation: Value, children: &[&str]) -> Value {
    invocation["trace_id"] = TRACE.into();
    invocation["parent_span_id"] = PARENT.into();
    invocation["trace_state"] = TRACE_STATE.into();
    // Sampled, and its parent is remote.
    invocation["flags"] = 0x301.into();
    invocation["children"] = children.into();
    invocation
}

/// All of them, whether they come from tracing or the API.
const CHILDREN: [&str; 19] = [
    "",
    "earlier",
    "global",
    "kind Client",
    "kind Consumer",
    "kind Internal",
    "kind Producer",
    "kind Server",
    "later",
    "limits",
    "linked",
    "outer",
    "parent",
    "status",
    "status",
    "status",
    "status",
    "times",
    "values, renamed",
];

/// Per invocation its own span, the children, three grandchildren and the root of a trace apart; that root is all
/// there is of the unsampled one.
const SPANS: usize = 2 * (1 + CHILDREN.len() + 3 + 1) + 1;

/// A sample of what `fields-function` does, so that a capture that sees too little is noticed.
fn named() -> Value {
    json!({
        "limits": {
            "times": 2,
            "scope": "orders 1.2.3-β",
            "scope_schema_url": "https://opentelemetry.io/schemas/1.31.0",
            "dropped_attributes_count": 22,
            "dropped_events_count": 22,
            "dropped_links_count": 22,
        },
        "times": {
            "times": 2,
            "scope": "orders",
            "scope_schema_url": "",
            "start_time_unix_nano": 0,
            "end_time_unix_nano": 4_102_444_799_999_999_999_u64,
            "events": ["at zero", "to the nanosecond"],
        },
        "kind Producer": { "times": 2, "kind": "SPAN_KIND_PRODUCER", "flags": 0x101 },
        "renamed": { "times": 2, "status": { "code": "STATUS_CODE_OK", "message": "" }, "events": ["in a child"] },
        "parent": { "times": 2, "children": ["child"] },
        "outer": { "times": 2, "children": ["failing", "renamed"] },
    })
}

async fn every_field(strategy: &str) {
    let Some(python) = python() else { return };
    let capture = tempfile::NamedTempFile::new().expect("a file");
    let environment = Environment::start(Path::new(env!("CARGO_BIN_EXE_fields-function")), |builder| {
        builder
            .env("LAMBDA_FLUSH_STRATEGY", strategy)
            .function_env("FIELDS_FILE", capture.path().to_string_lossy())
            .function_env("OTEL_SERVICE_NAME", "checkout")
            .function_env("OTEL_RESOURCE_ATTRIBUTES", "team=caf%C3%A9%20%26%20bar,empty=")
    })
    .await;
    let ok = environment.invoke(&http_event(TRACE, "01", "ok"), Status::Ok).await;
    environment.invoke(&http_event(UNSAMPLED_TRACE, "00", "ok"), Status::Ok).await;
    let error = environment.invoke(&http_event(TRACE, "01", "error"), Status::FunctionError).await;
    let mut resource = resource("checkout");
    resource["team"] = "café & bar".into();
    resource["fields.zones"] = json!(["a", "b"]);
    resource["fields.ratio"] = 0.1.into();
    resource["fields.canary"] = true.into();
    let failure = "the order is out of stock: «ausverkauft»";
    let expected = json!({
        "resource": resource,
        "spans": SPANS,
        "absent_traces": [UNSAMPLED_TRACE],
        "named": named(),
        "invocations": [
            with_parent(invocation(&ok, true, None), &CHILDREN),
            with_parent(invocation(&error, false, Some(failure)), &CHILDREN),
        ],
    });
    environment.compare(python, Some(capture.path()), &expected).await;
}

#[tokio::test]
async fn every_field_arrives_as_it_was_recorded() {
    every_field("end").await;
}

#[tokio::test]
async fn every_field_arrives_in_one_batch_at_shutdown() {
    every_field("shutdown").await;
}

#[tokio::test]
async fn the_two_line_function_arrives_with_its_children() {
    let Some(python) = python() else { return };
    let environment = Environment::start(&minimal(), |builder| builder).await;
    let first = environment.invoke(&json!({ "order": 7 }), Status::Ok).await;
    assert_eq!(&first.payload[..], br#"{"total":294}"#);
    let second = environment.invoke(&json!({ "order": 0 }), Status::FunctionError).await;
    let children = |mut invocation: Value| {
        invocation["children"] = json!(["load", "price"]);
        invocation
    };
    let expected = json!({
        "resource": resource("orders"),
        "spans": 6,
        "invocations": [
            children(invocation(&first, true, None)),
            children(invocation(&second, false, Some("there is no order 0"))),
        ],
    });
    environment.compare(python, None, &expected).await;
}

/// `function-lib/examples/minimal.rs`, built.
fn minimal() -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "lambda-flush", "--example", "minimal"]);
    cargo.arg("--message-format=json-render-diagnostics").stdin(Stdio::null()).stderr(Stdio::inherit());
    let built = cargo.output().expect("cargo runs");
    assert!(built.status.success(), "the example was not built");
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_ours = message.pointer("/target/name")? == "minimal";
        message.get("executable")?.as_str().filter(|_| is_ours).map(PathBuf::from)
    };
    String::from_utf8_lossy(&built.stdout).lines().find_map(executable).expect("the example's path")
}
