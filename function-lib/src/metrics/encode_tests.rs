//! The encoder against `opentelemetry-proto`, byte for byte, and where that is wrong.

use std::collections::BTreeMap;

use bytes::Bytes;
use lambda_flush_proto::Signal;
use lambda_flush_proto::limits::FRAME_BYTES_MAX;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::NumberDataPoint;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, SdkMeterProvider, Stream};
use prost::Message;

use super::super::reader::SharedReader;
use super::super::requests::REQUEST_BYTES_TARGET;
use super::*;

struct Bench {
    reader: SharedReader,
    provider: SdkMeterProvider,
    resource: Resource,
}

impl Bench {
    fn new(temporality: Temporality) -> Self {
        let resource = Resource::builder_empty()
            .with_schema_url([KeyValue::new("service.name", "orders")], "https://example.com/schema")
            .build();
        let exponential = |instrument: &Instrument| {
            let aggregation =
                Aggregation::Base2ExponentialHistogram { max_size: 20, max_scale: 20, record_min_max: true };
            let stream = Stream::builder().with_aggregation(aggregation);
            instrument.name().starts_with("exponential").then(|| stream.build().unwrap())
        };
        let reader = SharedReader::new(temporality);
        let builder = SdkMeterProvider::builder().with_reader(reader.clone()).with_view(exponential);
        Self { reader, provider: builder.with_resource(resource.clone()).build(), resource }
    }

    fn meter(&self) -> Meter {
        let scope = InstrumentationScope::builder("shop").with_version("1").with_schema_url("https://a.b/c");
        self.provider.meter_with_scope(scope.with_attributes([KeyValue::new("k", 7)]).build())
    }

    fn collect(&self) -> (ResourceMetrics, Vec<(u32, Bytes)>) {
        let mut metrics = ResourceMetrics::default();
        self.reader.collect(&mut metrics).unwrap();
        let mut made = Vec::new();
        let mut hand_over = |signal, items, request| {
            assert_eq!(signal, Signal::Metrics);
            made.push((items, request));
        };
        let resource = crate::encode::resource(&self.resource);
        let mut requests =
            Requests::new(&resource, self.resource.schema_url().unwrap_or_default(), &mut hand_over);
        put(&metrics, &mut requests);
        requests.end();
        (metrics, made)
    }
}

fn attributes(rng: &mut fastrand::Rng) -> Vec<KeyValue> {
    let all = [
        KeyValue::new("route", "/orders"),
        KeyValue::new("status", rng.i64(0..3)),
        KeyValue::new("cold", true),
        KeyValue::new("share", 0.5),
    ];
    all.into_iter().filter(|_| rng.bool()).collect()
}

fn measure(meter: &Meter, rng: &mut fastrand::Rng) {
    let attributes = attributes(rng);
    match rng.u8(0..10) {
        0 => meter.u64_counter("u64").with_unit("{x}").build().add(rng.u64(0..3), &attributes),
        1 => meter.f64_counter("f64").with_description("d").build().add(rng.f64(), &attributes),
        2 => meter.i64_up_down_counter("i64").build().add(rng.i64(..) >> 8, &attributes),
        3 => meter.f64_up_down_counter("df64").build().add(-rng.f64(), &attributes),
        4 => meter.u64_gauge("gu64").build().record(rng.u64(..) >> 1, &attributes),
        5 => meter.i64_gauge("gi64").build().record(rng.i64(-1..2), &attributes),
        6 => meter.f64_gauge("gf64").build().record(rng.f64() - 0.5, &attributes),
        7 => meter.f64_histogram("hf64").build().record(rng.f64() * 20_000.0, &attributes),
        8 => {
            let bounded = meter.u64_histogram("hu64").with_boundaries(vec![]).build();
            bounded.record(rng.u64(0..99), &attributes);
        }
        _ => {
            let value = [0.0, rng.f64() - 0.5, rng.f64() * 1e9][rng.usize(0..3)];
            meter.f64_histogram("exponential").build().record(value, &attributes);
        }
    }
}

#[test]
fn metrics_equal_opentelemetry_protos() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let temporalities = [Temporality::Delta, Temporality::Cumulative, Temporality::LowMemory];
        let bench = Bench::new(temporalities[rng.usize(0..3)]);
        let meters = [bench.meter(), bench.provider.meter("plain")];
        for _ in 0..3 {
            (0..rng.usize(0..60)).for_each(|_| measure(&meters[rng.usize(0..2)], &mut rng));
            let (metrics, requests) = bench.collect();
            let theirs = ExportMetricsServiceRequest::from(&metrics);
            let points = points(&theirs);
            if points == 0 {
                assert!(requests.is_empty());
                continue;
            }
            let [(items, ours)] = &requests[..] else { panic!("{} requests", requests.len()) };
            assert!(*ours == theirs.encode_to_vec(), "seed {seed}: {theirs:?}");
            assert_eq!(*items as usize, points);
        }
    }
}

fn points(request: &ExportMetricsServiceRequest) -> usize {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let len = |data: &Data| match data {
        Data::Gauge(data) => data.data_points.len(),
        Data::Sum(data) => data.data_points.len(),
        Data::Histogram(data) => data.data_points.len(),
        Data::ExponentialHistogram(data) => data.data_points.len(),
        Data::Summary(data) => data.data_points.len(),
    };
    scopes.flat_map(|scope| &scope.metrics).map(|metric| len(metric.data.as_ref().unwrap())).sum()
}

/// The sums' points of each scope and metric, in order; what surrounds them must be the same each time.
fn sums(requests: &[ExportMetricsServiceRequest]) -> BTreeMap<(String, String), Vec<NumberDataPoint>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for resource in requests.iter().flat_map(|request| &request.resource_metrics) {
        assert_eq!(resource.schema_url, "https://example.com/schema");
        assert_eq!(resource.resource.as_ref().unwrap().attributes.len(), 1);
        for scope in &resource.scope_metrics {
            for metric in &scope.metrics {
                let Some(Data::Sum(sum)) = &metric.data else { panic!("no sum: {metric:?}") };
                assert!(sum.is_monotonic && sum.aggregation_temporality == 1 && metric.unit == "By");
                let key = (scope.scope.as_ref().unwrap().name.clone(), metric.name.clone());
                all.entry(key).or_default().extend(sum.data_points.clone());
            }
        }
    }
    all
}

#[test]
fn what_is_too_large_for_a_frame_is_cut_between_data_points() {
    let bench = Bench::new(Temporality::Delta);
    for (meter, name) in [(bench.meter(), "a"), (bench.meter(), "b"), (bench.provider.meter("plain"), "a")] {
        let counter = meter.u64_counter(name).with_unit("By").build();
        for number in 0..1_500 {
            counter.add(1, &[KeyValue::new("id", number), KeyValue::new("padding", "x".repeat(200))]);
        }
    }
    let (metrics, requests) = bench.collect();
    let decoded: Vec<_> = requests
        .iter()
        .map(|(items, request)| {
            assert!(request.len() < 2 * REQUEST_BYTES_TARGET && request.len() < FRAME_BYTES_MAX);
            let decoded = ExportMetricsServiceRequest::decode(request.clone()).unwrap();
            assert_eq!(points(&decoded), *items as usize);
            decoded
        })
        .collect();
    assert!(decoded.len() > 5, "{} requests", decoded.len());
    let whole = [ExportMetricsServiceRequest::from(&metrics)];
    assert_eq!(points(&whole[0]), 4_500);
    assert_eq!(sums(&decoded), sums(&whole));
}

#[test]
fn a_u64_that_no_i64_holds_is_a_double_and_not_zero() {
    let bench = Bench::new(Temporality::Delta);
    bench.meter().u64_gauge("big").build().record(u64::MAX, &[]);
    let (_, requests) = bench.collect();
    let decoded = ExportMetricsServiceRequest::decode(requests[0].1.clone()).unwrap();
    let Some(Data::Gauge(gauge)) = &decoded.resource_metrics[0].scope_metrics[0].metrics[0].data else {
        panic!("{decoded:?}")
    };
    assert_eq!(gauge.data_points[0].value, Some(Value::AsDouble(u64::MAX as f64)));
}
