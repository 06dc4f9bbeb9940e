//! From the SDK's types to OTLP bytes, once and in one buffer, which the caller brings and uses again (`scratch.rs`).
//! Nothing decodes them again on this machine.
//!
//! The intermediate messages of `opentelemetry-proto` would cost some fifteen allocations a span; its encoding is
//! what the tests compare with, byte for byte. Tags are those of opentelemetry-proto 1.x (`trace/v1/trace.proto`,
//! `common/v1/common.proto`, `resource/v1/resource.proto`).

use std::time::SystemTime;

use bytes::BufMut;
use lambda_flush_proto::splice::varint_field_len;
use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags};
use opentelemetry::{Array, InstrumentationScope, Key, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::encoding::{WireType, encode_key, encoded_len_varint, key_len};

use crate::fields::{field, field_header, field_len, put_fixed64, put_varint, text, text_len, varint_field};

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` and `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Appends an `opentelemetry.proto.trace.v1.Span`.
pub(crate) fn span(span: &SpanData, out: &mut Vec<u8>) {
    field(1, &span.span_context.trace_id().to_bytes(), out);
    field(2, &span.span_context.span_id().to_bytes(), out);
    text(3, &span.span_context.trace_state().header(), out);
    if span.parent_span_id != SpanId::INVALID {
        field(4, &span.parent_span_id.to_bytes(), out);
    }
    text(5, &span.name, out);
    varint_field(6, kind(&span.span_kind), out);
    fixed64(7, nanos(span.start_time), out);
    fixed64(8, nanos(span.end_time), out);
    attributes(9, span.attributes.iter().map(pair), out);
    varint_field(10, span.dropped_attributes_count.into(), out);
    for event in &span.events.events {
        put_event(11, event, out);
    }
    varint_field(12, span.events.dropped_count.into(), out);
    for link in &span.links.links {
        put_link(13, link, out);
    }
    varint_field(14, span.links.dropped_count.into(), out);
    put_status(15, &span.status, out);
    fixed32(16, flags(span.parent_span_is_remote, span.span_context.trace_flags()), out);
}

/// An `opentelemetry.proto.common.v1.InstrumentationScope`, without its schema URL.
pub(crate) fn scope(scope: &InstrumentationScope) -> Vec<u8> {
    let mut out = Vec::new();
    text(1, scope.name(), &mut out);
    text(2, scope.version().unwrap_or_default(), &mut out);
    attributes(3, scope.attributes().map(pair), &mut out);
    out
}

/// An `opentelemetry.proto.resource.v1.Resource`, without its schema URL.
pub(crate) fn resource(resource: &Resource) -> Vec<u8> {
    let mut out = Vec::new();
    attributes(1, resource.iter(), &mut out);
    out
}

pub(crate) fn pair(attribute: &KeyValue) -> (&Key, &Value) {
    (&attribute.key, &attribute.value)
}

fn put_event(tag: u32, event: &Event, out: &mut Vec<u8>) {
    let len = fixed64_len(1, nanos(event.timestamp))
        + text_len(2, &event.name)
        + attributes_len(3, event.attributes.iter().map(pair))
        + varint_field_len(4, event.dropped_attributes_count.into());
    field_header(tag, len, out);
    fixed64(1, nanos(event.timestamp), out);
    text(2, &event.name, out);
    attributes(3, event.attributes.iter().map(pair), out);
    varint_field(4, event.dropped_attributes_count.into(), out);
}

fn put_link(tag: u32, link: &Link, out: &mut Vec<u8>) {
    let cx: &SpanContext = &link.span_context;
    let (trace_id, span_id, state) =
        (cx.trace_id().to_bytes(), cx.span_id().to_bytes(), cx.trace_state().header());
    let flags = flags(cx.is_remote(), cx.trace_flags());
    let len = field_len(1, trace_id.len())
        + field_len(2, span_id.len())
        + text_len(3, &state)
        + attributes_len(4, link.attributes.iter().map(pair))
        + varint_field_len(5, link.dropped_attributes_count.into())
        + fixed32_len(6);
    field_header(tag, len, out);
    field(1, &trace_id, out);
    field(2, &span_id, out);
    text(3, &state, out);
    attributes(4, link.attributes.iter().map(pair), out);
    varint_field(5, link.dropped_attributes_count.into(), out);
    fixed32(6, flags, out);
}

fn put_status(tag: u32, status: &Status, out: &mut Vec<u8>) {
    let (message, code) = match status {
        Status::Unset => ("", 0),
        Status::Ok => ("", 1),
        Status::Error { description } => (description.as_ref(), 2),
    };
    field_header(tag, text_len(2, message) + varint_field_len(3, code), out);
    text(2, message, out);
    varint_field(3, code, out);
}

fn kind(kind: &SpanKind) -> u64 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

fn flags(is_remote: bool, flags: TraceFlags) -> u32 {
    HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 } | u32::from(flags.to_u8())
}

pub(crate) fn attributes<'a>(tag: u32, pairs: impl Iterator<Item = (&'a Key, &'a Value)>, out: &mut Vec<u8>) {
    for (key, value) in pairs {
        let (key, value_len) = (key.as_str(), value_len(value));
        field_header(tag, text_len(1, key) + field_len(2, value_len), out);
        text(1, key, out);
        field_header(2, value_len, out);
        put_value(value, out);
    }
}

fn attributes_len<'a>(tag: u32, pairs: impl Iterator<Item = (&'a Key, &'a Value)>) -> usize {
    pairs.map(|(key, value)| field_len(tag, text_len(1, key.as_str()) + field_len(2, value_len(value)))).sum()
}

/// An `AnyValue`. It is a oneof: zero and the empty text are written, too.
fn put_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => put_text_value(text.as_ref(), out),
        Value::Bool(value) => put_varint(2, u64::from(*value), out),
        Value::I64(value) => put_varint(3, value.cast_unsigned(), out),
        Value::F64(value) => put_double_value(*value, out),
        Value::Array(array) => {
            field_header(5, array_len(array), out);
            put_array(array, out);
        }
        // The API's enum is open; a kind of value that is not known here is an empty one.
        _ => {}
    }
}

fn value_len(value: &Value) -> usize {
    match value {
        Value::String(text) => field_len(1, text.as_ref().len()),
        Value::Bool(_) => BOOL_LEN,
        Value::I64(value) => int_len(*value),
        Value::F64(_) => DOUBLE_LEN,
        Value::Array(array) => field_len(5, array_len(array)),
        _ => 0,
    }
}

pub(crate) const BOOL_LEN: usize = 2;
pub(crate) const DOUBLE_LEN: usize = 9;

pub(crate) fn int_len(value: i64) -> usize {
    key_len(3) + encoded_len_varint(value.cast_unsigned())
}

/// The `values` of an `ArrayValue`.
fn put_array(array: &Array, out: &mut Vec<u8>) {
    match array {
        Array::Bool(values) => values.iter().for_each(|value| {
            field_header(1, BOOL_LEN, out);
            put_varint(2, u64::from(*value), out);
        }),
        Array::I64(values) => values.iter().for_each(|value| {
            field_header(1, int_len(*value), out);
            put_varint(3, value.cast_unsigned(), out);
        }),
        Array::F64(values) => values.iter().for_each(|value| {
            field_header(1, DOUBLE_LEN, out);
            put_double_value(*value, out);
        }),
        Array::String(values) => values.iter().for_each(|value| {
            field_header(1, field_len(1, value.as_ref().len()), out);
            put_text_value(value.as_ref(), out);
        }),
        _ => {}
    }
}

fn array_len(array: &Array) -> usize {
    match array {
        Array::Bool(values) => values.len() * field_len(1, BOOL_LEN),
        Array::I64(values) => values.iter().map(|value| field_len(1, int_len(*value))).sum(),
        Array::F64(values) => values.len() * field_len(1, DOUBLE_LEN),
        Array::String(values) => {
            values.iter().map(|text| field_len(1, field_len(1, text.as_ref().len()))).sum()
        }
        _ => 0,
    }
}

pub(crate) fn put_text_value(text: &str, out: &mut Vec<u8>) {
    field(1, text.as_bytes(), out);
}

pub(crate) fn put_double_value(value: f64, out: &mut Vec<u8>) {
    put_fixed64(4, value.to_bits(), out);
}

pub(crate) fn fixed64(tag: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        put_fixed64(tag, value, out);
    }
}

fn fixed64_len(tag: u32, value: u64) -> usize {
    if value == 0 { 0 } else { key_len(tag) + size_of::<u64>() }
}

/// A flags field, which is never zero.
pub(crate) fn fixed32(tag: u32, value: u32, out: &mut Vec<u8>) {
    encode_key(tag, WireType::ThirtyTwoBit, out);
    out.put_u32_le(value);
}

fn fixed32_len(tag: u32) -> usize {
    key_len(tag) + size_of::<u32>()
}

pub(crate) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
