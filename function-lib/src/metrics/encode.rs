//! Metrics to OTLP bytes, data point by data point, as `crate::encode` does it for spans.
//!
//! `opentelemetry-proto`'s transform would allocate every name, attribute and bucket once more, and turn a `u64`
//! above `i64::MAX` into 0; for all else the tests compare with it, byte for byte. Tags are those of
//! `metrics/v1/metrics.proto`.

use std::time::SystemTime;

use bytes::BufMut;
use lambda_flush_proto::splice::{field, field_header, varint_field};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, Exemplar, ExponentialBucket, ExponentialHistogramDataPoint, HistogramDataPoint,
    Metric, MetricData, ResourceMetrics,
};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::requests::Requests;
use crate::encode::{attributes, fixed64, nanos, pair};
use crate::fields::text;

/// Puts all data points into `requests`.
pub(crate) fn put(metrics: &ResourceMetrics, requests: &mut Requests<'_>) {
    for scope in metrics.scope_metrics() {
        requests.begin_scope(scope.scope());
        for metric in scope.metrics() {
            match metric.data() {
                AggregatedMetrics::U64(data) => put_metric(metric, data, requests),
                AggregatedMetrics::I64(data) => put_metric(metric, data, requests),
                AggregatedMetrics::F64(data) => put_metric(metric, data, requests),
            }
        }
        requests.end_scope();
    }
}

/// The oneof of a `Metric`: its tag, and what follows the data points in it.
struct Kind {
    tag: u32,
    temporality: Option<Temporality>,
    is_monotonic: bool,
}

fn put_metric<N: Number>(metric: &Metric, data: &MetricData<N>, requests: &mut Requests<'_>) {
    let (tag, temporality, is_monotonic) = match data {
        MetricData::Gauge(_) => (5, None, false),
        MetricData::Sum(sum) => (7, Some(sum.temporality()), sum.is_monotonic()),
        MetricData::Histogram(histogram) => (9, Some(histogram.temporality()), false),
        MetricData::ExponentialHistogram(histogram) => (10, Some(histogram.temporality()), false),
    };
    begin_metric(metric, &Kind { tag, temporality, is_monotonic }, requests);
    match data {
        MetricData::Gauge(gauge) => {
            let times = (gauge.start_time(), gauge.time());
            for point in gauge.data_points() {
                requests.point(|out| {
                    put_number(times, point.value(), point.exemplars(), out);
                    attributes(7, point.attributes().map(pair), out);
                });
            }
        }
        MetricData::Sum(sum) => {
            let times = (Some(sum.start_time()), sum.time());
            for point in sum.data_points() {
                requests.point(|out| {
                    put_number(times, point.value(), point.exemplars(), out);
                    attributes(7, point.attributes().map(pair), out);
                });
            }
        }
        MetricData::Histogram(histogram) => {
            let times = (Some(histogram.start_time()), histogram.time());
            for point in histogram.data_points() {
                requests.point(|out| put_histogram(times, point, out));
            }
        }
        MetricData::ExponentialHistogram(histogram) => {
            let times = (Some(histogram.start_time()), histogram.time());
            for point in histogram.data_points() {
                requests.point(|out| put_exponential(times, point, out));
            }
        }
    }
    requests.end_metric();
}

fn begin_metric(metric: &Metric, kind: &Kind, requests: &mut Requests<'_>) {
    let head = |out: &mut Vec<u8>| {
        text(1, metric.name(), out);
        text(2, metric.description(), out);
        text(3, metric.unit(), out);
    };
    let tail = |out: &mut Vec<u8>| {
        if let Some(temporality) = kind.temporality {
            // The SDK resolves `LowMemory` to one of the two for each instrument.
            varint_field(2, if temporality == Temporality::Delta { 1 } else { 2 }, out);
        }
        varint_field(3, u64::from(kind.is_monotonic), out);
    };
    requests.begin_metric(kind.tag, head, tail);
}

/// When what is measured began, if it did, and when it was collected.
type Times = (Option<SystemTime>, SystemTime);

fn put_times((start, time): Times, out: &mut Vec<u8>) {
    fixed64(2, start.map_or(0, nanos), out);
    fixed64(3, nanos(time), out);
}

/// A `NumberDataPoint` without its attributes, which come last.
fn put_number<'a, N: Number + 'a>(
    times: Times,
    value: N,
    exemplars: impl Iterator<Item = &'a Exemplar<N>>,
    out: &mut Vec<u8>,
) {
    put_times(times, out);
    value.put(4, 6, out);
    exemplars.for_each(|exemplar| put_exemplar(5, exemplar, out));
}

fn put_histogram<N: Number>(times: Times, point: &HistogramDataPoint<N>, out: &mut Vec<u8>) {
    put_times(times, out);
    fixed64(4, point.count(), out);
    double(5, point.sum().to_f64(), out);
    packed64(6, point.bucket_counts().map(u64::to_le_bytes), out);
    packed64(7, point.bounds().map(f64::to_le_bytes), out);
    point.exemplars().for_each(|exemplar| put_exemplar(8, exemplar, out));
    attributes(9, point.attributes().map(pair), out);
    point.min().into_iter().for_each(|min| double(11, min.to_f64(), out));
    point.max().into_iter().for_each(|max| double(12, max.to_f64(), out));
}

fn put_exponential<N: Number>(times: Times, point: &ExponentialHistogramDataPoint<N>, out: &mut Vec<u8>) {
    attributes(1, point.attributes().map(pair), out);
    put_times(times, out);
    fixed64(4, point.count() as u64, out);
    double(5, point.sum().to_f64(), out);
    varint_field(6, zigzag(point.scale().into()), out);
    fixed64(7, point.zero_count(), out);
    put_buckets(8, point.positive_bucket(), out);
    put_buckets(9, point.negative_bucket(), out);
    point.exemplars().for_each(|exemplar| put_exemplar(11, exemplar, out));
    point.min().into_iter().for_each(|min| double(12, min.to_f64(), out));
    point.max().into_iter().for_each(|max| double(13, max.to_f64(), out));
    if point.zero_threshold() != 0.0 {
        double(14, point.zero_threshold(), out);
    }
}

fn put_buckets(tag: u32, buckets: &ExponentialBucket, out: &mut Vec<u8>) {
    let mut encoded = Vec::new();
    varint_field(1, zigzag(buckets.offset()), &mut encoded);
    let len: usize = buckets.counts().map(encoded_len_varint).sum();
    if len > 0 {
        field_header(2, len, &mut encoded);
        buckets.counts().for_each(|count| encode_varint(count, &mut encoded));
    }
    field(tag, &encoded, out);
}

fn put_exemplar<N: Number>(tag: u32, exemplar: &Exemplar<N>, out: &mut Vec<u8>) {
    let mut encoded = Vec::new();
    fixed64(2, nanos(exemplar.time()), &mut encoded);
    exemplar.value.put(3, 6, &mut encoded);
    if *exemplar.span_id() != [0; 8] {
        field(4, exemplar.span_id(), &mut encoded);
        field(5, exemplar.trace_id(), &mut encoded);
    }
    attributes(7, exemplar.filtered_attributes().map(pair), &mut encoded);
    field(tag, &encoded, out);
}

/// What an instrument measures. OTLP knows `sfixed64` and `double`.
trait Number: Copy {
    /// The value of a point; a oneof, so that zero is written, too.
    fn put(self, double_tag: u32, int_tag: u32, out: &mut Vec<u8>);
    fn to_f64(self) -> f64;
}

impl Number for i64 {
    fn put(self, _double_tag: u32, int_tag: u32, out: &mut Vec<u8>) {
        encode_key(int_tag, WireType::SixtyFourBit, out);
        out.put_i64_le(self);
    }

    fn to_f64(self) -> f64 {
        self as f64
    }
}

impl Number for u64 {
    /// What no `sfixed64` holds is a `double`: about right beats wrong.
    fn put(self, double_tag: u32, int_tag: u32, out: &mut Vec<u8>) {
        match i64::try_from(self) {
            Ok(value) => value.put(double_tag, int_tag, out),
            Err(_) => double(double_tag, self.to_f64(), out),
        }
    }

    fn to_f64(self) -> f64 {
        self as f64
    }
}

impl Number for f64 {
    fn put(self, double_tag: u32, _int_tag: u32, out: &mut Vec<u8>) {
        double(double_tag, self, out);
    }

    fn to_f64(self) -> f64 {
        self
    }
}

/// A double that is there, be it zero.
fn double(tag: u32, value: f64, out: &mut Vec<u8>) {
    encode_key(tag, WireType::SixtyFourBit, out);
    out.put_f64_le(value);
}

/// A packed repeated field of eight bytes each.
fn packed64(tag: u32, values: impl Iterator<Item = [u8; 8]>, out: &mut Vec<u8>) {
    let mut values = values.peekable();
    if values.peek().is_none() {
        return;
    }
    let packed: Vec<u8> = values.flatten().collect();
    field(tag, &packed, out);
}

/// A `sint32`.
fn zigzag(value: i32) -> u64 {
    u64::from(((value << 1) ^ (value >> 31)).cast_unsigned())
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
