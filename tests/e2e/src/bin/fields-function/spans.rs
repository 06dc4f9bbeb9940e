//! The spans: between them every field, every type and every limit of the OpenTelemetry API.

use std::time::{Duration, SystemTime};

use lambda_flush::{Error, Telemetry};
use opentelemetry::trace::{
    Link, Span, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer, TracerProvider,
};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue, StringValue, Value, global};
use opentelemetry_sdk::trace::SdkTracer;

/// Well over the SDK's limit of 128 for attributes, events, links, and the attributes of those.
const OVER_THE_LIMIT: i64 = 150;

/// Spans of `tracing`: fields of each type, events, a link, kinds and statuses by its special fields.
pub(crate) async fn from_tracing() {
    let earlier = tracing::info_span!("earlier", otel.kind = "producer");
    let later = tracing::warn_span!("later", otel.kind = "consumer", late = tracing::field::Empty);
    later.follows_from(&earlier);
    later.record("late", "recorded afterwards");
    drop((earlier, later));
    outer("ключ", u64::MAX).await;
}

#[tracing::instrument(fields(ratio = 0.25, on = true, negative = -1, dotted.name = ?Some(3), empty = ""))]
async fn outer(key: &str, large: u64) {
    tracing::info!(items = 3, ok = true, part = 0.5, name = "an event's field", "priced «{}»", key);
    let failing = failing();
    let fine = tracing::info_span!("fine", otel.status_code = "ok", otel.name = "renamed");
    fine.in_scope(|| tracing::warn!("in a child"));
    if failing.await.is_ok() {
        tracing::error!("it should have failed");
    }
}

#[tracing::instrument(err)]
async fn failing() -> Result<(), std::fmt::Error> {
    tokio::task::yield_now().await;
    Err(std::fmt::Error)
}

/// Spans of the OpenTelemetry API, in scopes that differ in one property each.
pub(crate) fn from_the_api(telemetry: &Telemetry) -> Result<(), Error> {
    let provider = telemetry.tracer_provider();
    let full = InstrumentationScope::builder("orders")
        .with_version("1.2.3-β")
        .with_schema_url("https://opentelemetry.io/schemas/1.30.0")
        .with_attributes([KeyValue::new("scope.team", "checkout"), KeyValue::new("scope.size", 7)]);
    let full = provider.tracer_with_scope(full.build());
    let other_schema = InstrumentationScope::builder("orders")
        .with_version("1.2.3-β")
        .with_schema_url("https://opentelemetry.io/schemas/1.31.0")
        .with_attributes([KeyValue::new("scope.team", "checkout"), KeyValue::new("scope.size", 7)]);
    let other_schema = provider.tracer_with_scope(other_schema.build());
    let plain = provider.tracer("orders");
    kinds(&full);
    statuses(&plain);
    values(&full);
    linked(&other_schema)?;
    family(&full, &plain);
    times(&plain);
    limits(&other_schema);
    global::tracer("of the global provider").start("global").end();
    provider.tracer("").start("");
    Ok(())
}

fn kinds(tracer: &SdkTracer) {
    for kind in
        [SpanKind::Client, SpanKind::Server, SpanKind::Producer, SpanKind::Consumer, SpanKind::Internal]
    {
        tracer.span_builder(format!("kind {kind:?}")).with_kind(kind).start(tracer).end();
    }
}

fn statuses(tracer: &SdkTracer) {
    for status in [Status::Unset, Status::Ok, Status::error("zu wenig übrig"), Status::error("")] {
        let mut span = tracer.start("status");
        span.set_status(status);
        span.end();
    }
}

fn values(tracer: &SdkTracer) {
    let strings = |values: &[&'static str]| {
        Value::Array(Array::String(values.iter().copied().map(StringValue::from).collect()))
    };
    let floats = vec![0.1, -0.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE];
    let all: Vec<(&str, Value)> = vec![
        ("string", "text".into()),
        ("string.empty", "".into()),
        ("string.unicode", "Ünïcødé 数据 🛒 \u{0} \u{202e}".into()),
        ("string.long", "lang ✓ ".repeat(3_000).into()),
        ("bool.true", true.into()),
        ("bool.false", false.into()),
        ("i64", 42.into()),
        ("i64.zero", 0.into()),
        ("i64.min", i64::MIN.into()),
        ("i64.max", i64::MAX.into()),
        ("f64", 0.1.into()),
        ("f64.zero", 0.0.into()),
        ("f64.negative_zero", (-0.0).into()),
        ("f64.nan", f64::NAN.into()),
        ("f64.infinite", f64::NEG_INFINITY.into()),
        ("f64.subnormal", f64::from_bits(1).into()),
        ("array.string", strings(&["a", "", "β"])),
        ("array.bool", Value::Array(Array::Bool(vec![true, false]))),
        ("array.i64", Value::Array(Array::I64(vec![i64::MIN, -1, 0, i64::MAX]))),
        ("array.f64", Value::Array(Array::F64(floats))),
        ("array.empty.string", strings(&[])),
        ("array.empty.bool", Value::Array(Array::Bool(Vec::new()))),
        ("array.empty.i64", Value::Array(Array::I64(Vec::new()))),
        ("array.empty.f64", Value::Array(Array::F64(Vec::new()))),
        ("ключ 🔑", "a key that is no ASCII".into()),
        ("", "no key".into()),
        ("twice", 1.into()),
        ("twice", "whatever the SDK makes of that".into()),
    ];
    let attributes: Vec<KeyValue> = all.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
    let mut span = tracer.span_builder("values «всё»").with_attributes(attributes.clone()).start(tracer);
    span.add_event("no attribute", Vec::new());
    span.add_event("", Vec::new());
    span.add_event("every type", attributes);
    span.update_name("values, renamed");
    span.end();
}

fn linked(tracer: &SdkTracer) -> Result<(), Error> {
    let state = TraceState::from_key_value([("vendor", "opaque"), ("tenant@system", "1")])?;
    let trace = TraceId::from_hex("5b8efff798038103d269b633813fc60c")?;
    let to = |id: u64, flags, remote, state| SpanContext::new(trace, SpanId::from(id), flags, remote, state);
    let local = to(1, TraceFlags::SAMPLED, false, TraceState::default());
    let remote = to(u64::MAX, TraceFlags::default(), true, state);
    let links = vec![
        Link::new(local, vec![KeyValue::new("link.kind", "local"), KeyValue::new("link.weight", 0.5)], 0),
        Link::new(remote.clone(), Vec::new(), 3),
    ];
    let mut span = tracer.span_builder("linked").with_links(links).start(tracer);
    span.add_link(remote, vec![KeyValue::new("link.late", true)]);
    span.end();
    Ok(())
}

/// A child in another scope, on another thread, that outlives its parent; and a root.
fn family(parents: &SdkTracer, children: &SdkTracer) {
    let parent = Context::current_with_span(parents.start("parent"));
    let children = children.clone();
    let child = std::thread::spawn(move || {
        let mut child = children.start_with_context("child", &parent);
        parent.span().end();
        child.set_attribute(KeyValue::new("after.parent", true));
        child.end();
    });
    if child.join().is_err() {
        tracing::error!("the child's thread has panicked");
    }
    parents.start_with_context("root", &Context::new()).end();
}

fn times(tracer: &SdkTracer) {
    let at = |nanoseconds| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds);
    let mut span = tracer.span_builder("times").with_start_time(at(0)).start(tracer);
    span.add_event_with_timestamp("at zero", at(0), Vec::new());
    span.add_event_with_timestamp("to the nanosecond", at(1_700_000_000_123_456_789), Vec::new());
    span.end_with_timestamp(at(4_102_444_799_999_999_999));
}

/// What is over the SDK's limits is dropped by it, and counted in five places.
fn limits(tracer: &SdkTracer) {
    let many = || -> Vec<KeyValue> {
        (0..OVER_THE_LIMIT).map(|number| KeyValue::new(format!("key{number}"), number)).collect()
    };
    let anything = SpanContext::new(
        TraceId::from(7_u128),
        SpanId::from(7_u64),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let mut span = tracer.span_builder("limits").with_attributes(many()).start(tracer);
    span.add_event("over the limit", many());
    span.add_link(anything.clone(), many());
    for number in 1..OVER_THE_LIMIT {
        span.add_event(format!("event {number}"), Vec::new());
        span.add_link(anything.clone(), Vec::new());
    }
    span.end();
}
