//! A span processor that writes down every field of every span that ends, in the SDK's words and not OTLP's.
//!
//! One JSON object per line. A value carries its type; a float is written as its bits, because JSON has no NaN.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Event, Link, SpanContext, Status};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use serde_json::{Value as Json, json};

/// Names the file.
const FILE_ENV: &str = "FIELDS_FILE";

#[derive(Debug)]
pub(crate) struct Capture {
    file: Mutex<File>,
    resource: Json,
}

impl Capture {
    /// Creates the file named by `FIELDS_FILE`.
    pub(crate) fn from_env() -> io::Result<Self> {
        let path = std::env::var_os(FILE_ENV);
        let path =
            path.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{FILE_ENV} is not set")))?;
        Ok(Self { file: Mutex::new(File::create(path)?), resource: Json::Null })
    }
}

impl SpanProcessor for Capture {
    fn on_start(&self, _span: &mut Span, _cx: &Context) {}

    fn on_end(&self, span: SpanData) {
        let scope = scope(&span.instrumentation_scope);
        let line = json!({ "resource": self.resource, "scope": scope, "span": of_span(&span) });
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A line that is not written makes the comparison fail; that is the place to tell it.
        if let Err(error) = writeln!(file, "{line}") {
            eprintln!("fields-function: {error}");
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        let attributes: Vec<Json> = resource
            .iter()
            .map(|(key, of_key)| json!({ "key": key.as_str(), "value": value(of_key) }))
            .collect();
        self.resource = json!({ "schema_url": resource.schema_url(), "attributes": attributes });
    }
}

fn of_span(span: &SpanData) -> Json {
    json!({
        "context": context(&span.span_context),
        "parent_span_id": span.parent_span_id.to_string(),
        "parent_is_remote": span.parent_span_is_remote,
        "kind": format!("{:?}", span.span_kind),
        "name": span.name,
        "start": nanoseconds(span.start_time),
        "end": nanoseconds(span.end_time),
        "attributes": attributes(&span.attributes),
        "attributes_dropped": span.dropped_attributes_count,
        "events": span.events.iter().map(event).collect::<Vec<_>>(),
        "events_dropped": span.events.dropped_count,
        "links": span.links.iter().map(link).collect::<Vec<_>>(),
        "links_dropped": span.links.dropped_count,
        "status": status(&span.status),
    })
}

fn context(context: &SpanContext) -> Json {
    json!({
        "trace_id": context.trace_id().to_string(),
        "span_id": context.span_id().to_string(),
        "trace_flags": context.trace_flags().to_u8(),
        "is_remote": context.is_remote(),
        "trace_state": context.trace_state().header(),
    })
}

fn event(event: &Event) -> Json {
    json!({
        "name": event.name,
        "time": nanoseconds(event.timestamp),
        "attributes": attributes(&event.attributes),
        "attributes_dropped": event.dropped_attributes_count,
    })
}

fn link(link: &Link) -> Json {
    json!({
        "context": context(&link.span_context),
        "attributes": attributes(&link.attributes),
        "attributes_dropped": link.dropped_attributes_count,
    })
}

fn status(status: &Status) -> Json {
    match status {
        Status::Unset => json!({ "code": "Unset", "description": "" }),
        Status::Ok => json!({ "code": "Ok", "description": "" }),
        Status::Error { description } => json!({ "code": "Error", "description": description }),
    }
}

fn scope(scope: &InstrumentationScope) -> Json {
    json!({
        "name": scope.name(),
        "version": scope.version(),
        "schema_url": scope.schema_url(),
        "attributes": scope.attributes().map(attribute).collect::<Vec<_>>(),
    })
}

fn attributes(attributes: &[KeyValue]) -> Vec<Json> {
    attributes.iter().map(attribute).collect()
}

fn attribute(attribute: &KeyValue) -> Json {
    json!({ "key": attribute.key.as_str(), "value": value(&attribute.value) })
}

fn value(value: &Value) -> Json {
    match value {
        Value::Bool(value) => boolean(value),
        Value::I64(value) => integer(value),
        Value::F64(value) => float(value),
        Value::String(value) => string(value.as_str()),
        Value::Array(Array::Bool(values)) => array(values, boolean),
        Value::Array(Array::I64(values)) => array(values, integer),
        Value::Array(Array::F64(values)) => array(values, float),
        Value::Array(Array::String(values)) => array(values, |value| string(value.as_str())),
        // A type that a later SDK brings: the comparison does not know it either, and fails.
        other => json!({ "unknown": format!("{other:?}") }),
    }
}

fn boolean(value: &bool) -> Json {
    json!({ "bool": value })
}

fn integer(value: &i64) -> Json {
    json!({ "i64": value })
}

fn float(value: &f64) -> Json {
    json!({ "f64_bits": format!("{:016x}", value.to_bits()) })
}

fn string(value: &str) -> Json {
    json!({ "string": value })
}

fn array<T>(values: &[T], of_one: impl Fn(&T) -> Json) -> Json {
    json!({ "array": values.iter().map(of_one).collect::<Vec<_>>() })
}

/// Since 1970; OTLP has no time before.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
