//! Export requests with something in every field, made from a seed by OTLP's own generated types.

use fastrand::Rng;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

/// Some of something: none at times.
fn some<T>(rng: &mut Rng, most: usize, mut one: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    (0..rng.usize(0..=most)).map(|_| one(rng)).collect()
}

fn maybe<T>(rng: &mut Rng, one: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    rng.bool().then(|| one(rng))
}

fn text(rng: &mut Rng) -> String {
    let words =
        ["", "GET", "http.request.method", "größe", "日本語の属性", "\u{1F680}", "a \"quoted\" \\ line\n"];
    words[rng.usize(..words.len())].repeat(rng.usize(1..4))
}

/// Zero and the extremes come up often.
fn number(rng: &mut Rng) -> u64 {
    match rng.u8(..6) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << 63,
        3 => rng.u64(..200),
        _ => rng.u64(..),
    }
}

/// As [`number`].
fn small(rng: &mut Rng) -> u32 {
    u32::try_from(number(rng)).unwrap_or(u32::MAX)
}

fn double(rng: &mut Rng) -> f64 {
    let special = [0.0, 1.5, -2.25, -1e300, f64::MAX, f64::MIN_POSITIVE, 1e-7];
    if rng.bool() { special[rng.usize(..special.len())] } else { rng.f64() * 1e6 }
}

fn bytes(rng: &mut Rng, length: usize) -> Vec<u8> {
    if rng.u8(..4) == 0 { Vec::new() } else { (0..length).map(|_| rng.u8(..)).collect() }
}

fn any(rng: &mut Rng, depth: u32) -> AnyValue {
    let value = match rng.u8(..if depth == 0 { 6 } else { 8 }) {
        0 => Value::StringValue(text(rng)),
        1 => Value::BoolValue(rng.bool()),
        2 => Value::IntValue(number(rng).cast_signed()),
        3 => Value::DoubleValue(double(rng)),
        4 => Value::BytesValue(bytes(rng, 20)),
        5 => return AnyValue { value: None },
        6 => Value::ArrayValue(ArrayValue { values: some(rng, 3, |rng| any(rng, depth - 1)) }),
        _ => Value::KvlistValue(KeyValueList { values: some(rng, 3, |rng| key_value(rng, depth - 1)) }),
    };
    AnyValue { value: Some(value) }
}

fn key_value(rng: &mut Rng, depth: u32) -> KeyValue {
    KeyValue { key: text(rng), value: maybe(rng, |rng| any(rng, depth)), ..KeyValue::default() }
}

fn attributes(rng: &mut Rng) -> Vec<KeyValue> {
    some(rng, 4, |rng| key_value(rng, 3))
}

fn resource(rng: &mut Rng) -> Resource {
    let entity = |rng: &mut Rng| EntityRef {
        schema_url: text(rng),
        r#type: text(rng),
        id_keys: some(rng, 2, text),
        description_keys: some(rng, 2, text),
    };
    Resource {
        attributes: attributes(rng),
        dropped_attributes_count: small(rng),
        entity_refs: some(rng, 2, entity),
    }
}

fn scope(rng: &mut Rng) -> InstrumentationScope {
    InstrumentationScope {
        name: text(rng),
        version: text(rng),
        attributes: attributes(rng),
        dropped_attributes_count: small(rng),
    }
}

fn span(rng: &mut Rng) -> Span {
    let event = |rng: &mut Rng| Event {
        time_unix_nano: number(rng),
        name: text(rng),
        attributes: attributes(rng),
        dropped_attributes_count: small(rng),
    };
    let link = |rng: &mut Rng| Link {
        trace_id: bytes(rng, 16),
        span_id: bytes(rng, 8),
        trace_state: text(rng),
        attributes: attributes(rng),
        dropped_attributes_count: small(rng),
        flags: small(rng),
    };
    Span {
        trace_id: bytes(rng, 16),
        span_id: bytes(rng, 8),
        trace_state: text(rng),
        parent_span_id: bytes(rng, 8),
        flags: small(rng),
        name: text(rng),
        kind: rng.i32(0..6),
        start_time_unix_nano: number(rng),
        end_time_unix_nano: number(rng),
        attributes: attributes(rng),
        dropped_attributes_count: small(rng),
        events: some(rng, 2, event),
        dropped_events_count: small(rng),
        links: some(rng, 2, link),
        dropped_links_count: small(rng),
        status: maybe(rng, |rng| Status { message: text(rng), code: rng.i32(0..3) }),
    }
}

fn log_record(rng: &mut Rng) -> LogRecord {
    LogRecord {
        time_unix_nano: number(rng),
        observed_time_unix_nano: number(rng),
        severity_number: rng.i32(0..25),
        severity_text: text(rng),
        body: maybe(rng, |rng| any(rng, 3)),
        attributes: attributes(rng),
        dropped_attributes_count: small(rng),
        flags: small(rng),
        trace_id: bytes(rng, 16),
        span_id: bytes(rng, 8),
        event_name: text(rng),
    }
}

fn exemplar(rng: &mut Rng) -> Exemplar {
    let value = |rng: &mut Rng| match rng.bool() {
        true => exemplar::Value::AsDouble(double(rng)),
        false => exemplar::Value::AsInt(number(rng).cast_signed()),
    };
    Exemplar {
        filtered_attributes: attributes(rng),
        time_unix_nano: number(rng),
        span_id: bytes(rng, 8),
        trace_id: bytes(rng, 16),
        value: maybe(rng, value),
    }
}

fn number_point(rng: &mut Rng) -> NumberDataPoint {
    let value = |rng: &mut Rng| match rng.bool() {
        true => number_data_point::Value::AsDouble(double(rng)),
        false => number_data_point::Value::AsInt(number(rng).cast_signed()),
    };
    NumberDataPoint {
        attributes: attributes(rng),
        start_time_unix_nano: number(rng),
        time_unix_nano: number(rng),
        exemplars: some(rng, 2, exemplar),
        flags: small(rng),
        value: maybe(rng, value),
    }
}

fn histogram_point(rng: &mut Rng) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: attributes(rng),
        start_time_unix_nano: number(rng),
        time_unix_nano: number(rng),
        count: number(rng),
        sum: maybe(rng, double),
        bucket_counts: some(rng, 20, number),
        explicit_bounds: some(rng, 20, double),
        exemplars: some(rng, 1, exemplar),
        flags: small(rng),
        min: maybe(rng, double),
        max: maybe(rng, double),
    }
}

fn exponential_point(rng: &mut Rng) -> ExponentialHistogramDataPoint {
    let buckets = |rng: &mut Rng| Buckets { offset: rng.i32(..), bucket_counts: some(rng, 20, number) };
    ExponentialHistogramDataPoint {
        attributes: attributes(rng),
        start_time_unix_nano: number(rng),
        time_unix_nano: number(rng),
        count: number(rng),
        sum: maybe(rng, double),
        scale: rng.i32(..),
        zero_count: number(rng),
        positive: maybe(rng, buckets),
        negative: maybe(rng, buckets),
        flags: small(rng),
        exemplars: some(rng, 1, exemplar),
        min: maybe(rng, double),
        max: maybe(rng, double),
        zero_threshold: double(rng),
    }
}

fn summary_point(rng: &mut Rng) -> SummaryDataPoint {
    let quantile = |rng: &mut Rng| ValueAtQuantile { quantile: double(rng), value: double(rng) };
    SummaryDataPoint {
        attributes: attributes(rng),
        start_time_unix_nano: number(rng),
        time_unix_nano: number(rng),
        count: number(rng),
        sum: double(rng),
        quantile_values: some(rng, 3, quantile),
        flags: small(rng),
    }
}

fn metric(rng: &mut Rng) -> Metric {
    let aggregation_temporality = rng.i32(0..3);
    let data = match rng.u8(..6) {
        0 => None,
        1 => Some(metric::Data::Gauge(Gauge { data_points: some(rng, 3, number_point) })),
        2 => Some(metric::Data::Sum(Sum {
            data_points: some(rng, 3, number_point),
            aggregation_temporality,
            is_monotonic: rng.bool(),
        })),
        3 => Some(metric::Data::Histogram(Histogram {
            data_points: some(rng, 3, histogram_point),
            aggregation_temporality,
        })),
        4 => Some(metric::Data::ExponentialHistogram(ExponentialHistogram {
            data_points: some(rng, 3, exponential_point),
            aggregation_temporality,
        })),
        _ => Some(metric::Data::Summary(Summary { data_points: some(rng, 3, summary_point) })),
    };
    Metric { name: text(rng), description: text(rng), unit: text(rng), metadata: attributes(rng), data }
}

/// A request of spans.
pub(crate) fn traces(rng: &mut Rng) -> ExportTraceServiceRequest {
    let scope_spans = |rng: &mut Rng| ScopeSpans {
        scope: maybe(rng, scope),
        spans: some(rng, 4, span),
        schema_url: text(rng),
    };
    let resource_spans = |rng: &mut Rng| ResourceSpans {
        resource: maybe(rng, resource),
        scope_spans: some(rng, 3, scope_spans),
        schema_url: text(rng),
    };
    ExportTraceServiceRequest { resource_spans: some(rng, 3, resource_spans) }
}

/// A request of log records.
pub(crate) fn logs(rng: &mut Rng) -> ExportLogsServiceRequest {
    let scope_logs = |rng: &mut Rng| ScopeLogs {
        scope: maybe(rng, scope),
        log_records: some(rng, 4, log_record),
        schema_url: text(rng),
    };
    let resource_logs = |rng: &mut Rng| ResourceLogs {
        resource: maybe(rng, resource),
        scope_logs: some(rng, 3, scope_logs),
        schema_url: text(rng),
    };
    ExportLogsServiceRequest { resource_logs: some(rng, 3, resource_logs) }
}

/// A request of data points.
pub(crate) fn metrics(rng: &mut Rng) -> ExportMetricsServiceRequest {
    let scope_metrics = |rng: &mut Rng| ScopeMetrics {
        scope: maybe(rng, scope),
        metrics: some(rng, 4, metric),
        schema_url: text(rng),
    };
    let resource_metrics = |rng: &mut Rng| ResourceMetrics {
        resource: maybe(rng, resource),
        scope_metrics: some(rng, 3, scope_metrics),
        schema_url: text(rng),
    };
    ExportMetricsServiceRequest { resource_metrics: some(rng, 3, resource_metrics) }
}
