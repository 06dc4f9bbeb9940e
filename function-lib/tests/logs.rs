//! Logs as the extension and stdout get them: places, types, scopes, filters, and no feedback.
#![cfg(feature = "logs")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::fmt;
use std::process::{Command, Stdio};

use common::{FakeExtension, Manners, builder, builder_with};
use lambda_flush::Telemetry;
use lambda_flush_proto::{Received, Signal};
use opentelemetry::logs::{LogRecord as _, Logger, LoggerProvider, Severity};
use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope as OtlpScope;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use serde_json::Value as Json;
use tracing_subscriber::layer::SubscriberExt;

/// Everything `install_global` installs, for one thread.
fn subscriber(telemetry: &Telemetry) -> impl tracing::Subscriber + Send + Sync + use<> {
    tracing_subscriber::registry().with(telemetry.tracing_layer()).with(telemetry.logs_layer())
}

/// The scope and the record of every log record received.
fn logs(received: &[Received]) -> Vec<(OtlpScope, LogRecord)> {
    let scope = |wanted: u32| {
        let named = received.iter().find_map(|message| match message {
            Received::Scope(scope) if scope.id == wanted => Some(scope.scope.clone()),
            _ => None,
        });
        OtlpScope::decode(named.unwrap()).unwrap()
    };
    let decode = |message: &Received| match message {
        Received::Item(item) if item.signal == Signal::Logs => {
            let lambda_flush_proto::extension_link::Content::Item { scope_id } = item.content else {
                panic!("not an item: {item:?}")
            };
            Some((scope(scope_id), LogRecord::decode(item.bytes.clone()).unwrap()))
        }
        _ => None,
    };
    received.iter().filter_map(decode).collect()
}

fn wait_for_logs(extension: &FakeExtension, count: usize) -> Vec<(OtlpScope, LogRecord)> {
    extension.wait_for(&format!("{count} log records"), |received| {
        Some(logs(received)).filter(|logs| logs.len() >= count)
    })
}

fn body(record: &LogRecord) -> &str {
    match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_has_the_ids_of_the_span_it_happened_in_and_its_target_as_scope() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder(&extension.address).init().unwrap();
    tracing::subscriber::with_default(subscriber(&telemetry), || {
        tracing::info!("outside");
        let span = tracing::info_span!("work");
        span.in_scope(|| tracing::info!(target: "orders::db", rows = 3, "inside"));
        tracing::info!(parent: &span, "named parent");
        tracing::info_span!("other").in_scope(|| tracing::info!(parent: None, "no parent"));
        drop(span);
        let api = telemetry.tracer_provider().tracer("api").start("by the API");
        let _attached = Context::current_with_span(api).attach();
        tracing::info!("in a span of the API");
    });
    let logs = wait_for_logs(&extension, 5);
    let spans = extension.wait_for_spans(2);
    let of_span = |name: &str| {
        let (.., span) = spans.iter().find(|(.., span)| span.name == name).unwrap();
        (span.trace_id.clone(), span.span_id.clone(), 1)
    };
    let none = (Vec::new(), Vec::new(), 0);
    let placed: Vec<_> = logs
        .iter()
        .map(|(_, record)| (body(record), (record.trace_id.clone(), record.span_id.clone(), record.flags)))
        .collect();
    assert_eq!(placed[0], ("outside", none.clone()));
    assert_eq!(placed[1], ("inside", of_span("work")));
    assert_eq!(placed[2], ("named parent", of_span("work")));
    assert_eq!(placed[3], ("no parent", none));
    assert_eq!(placed[4].0, "in a span of the API");
    assert_eq!(placed[4].1.1.len(), 8);
    assert_eq!((logs[0].0.name.as_str(), logs[1].0.name.as_str()), (module_path!(), "orders::db"));
    assert_eq!(logs[1].1.attributes[0].key, "rows");
}

#[test]
fn records_of_the_logs_api_take_the_same_way() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder(&extension.address).init().unwrap();
    let scope = InstrumentationScope::builder("audit")
        .with_version("1.2")
        .with_attributes([KeyValue::new("team", "orders")])
        .build();
    let logger = telemetry.logger_provider().logger_with_scope(scope);
    let tracer = telemetry.tracer_provider().tracer("api");
    tracer.in_span("work", |_| {
        for target in [None, Some("orders::audit")] {
            let mut record = logger.create_log_record();
            record.set_severity_number(Severity::Error2);
            record.set_event_name("order.refused");
            record.set_body("no stock".into());
            if let Some(target) = target {
                record.set_target(target);
            }
            logger.emit(record);
        }
    });
    let logs = wait_for_logs(&extension, 2);
    let (.., span) = &extension.wait_for_spans(1)[0];
    for ((scope, record), name) in logs.iter().zip(["audit", "orders::audit"]) {
        assert_eq!((scope.name.as_str(), scope.version.as_str(), scope.attributes.len()), (name, "1.2", 1));
        assert_eq!(
            (record.severity_number, record.event_name.as_str(), body(record)),
            (18, "order.refused", "no stock")
        );
        assert_eq!((&record.trace_id, &record.span_id), (&span.trace_id, &span.span_id));
        assert!(record.time_unix_nano > 0 && record.observed_time_unix_nano > 0);
    }
    // Whoever ends the logs does not end the link.
    telemetry.logger_provider().shutdown().unwrap();
    tracer.in_span("afterwards", |_| ());
    extension.wait_for_spans(2);
}

#[test]
fn the_filter_is_the_spans_and_the_stacks_own_chatter_is_off() {
    let extension = FakeExtension::start(Manners::default());
    let variables = [("RUST_LOG", "warn,orders=debug"), ("OTEL_METRICS_EXPORTER", "none")];
    let telemetry = builder_with(&extension.address, &variables).init().unwrap();
    tracing::subscriber::with_default(subscriber(&telemetry), || {
        tracing::error!(target: "opentelemetry_sdk", "chatter");
        tracing::error!(target: "hyper::client", "chatter");
        tracing::error!(target: "hyper_util::client", "chatter");
        tracing::error!(target: "tokio::runtime", "chatter");
        tracing::error!(target: "rustls::client", "chatter");
        tracing::error!(target: "h2::proto", "chatter");
        tracing::info!("below the level");
        tracing::debug!(target: "orders::db", "asked for");
        tracing::warn!("last");
    });
    let bodies: Vec<_> = wait_for_logs(&extension, 2).iter().map(|(_, log)| body(log).to_owned()).collect();
    assert_eq!(bodies, ["asked for", "last"]);
    assert_eq!(telemetry.stats().ended, 2);
}

/// Renders itself by logging itself.
struct Echo;

impl fmt::Debug for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        tracing::error!(echo = ?Echo, "echo");
        f.write_str("Echo")
    }
}

/// A global subscriber, as `init` installs it, has no guard against events in events.
#[test]
#[ignore = "child of there_is_no_feedback"]
fn child_feedback() {
    let address = std::env::var("LOGS_TEST_SOCKET").unwrap();
    let telemetry = builder(&address).install_global(true).init().unwrap();
    tracing::info!(echo = ?Echo, "call");
    let _suppressed = Context::enter_telemetry_suppressed_scope();
    tracing::error!("by an exporter");
    tracing::error_span!("by an exporter").in_scope(|| ());
    assert_eq!((telemetry.stats().ended, telemetry.stats().written), (1, 1));
}

#[test]
fn there_is_no_feedback() {
    let extension = FakeExtension::start(Manners::default());
    let lines = child("child_feedback", &[("LOGS_TEST_SOCKET", &extension.address)]);
    let logs = wait_for_logs(&extension, 1);
    assert_eq!((logs.len(), body(&logs[0].1)), (1, "call"));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((&lines[0]["message"], &lines[0]["fields"]["echo"]), (&"call".into(), &"Echo".into()));
}

#[test]
fn logs_can_be_turned_off_apart_from_the_rest() {
    for (variable, value, spans) in [("OTEL_LOGS_EXPORTER", "none", 1), ("OTEL_SDK_DISABLED", "true", 0)] {
        let extension = FakeExtension::start(Manners::default());
        let variables = [(variable, value), ("OTEL_METRICS_EXPORTER", "none")];
        let telemetry = builder_with(&extension.address, &variables).init().unwrap();
        tracing::subscriber::with_default(subscriber(&telemetry), || {
            tracing::info_span!("work").in_scope(|| tracing::info!("text"));
        });
        let logger = telemetry.logger_provider().logger("audit");
        logger.emit(logger.create_log_record());
        assert_eq!(telemetry.stats().ended, spans, "{variable}");
    }
}

/// Runs an ignored test of this file in a process of its own, and returns the JSON lines it has printed.
fn child(name: &str, variables: &[(&str, &str)]) -> Vec<Json> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]).envs(variables.iter().copied());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(Json::is_object).collect()
}

#[test]
#[ignore = "child of stdout_has_a_line_for_each_event"]
fn child_stdout() {
    let level =
        std::env::var("AWS_LAMBDA_LOG_LEVEL").ok().map(|level| ("AWS_LAMBDA_LOG_LEVEL".to_owned(), level));
    let stdout =
        std::env::var("LAMBDA_FLUSH_STDOUT").ok().map(|value| ("LAMBDA_FLUSH_STDOUT".to_owned(), value));
    let source: std::collections::HashMap<_, _> = level.into_iter().chain(stdout).collect();
    let telemetry = Telemetry::builder().source(source).init().unwrap();
    tracing::info_span!("work").in_scope(|| {
        tracing::warn!(large = u64::MAX, name = "ä\n\"", ratio = f64::INFINITY, "two\nlines");
    });
    tracing::info!("plain");
    tracing::error!(target: "lambda_runtime::layers::panic", "a handler's error");
    tracing::error!(target: "hyper::client", "chatter");
    // Nobody reads it any more.
    let stdout = rustix::io::dup(std::io::stdout()).unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    rustix::stdio::dup2_stdout(&writer).unwrap();
    drop((reader, writer));
    for _ in 0..1_000 {
        tracing::error!("to nobody");
    }
    rustix::stdio::dup2_stdout(&stdout).unwrap();
    tracing::error!("last");
    drop(telemetry);
}

#[test]
fn stdout_has_a_line_for_each_event() {
    let messages = |lines: &[Json]| -> Vec<String> {
        lines.iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    };
    let lines = child("child_stdout", &[]);
    assert_eq!(messages(&lines), ["two\nlines", "plain", "a handler's error", "last"]);
    let first = lines[0].as_object().unwrap();
    assert_eq!((&first["level"], &first["target"]), (&"WARN".into(), &module_path!().into()));
    let fields = serde_json::json!({ "large": u64::MAX, "name": "ä\n\"", "ratio": "inf" });
    assert_eq!(first["fields"], fields);
    let ids = ["trace_id", "span_id"].map(|name| first[name].as_str().unwrap().len());
    assert_eq!(ids, [32, 16]);
    assert_eq!(first["timestamp"].as_str().unwrap().len(), "2026-11-23T14:25:36.123Z".len());
    assert_eq!(lines[1].as_object().unwrap().len(), 4, "{}", lines[1]);
    let severe = child("child_stdout", &[("AWS_LAMBDA_LOG_LEVEL", "ERROR")]);
    assert_eq!(messages(&severe), ["a handler's error", "last"]);
    assert!(child("child_stdout", &[("LAMBDA_FLUSH_STDOUT", "off")]).is_empty());
}
