//! Spans on their way to a fake extension: equal, in order, within credit, counted, across restarts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Command, FakeExtension, Manners, PATIENCE, address, builder};
use lambda_flush::opentelemetry::trace::{
    Link, Span as _, SpanKind, Status, TraceContextExt, Tracer, TracerProvider,
};
use lambda_flush::opentelemetry::{Array, Context, InstrumentationScope, KeyValue, Value};
use lambda_flush::{DropReason, FlushError, Telemetry};
use lambda_flush_proto::{Received, Versions};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope as OtlpScope;
use opentelemetry_proto::tonic::resource::v1::Resource as OtlpResource;
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanProcessor};
use prost::Message;

/// Keeps what the SDK recorded.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Recorder {
    fn on_start(&self, _span: &mut opentelemetry_sdk::trace::Span, _cx: &Context) {}
    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn end_spans(telemetry: &Telemetry, count: usize) {
    let tracer = telemetry.tracer_provider().tracer("test");
    for number in 0..count {
        let mut span = tracer.start(format!("span {number}"));
        span.set_attribute(KeyValue::new("padding", "x".repeat(200)));
    }
}

fn wait_until(what: &str, reached: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
}

/// A span with everything a span may have.
fn end_rich_spans(telemetry: &Telemetry) {
    let scope = InstrumentationScope::builder("db")
        .with_version("1.2")
        .with_schema_url("https://example.com/schema")
        .with_attributes([KeyValue::new("pool", 3)])
        .build();
    let outer = telemetry.tracer_provider().tracer("http").start("outer");
    let cx = Context::new().with_span(outer);
    let mut span = telemetry
        .tracer_provider()
        .tracer_with_scope(scope)
        .span_builder("query")
        .with_kind(SpanKind::Client)
        .with_attributes([
            KeyValue::new("text", "grüße"),
            KeyValue::new("empty", ""),
            KeyValue::new("int", i64::MIN),
            KeyValue::new("float", -0.5),
            KeyValue::new("bool", false),
            KeyValue::new("ints", Value::Array(Array::I64(vec![0, -1, i64::MAX]))),
            KeyValue::new("texts", Value::Array(Array::String(vec!["a".into(), "".into()]))),
            KeyValue::new("floats", Value::Array(Array::F64(vec![0.0, f64::INFINITY]))),
            KeyValue::new("bools", Value::Array(Array::Bool(vec![true, false]))),
        ])
        .with_links(vec![Link::new(
            cx.span().span_context().clone(),
            vec![KeyValue::new("why", "because")],
            0,
        )])
        .start_with_context(&telemetry.tracer_provider().tracer("db"), &cx);
    span.add_event("retry", vec![KeyValue::new("attempt", 2)]);
    span.add_event("", Vec::new());
    span.set_status(Status::error("timeout"));
    span.end();
    cx.span().set_status(Status::Ok);
    cx.span().end();
}

#[test]
fn spans_scopes_and_resource_arrive_as_the_sdk_recorded_them() {
    let extension = FakeExtension::start(Manners::default());
    let recorder = Recorder::default();
    let telemetry = builder(&extension.address)
        .with_resource_attributes([KeyValue::new("team", "orders")])
        .with_span_processor(recorder.clone())
        .init()
        .unwrap();
    end_rich_spans(&telemetry);
    end_spans(&telemetry, 50);
    let received = extension.wait_for_spans(52);
    let recorded = recorder.0.lock().unwrap().clone();
    assert_eq!(received.len(), recorded.len());
    let named = |id| {
        let messages = extension.received();
        let scope = messages.iter().find_map(|message| match message {
            Received::Scope(scope) if scope.id == id => Some(scope.clone()),
            _ => None,
        });
        let scope = scope.unwrap();
        (OtlpScope::decode(scope.scope).unwrap(), scope.schema_url)
    };
    for (index, ((seq, scope_id, span), expected)) in received.iter().zip(recorded).enumerate() {
        assert_eq!(*seq, index as u64 + 1, "in order, none missing");
        let scope = &expected.instrumentation_scope;
        let schema_url = scope.schema_url().unwrap_or_default().to_owned();
        assert_eq!(named(*scope_id), (OtlpScope::from((scope, None)), schema_url));
        assert_eq!(*span, OtlpSpan::from(expected));
    }
    let Some(Received::Hello(hello)) = extension.received().into_iter().next() else { panic!("no Hello") };
    let resource = OtlpResource::decode(hello.resource).unwrap();
    assert!(resource.attributes.iter().any(|attribute| attribute.key == "team"));
    let stats = telemetry.stats();
    assert_eq!((stats.started, stats.ended, stats.written, stats.buffered), (52, 52, 52, 0));
}

#[test]
fn without_credit_spans_wait_and_leave_when_credit_comes() {
    let manners = Manners { credit_bytes: 2_000, regrants: false, ..Manners::default() };
    let extension = FakeExtension::start(manners);
    let telemetry = builder(&extension.address).init().unwrap();
    end_spans(&telemetry, 20);
    assert!(telemetry.buffered() > 0 && telemetry.buffered() < 20);
    assert_eq!(telemetry.stats().buffered, telemetry.buffered());
    // From here on this thread does nothing: the library's own has to notice.
    extension.command(Command::Grant(1 << 20));
    let received = extension.wait_for_spans(20);
    assert_eq!(received.iter().map(|(seq, ..)| *seq).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    wait_until("the buffer is empty", || telemetry.buffered() == 0);
}

#[test]
fn a_stalled_extension_costs_exactly_what_is_counted() {
    // No credit comes later: only room in the kernel can wake the library's thread.
    let manners = Manners { credit_bytes: 256 << 20, regrants: false, ..Manners::default() };
    let extension = FakeExtension::start(manners);
    let telemetry = builder(&extension.address).init().unwrap();
    end_spans(&telemetry, 1);
    extension.wait_for_spans(1);
    extension.stall(true);
    // How much the kernel takes is the machine's setting.
    wait_until("the buffer overflows", || {
        end_spans(&telemetry, 1_000);
        !telemetry.stats().dropped.is_empty()
    });
    let stats = telemetry.stats();
    let dropped = stats.dropped["buffer_full"];
    assert_eq!(stats.ended % 1_000, 1);
    assert_eq!(stats.ended, stats.written + stats.buffered + dropped);
    assert!(dropped > 0 && stats.buffered > 1_000, "{stats:?}");
    extension.stall(false);
    let expected = usize::try_from(stats.ended - dropped).unwrap();
    let received = extension.wait_for_spans(expected);
    wait_until("the buffer is empty", || telemetry.buffered() == 0);
    assert_eq!((received.len(), telemetry.stats().written), (expected, expected as u64));
    assert_eq!(telemetry.stats().dropped["buffer_full"], dropped);
    assert!(received.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

#[test]
fn a_late_welcome_delays_spans_and_not_the_function() {
    let extension = FakeExtension::start(Manners { welcomes: false, ..Manners::default() });
    let telemetry = builder(&extension.address).init().unwrap();
    end_spans(&telemetry, 3);
    assert_eq!(telemetry.buffered(), 3);
    extension.command(Command::Welcome);
    extension.wait_for_spans(3);
    assert_eq!(telemetry.stats().dropped.len(), 0);
}

#[test]
fn an_extension_of_other_versions_is_told_and_counted() {
    for versions in [Versions { min: 2, max: 3 }, Versions { min: 0, max: 0 }] {
        let extension = FakeExtension::start(Manners { versions, ..Manners::default() });
        let telemetry = builder(&extension.address).init().unwrap();
        end_spans(&telemetry, 3);
        assert_eq!(telemetry.stats().dropped["version_refused"], 3);
        assert_eq!((telemetry.buffered(), extension.spans().len()), (0, 0));
    }
}

#[test]
fn without_an_extension_spans_are_dropped_and_counted() {
    let telemetry = builder(&address()).init().unwrap();
    end_spans(&telemetry, 3);
    let stats = telemetry.stats();
    assert_eq!((stats.ended, stats.dropped["no_extension"], stats.buffered), (3, 3, 0));
}

#[test]
fn unsampled_spans_are_none() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder(&extension.address).init().unwrap();
    let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let cx = {
        use lambda_flush::opentelemetry::propagation::TextMapPropagator;
        let fields = std::collections::HashMap::from([("traceparent".to_owned(), unsampled.to_owned())]);
        opentelemetry_sdk::propagation::TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &fields)
    };
    drop(telemetry.tracer_provider().tracer("test").start_with_context("no", &cx));
    assert_eq!(telemetry.stats(), lambda_flush::Stats::default());
}

#[test]
fn disabled_means_no_connection_and_no_span() {
    let extension = FakeExtension::start(Manners::default());
    let source = std::collections::HashMap::from([
        ("LAMBDA_FLUSH_SOCKET".to_owned(), extension.address.clone()),
        ("OTEL_SDK_DISABLED".to_owned(), "TRUE".to_owned()),
    ]);
    let telemetry = Telemetry::builder().source(source).install_global(false).init().unwrap();
    end_spans(&telemetry, 3);
    assert_eq!(telemetry.stats(), lambda_flush::Stats::default());
    assert!(extension.received().is_empty());
}

#[test]
fn shutdown_hands_over_says_goodbye_and_counts_what_ends_later() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder(&extension.address).init().unwrap();
    end_spans(&telemetry, 3);
    telemetry.tracer_provider().shutdown().unwrap();
    let counters = extension.wait_for("Goodbye", |received| {
        received.iter().find_map(|message| match message {
            Received::Goodbye(counters) => Some(counters.clone()),
            _ => None,
        })
    });
    assert_eq!((counters.ended, counters.written, counters.buffered), (3, 3, 0));
    assert_eq!(extension.spans().len(), 3);
}

#[test]
fn the_library_has_no_thread_until_it_needs_one() {
    let extension =
        FakeExtension::start(Manners { credit_bytes: 1_000, regrants: false, ..Manners::default() });
    let telemetry = builder(&extension.address).init().unwrap();
    end_spans(&telemetry, 1);
    extension.wait_for_spans(1);
    assert_eq!(telemetry.buffered(), 0);
    end_spans(&telemetry, 30);
    assert!(telemetry.buffered() > 0);
    drop(extension);
    wait_until("the lost link is noticed", || {
        end_spans(&telemetry, 1);
        matches!(futures_block(telemetry.flush()), Err(FlushError::LinkLost))
    });
}

fn futures_block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn flush_waits_for_acceptance_on_both_flavours() {
    for mut runtime in
        [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()]
    {
        let extension = FakeExtension::start(Manners { credit_bytes: 2_000, ..Manners::default() });
        let telemetry = builder(&extension.address).init().unwrap();
        // No timers and no I/O driver: flush needs neither.
        let runtime = runtime.build().unwrap();
        runtime.block_on(async {
            telemetry.flush().await.unwrap();
            end_spans(&telemetry, 100);
            telemetry.flush().await.unwrap();
        });
        assert_eq!(extension.spans().len(), 100);
        assert_eq!(telemetry.buffered(), 0);
        assert!(runtime.block_on(telemetry.flush()).is_ok(), "nothing new to wait for");
    }
}

#[test]
fn flush_says_what_is_in_the_way() {
    let absent = builder(&address()).init().unwrap();
    assert_eq!(futures_block(absent.flush()), Err(FlushError::Unavailable(DropReason::NoExtension)));
    let silent = FakeExtension::start(Manners { accepts: false, ..Manners::default() });
    let telemetry = builder(&silent.address).init().unwrap();
    end_spans(&telemetry, 1);
    assert_eq!(futures_block(telemetry.flush()), Err(FlushError::Timeout));
    assert_eq!(telemetry.stats().dropped.len(), 0);
}

#[test]
fn threads_share_the_link_without_loss() {
    let extension = FakeExtension::start(Manners { credit_bytes: 20_000, ..Manners::default() });
    let telemetry = builder(&extension.address).init().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| end_spans(&telemetry, 250));
        }
    });
    let received = extension.wait_for_spans(1_000);
    let seqs: BTreeSet<_> = received.iter().map(|(seq, ..)| *seq).collect();
    assert_eq!((received.len(), seqs.len()), (1_000, 1_000));
    assert_eq!(telemetry.stats().dropped.len(), 0);
}
