//! Metrics around a fake extension: collected when the library says so, handed over once, and by nobody brought down.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![cfg(feature = "metrics")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use common::{Command, FakeExtension, Manners, builder_with};
use lambda_flush::opentelemetry::metrics::{Meter, MeterProvider};
use lambda_flush::opentelemetry::trace::{Tracer, TracerProvider};
use lambda_flush::{Error, KeyValue, LambdaEvent, Telemetry, service_fn};
use lambda_flush_proto::extension_link::Content;
use lambda_flush_proto::{Received, Signal};
use lambda_runtime::LambdaInvocation;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics};
use prost::Message;
use tower::{Layer, Service};

fn invocation(request_id: &str) -> LambdaInvocation {
    let (parts, ()) = http::Response::new(()).into_parts();
    let mut context = lambda_flush::Context::default();
    request_id.clone_into(&mut context.request_id);
    let deadline = SystemTime::now() + Duration::from_secs(30);
    let since = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    context.deadline = u64::try_from(since.as_millis()).unwrap();
    LambdaInvocation { parts, body: Bytes::from_static(b"{}"), context }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// One invocation by the layer alone, whose handler does `work`.
fn invoke(telemetry: &Telemetry, request_id: &str, work: impl Fn()) {
    let runtime = service_fn(|_: LambdaInvocation| {
        work();
        async { Ok::<(), Error>(()) }
    });
    block_on(telemetry.layer().layer(runtime).call(invocation(request_id))).unwrap();
}

/// One invocation with the wrapper, too, as `lambda_runtime` would do it.
fn invoke_wrapped(telemetry: &Telemetry, request_id: &str, result: Result<(), &'static str>) {
    let mut traced = telemetry.handler(service_fn(async |_: LambdaEvent<()>| result.map_err(Error::from)));
    let runtime = service_fn(|event: LambdaInvocation| {
        let called = traced.call(LambdaEvent::new((), event.context));
        async {
            // The runtime posts it as an error.
            drop(called.await);
            Ok::<(), Error>(())
        }
    });
    block_on(telemetry.layer().layer(runtime).call(invocation(request_id))).unwrap();
}

fn requests(received: &[Received]) -> Vec<ResourceMetrics> {
    let decode = |message: &Received| match message {
        Received::Item(item) if item.signal == Signal::Metrics => {
            assert!(matches!(item.content, Content::Request));
            let request = ExportMetricsServiceRequest::decode(item.bytes.clone()).unwrap();
            let metrics = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
            let points: usize = metrics.flat_map(|scope| &scope.metrics).map(points).sum();
            assert_eq!(item.items, points as u64);
            Some(request.resource_metrics)
        }
        _ => None,
    };
    received.iter().filter_map(decode).flatten().collect()
}

fn points(metric: &Metric) -> usize {
    match metric.data.as_ref().unwrap() {
        Data::Gauge(data) => data.data_points.len(),
        Data::Sum(data) => data.data_points.len(),
        Data::Histogram(data) => data.data_points.len(),
        other => panic!("unexpected {other:?}"),
    }
}

fn metrics(requests: &[ResourceMetrics]) -> impl Iterator<Item = &Metric> {
    requests.iter().flat_map(|resource| &resource.scope_metrics).flat_map(|scope| &scope.metrics)
}

/// By name: deltas added up, the last of what is cumulative or a gauge, the counts of histograms.
fn totals(received: &[Received]) -> BTreeMap<String, i64> {
    let mut totals = BTreeMap::new();
    for metric in metrics(&requests(received)) {
        let total: &mut i64 = totals.entry(metric.name.clone()).or_default();
        let (is_delta, points) = match metric.data.as_ref().unwrap() {
            Data::Sum(sum) => (sum.aggregation_temporality == 1, &sum.data_points),
            Data::Gauge(gauge) => (false, &gauge.data_points),
            Data::Histogram(histogram) => {
                let count: u64 = histogram.data_points.iter().map(|point| point.count).sum();
                *total += i64::try_from(count).unwrap();
                continue;
            }
            other => panic!("unexpected {other:?}"),
        };
        let sum: i64 = points
            .iter()
            .map(|point| match point.value.unwrap() {
                Value::AsInt(value) => value,
                Value::AsDouble(value) => panic!("a double: {value}"),
            })
            .sum();
        *total = if is_delta { *total + sum } else { sum };
    }
    totals
}

fn wait_for_total(extension: &FakeExtension, name: &str, total: i64) {
    extension.wait_for(&format!("a {name} of {total}"), |received| {
        (totals(received).get(name) == Some(&total)).then_some(())
    });
}

fn dones(received: &[Received]) -> usize {
    received.iter().filter(|message| matches!(message, Received::InvocationDone(_))).count()
}

fn wait_for_dones(extension: &FakeExtension, count: usize) -> Vec<Received> {
    extension.wait_for("the ends of the invocations", |received| {
        (dones(received) == count).then(|| received.to_vec())
    })
}

#[test]
fn what_an_invocation_measured_is_there_before_its_end() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder_with(&extension.address, &[]).init().unwrap();
    let meter = telemetry.meter_provider().meter("shop");
    let (counter, up_down) = (meter.u64_counter("orders").build(), meter.i64_up_down_counter("open").build());
    let (gauge, histogram) = (meter.i64_gauge("temperature").build(), meter.f64_histogram("value").build());
    for number in 1..=3 {
        invoke(&telemetry, &number.to_string(), || {
            counter.add(2, &[KeyValue::new("kind", "book")]);
            up_down.add(-1, &[]);
            gauge.record(-number, &[]);
            histogram.record(0.5, &[]);
        });
    }
    let received = wait_for_dones(&extension, 3);
    let expected = [("open", -3), ("orders", 6), ("temperature", -3), ("value", 3)];
    assert_eq!(totals(&received), expected.map(|(name, total)| (name.to_owned(), total)).into());
    let order: Vec<_> = received
        .iter()
        .filter_map(|message| match message {
            Received::Item(_) => Some("metrics"),
            Received::InvocationDone(_) => Some("done"),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["metrics", "done"].repeat(3));
    let requests = requests(&received);
    let resource = requests[0].resource.as_ref().unwrap();
    assert!(resource.attributes.iter().any(|attribute| attribute.key == "faas.name"));
    assert_eq!(telemetry.stats().ended, 12);
}

#[test]
fn nothing_measured_is_nothing_sent() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder_with(&extension.address, &[]).init().unwrap();
    let counter = telemetry.meter_provider().meter("shop").u64_counter("orders").build();
    invoke(&telemetry, "1", || ());
    invoke(&telemetry, "2", || counter.add(1, &[]));
    invoke(&telemetry, "3", || ());
    let received = wait_for_dones(&extension, 3);
    assert_eq!(requests(&received).len(), 1);
}

#[test]
fn the_wrapper_counts_successes_errors_and_durations() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder_with(&extension.address, &[]).init().unwrap();
    invoke_wrapped(&telemetry, "1", Ok(()));
    invoke_wrapped(&telemetry, "2", Err("no stock"));
    invoke_wrapped(&telemetry, "3", Ok(()));
    let received = wait_for_dones(&extension, 3);
    let totals = totals(&received);
    let of = |name| totals.get(name).copied().unwrap_or_default();
    assert_eq!([of("faas.invocations"), of("faas.errors"), of("faas.invoke_duration")], [2, 1, 3]);
    // The process has one cold start, whichever test has it.
    assert!(of("faas.coldstarts") <= 1);
    let requests = requests(&received);
    let scope = requests[0].scope_metrics[0].scope.as_ref().unwrap();
    assert_eq!(scope.name, "lambda-flush");
    let duration = metrics(&requests).find(|metric| metric.name == "faas.invoke_duration").unwrap();
    let Some(Data::Histogram(histogram)) = &duration.data else { panic!("{duration:?}") };
    assert_eq!((duration.unit.as_str(), histogram.data_points[0].explicit_bounds.len()), ("s", 14));
}

#[test]
fn a_delta_waits_for_credit_and_comes_once() {
    let extension = FakeExtension::start(Manners { credit_bytes: 0, regrants: false, ..Manners::default() });
    let telemetry = builder_with(&extension.address, &[]).init().unwrap();
    let counter = telemetry.meter_provider().meter("shop").u64_counter("orders").build();
    (1..=3).for_each(|number| invoke(&telemetry, &number.to_string(), || counter.add(1, &[])));
    let received = wait_for_dones(&extension, 3);
    assert!(requests(&received).is_empty());
    assert_eq!(telemetry.buffered(), 3);
    extension.command(Command::Grant(1 << 20));
    wait_for_total(&extension, "orders", 3);
    assert_eq!(telemetry.stats().written, 3);
}

#[test]
fn a_full_buffer_costs_no_measurement() {
    let extension = FakeExtension::start(Manners { credit_bytes: 0, regrants: false, ..Manners::default() });
    let telemetry = builder_with(&extension.address, &[]).init().unwrap();
    let counter = telemetry.meter_provider().meter("shop").u64_counter("orders").build();
    let tracer = telemetry.tracer_provider().tracer("test");
    for number in 0..3 {
        invoke(&telemetry, &number.to_string(), || {
            counter.add(1, &[]);
            for _ in 0..1_000 {
                tracer
                    .span_builder("burst")
                    .with_attributes([KeyValue::new("x", "x".repeat(1_000))])
                    .start(&tracer);
            }
        });
    }
    let dropped = telemetry.stats().dropped["buffer_full"];
    extension.command(Command::Grant(8 << 20));
    extension.wait_for_spans(3_000 - usize::try_from(dropped).unwrap());
    assert!(!totals(&extension.received()).contains_key("orders"));
    invoke(&telemetry, "3", || ());
    wait_for_total(&extension, "orders", 3);
    assert_eq!(telemetry.stats().dropped["buffer_full"], dropped);
}

#[test]
fn a_restarted_extension_gets_each_delta_once() {
    let first = FakeExtension::start(Manners::default());
    let address = first.address.clone();
    let telemetry = builder_with(&address, &[]).init().unwrap();
    let counter = telemetry.meter_provider().meter("shop").u64_counter("orders").build();
    invoke(&telemetry, "1", || counter.add(1, &[]));
    wait_for_total(&first, "orders", 1);
    drop(first);
    invoke(&telemetry, "2", || counter.add(10, &[]));
    let second = FakeExtension::start_at(address, Manners::default());
    invoke(&telemetry, "3", || counter.add(100, &[]));
    wait_for_total(&second, "orders", 110);
    invoke(&telemetry, "4", || counter.add(1_000, &[]));
    wait_for_total(&second, "orders", 1_110);
    assert_eq!(telemetry.stats().dropped.values().sum::<u64>(), 0);
}

#[test]
fn collections_at_once_count_everything_once() {
    const ROUNDS: u64 = 200;
    const THREADS: u64 = 4;
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder_with(&extension.address, &[]).init().unwrap();
    let meter = telemetry.meter_provider().meter("shop");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (telemetry, counter) = (&telemetry, meter.u64_counter("orders").build());
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    counter.add(1, &[KeyValue::new("thread", i64::try_from(thread).unwrap())]);
                    invoke(telemetry, &format!("{thread}-{round}"), || counter.add(1, &[]));
                }
            });
        }
    });
    block_on(telemetry.flush()).unwrap();
    let total = i64::try_from(2 * ROUNDS * THREADS).unwrap();
    wait_for_total(&extension, "orders", total);
    assert_eq!(telemetry.stats().dropped.values().sum::<u64>(), 0);
}

fn observed(meter: &Meter, name: &'static str, value: u64) -> Arc<AtomicU64> {
    let runs = Arc::new(AtomicU64::new(0));
    let counted = runs.clone();
    let observe = meter.u64_observable_gauge(name).with_callback(move |gauge| {
        counted.fetch_add(1, Ordering::Relaxed);
        gauge.observe(value, &[]);
    });
    let _observe = observe.build();
    runs
}

#[test]
fn a_panicking_callback_costs_only_itself() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder_with(&extension.address, &[]).init().unwrap();
    let meter = telemetry.meter_provider().meter("shop");
    let before = observed(&meter, "before", 7);
    let panicking = meter.u64_observable_counter("panicking").with_callback(|counter| {
        counter.observe(5, &[]);
        panic!("the callback is haunted");
    });
    let _panicking = panicking.build();
    let after = observed(&meter, "after", 9);
    let counter = meter.u64_counter("orders").build();
    for number in 1..=3 {
        invoke(&telemetry, &number.to_string(), || counter.add(1, &[]));
    }
    let received = wait_for_dones(&extension, 3);
    let expected = [("after", 9), ("before", 7), ("orders", 3), ("panicking", 5)];
    assert_eq!(totals(&received), expected.map(|(name, total)| (name.to_owned(), total)).into());
    assert_eq!([before, after].map(|runs| runs.load(Ordering::Relaxed)), [3, 3]);
    // Instruments are made as before, too.
    let late = meter.u64_counter("late").build();
    invoke(&telemetry, "4", || late.add(1, &[]));
    wait_for_total(&extension, "late", 1);
}

#[test]
fn an_instrument_made_in_a_callback_does_not_hang() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder_with(&extension.address, &[]).init().unwrap();
    let meter = telemetry.meter_provider().meter("shop");
    let inner = meter.clone();
    let making = meter.u64_observable_gauge("making").with_callback(move |gauge| {
        inner.u64_counter("made").build().add(1, &[]);
        gauge.observe(1, &[]);
    });
    let _making = making.build();
    invoke(&telemetry, "1", || ());
    let received = wait_for_dones(&extension, 1);
    assert_eq!(totals(&received), [("making".to_owned(), 1)].into());
}

#[test]
fn flush_collects_outside_an_invocation() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder_with(&extension.address, &[]).init().unwrap();
    telemetry.meter_provider().meter("shop").u64_counter("orders").build().add(4, &[]);
    block_on(telemetry.flush()).unwrap();
    assert_eq!(totals(&extension.received()), [("orders".to_owned(), 4)].into());
}

#[test]
fn a_shutdown_collects_what_is_left() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder_with(&extension.address, &[]).init().unwrap();
    let counter = telemetry.meter_provider().meter("shop").u64_counter("orders").build();
    counter.add(4, &[]);
    telemetry.tracer_provider().shutdown().unwrap();
    wait_for_total(&extension, "orders", 4);
    counter.add(1, &[]);
    block_on(telemetry.flush()).unwrap_err();
    assert_eq!(telemetry.stats().dropped["shut_down"], 1);
}

#[test]
fn the_environment_chooses_temporality_and_turns_metrics_off() {
    let preference = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    let two_rounds = |variables: &[(&str, &str)]| {
        let extension = FakeExtension::start(Manners::default());
        let telemetry = builder_with(&extension.address, variables).init().unwrap();
        let counter = telemetry.meter_provider().meter("shop").u64_counter("orders").build();
        (1..=2).for_each(|number| invoke(&telemetry, &number.to_string(), || counter.add(5, &[])));
        let requests = requests(&wait_for_dones(&extension, 2));
        let value = |metric: &Metric| match metric.data.as_ref().unwrap() {
            Data::Sum(sum) => (sum.aggregation_temporality, sum.data_points[0].value.unwrap()),
            other => panic!("unexpected {other:?}"),
        };
        metrics(&requests).map(value).collect::<Vec<_>>()
    };
    let (delta, cumulative) = (1, 2);
    let [five, ten] = [5, 10].map(Value::AsInt);
    assert_eq!(two_rounds(&[]), [(delta, five), (delta, five)]);
    assert_eq!(two_rounds(&[(preference, "lowmemory")]), [(delta, five), (delta, five)]);
    assert_eq!(two_rounds(&[(preference, "cumulative")]), [(cumulative, five), (cumulative, ten)]);
    assert_eq!(two_rounds(&[("OTEL_METRICS_EXPORTER", "none")]), []);
}

#[test]
fn disabled_means_no_metric() {
    let telemetry = builder_with("@nobody", &[("OTEL_SDK_DISABLED", "true")]).init().unwrap();
    telemetry.meter_provider().meter("shop").u64_counter("orders").build().add(1, &[]);
    invoke(&telemetry, "1", || ());
    assert_eq!(telemetry.stats().ended, 0);
}
