//! OTLP log records, encoded once and in one buffer, from `tracing` events and from the SDK's records.
//!
//! The tests compare with `opentelemetry-proto`, byte for byte. Tags are those of opentelemetry-proto 1.x
//! (`logs/v1/logs.proto`, `common/v1/common.proto`).

use std::collections::HashMap;
use std::time::SystemTime;

use opentelemetry::logs::AnyValue;
use opentelemetry::{Key, SpanId, TraceFlags, TraceId};
use opentelemetry_sdk::logs::SdkLogRecord;
use tracing::{Event, Level};

use super::event::{self, Ids, Value};
use crate::encode::{
    BOOL_LEN, DOUBLE_LEN, fixed32, fixed64, int_len, nanos, put_double_value, put_text_value,
};
use crate::fields::{field, field_header, field_len, put_varint, text, text_len, varint_field};

/// Appends an `opentelemetry.proto.logs.v1.LogRecord` of an event that happened, and was observed, `at`.
pub(super) fn of_event(event: &Event<'_>, at: SystemTime, ids: Option<&Ids>, out: &mut Vec<u8>) {
    let at = nanos(at);
    let (number, name) = severity(*event.metadata().level());
    fixed64(1, at, out);
    varint_field(2, number, out);
    text(3, name, out);
    event::message(event, |message| {
        field_header(5, field_len(1, message.len()), out);
        put_text_value(message, out);
    });
    event::fields(event, |name, value| put_field(name, value, out));
    put_tail(ids.map(|ids| (ids.trace_id, ids.span_id, ids.flags)), at, "", out);
}

/// The same of a record that came by the logs API. Without a time of its own it gets the time it was observed at:
/// not every backend looks at both.
pub(super) fn of_record(record: &SdkLogRecord, out: &mut Vec<u8>) {
    let observed = record.observed_timestamp().map(nanos).unwrap_or_default();
    fixed64(1, record.timestamp().map_or(observed, nanos), out);
    // The API's severities are numbered as OTLP's.
    varint_field(2, record.severity_number().map_or(0, |severity| severity as u64), out);
    text(3, record.severity_text().unwrap_or_default(), out);
    if let Some(body) = record.body() {
        field_header(5, any_len(body), out);
        put_any(body, out);
    }
    for (key, value) in record.attributes_iter() {
        put_pair(6, key.as_str(), any_len(value), out);
        put_any(value, out);
    }
    let ids = record.trace_context().map(|cx| (cx.trace_id, cx.span_id, cx.trace_flags.unwrap_or_default()));
    put_tail(ids, observed, record.event_name().unwrap_or_default(), out);
}

fn severity(level: Level) -> (u64, &'static str) {
    match level {
        Level::TRACE => (1, "TRACE"),
        Level::DEBUG => (5, "DEBUG"),
        Level::INFO => (9, "INFO"),
        Level::WARN => (13, "WARN"),
        Level::ERROR => (17, "ERROR"),
    }
}

fn put_tail(ids: Option<(TraceId, SpanId, TraceFlags)>, observed: u64, name: &str, out: &mut Vec<u8>) {
    if let Some((trace_id, span_id, flags)) = ids {
        if flags != TraceFlags::NOT_SAMPLED {
            fixed32(8, flags.to_u8().into(), out);
        }
        field(9, &trace_id.to_bytes(), out);
        field(10, &span_id.to_bytes(), out);
    }
    fixed64(11, observed, out);
    text(12, name, out);
}

/// A `KeyValue` up to its value, which has to follow.
fn put_pair(tag: u32, key: &str, value_len: usize, out: &mut Vec<u8>) {
    field_header(tag, text_len(1, key) + field_len(2, value_len), out);
    text(1, key, out);
    field_header(2, value_len, out);
}

fn put_field(name: &str, value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Bool(value) => {
            put_pair(6, name, BOOL_LEN, out);
            put_varint(2, value.into(), out);
        }
        Value::I64(value) => put_int_field(name, value, out),
        Value::U64(value) => match i64::try_from(value) {
            Ok(value) => put_int_field(name, value, out),
            // OTLP has no unsigned integer; a text keeps it whole.
            Err(_) => put_field(name, Value::Text(&value.to_string()), out),
        },
        Value::F64(value) => {
            put_pair(6, name, DOUBLE_LEN, out);
            put_double_value(value, out);
        }
        Value::Text(text) => {
            put_pair(6, name, field_len(1, text.len()), out);
            put_text_value(text, out);
        }
        Value::Bytes(bytes) => {
            put_pair(6, name, field_len(7, bytes.len()), out);
            field(7, bytes, out);
        }
    }
}

fn put_int_field(name: &str, value: i64, out: &mut Vec<u8>) {
    put_pair(6, name, int_len(value), out);
    put_varint(3, value.cast_unsigned(), out);
}

/// An `AnyValue`. It is a oneof: zero and the empty text are written, too.
fn put_any(value: &AnyValue, out: &mut Vec<u8>) {
    match value {
        AnyValue::String(text) => put_text_value(text.as_str(), out),
        AnyValue::Boolean(value) => put_varint(2, (*value).into(), out),
        AnyValue::Int(value) => put_varint(3, value.cast_unsigned(), out),
        AnyValue::Double(value) => put_double_value(*value, out),
        AnyValue::ListAny(values) => {
            field_header(5, list_len(values), out);
            for value in &**values {
                field_header(1, any_len(value), out);
                put_any(value, out);
            }
        }
        AnyValue::Map(map) => {
            field_header(6, map_len(map), out);
            for (key, value) in &**map {
                put_pair(1, key.as_str(), any_len(value), out);
                put_any(value, out);
            }
        }
        AnyValue::Bytes(bytes) => field(7, bytes, out),
        // The API's enum is open; a kind of value that is not known here is an empty one.
        _ => {}
    }
}

fn any_len(value: &AnyValue) -> usize {
    match value {
        AnyValue::String(text) => field_len(1, text.as_str().len()),
        AnyValue::Boolean(_) => BOOL_LEN,
        AnyValue::Int(value) => int_len(*value),
        AnyValue::Double(_) => DOUBLE_LEN,
        AnyValue::ListAny(values) => field_len(5, list_len(values)),
        AnyValue::Map(map) => field_len(6, map_len(map)),
        AnyValue::Bytes(bytes) => field_len(7, bytes.len()),
        _ => 0,
    }
}

fn list_len(values: &[AnyValue]) -> usize {
    values.iter().map(|value| field_len(1, any_len(value))).sum()
}

fn map_len(map: &HashMap<Key, AnyValue>) -> usize {
    let pair_len = |key: &Key, value| text_len(1, key.as_str()) + field_len(2, any_len(value));
    map.iter().map(|(key, value)| field_len(1, pair_len(key, value))).sum()
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
