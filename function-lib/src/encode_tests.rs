//! The encoder against `opentelemetry-proto`, byte for byte, over generated spans.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{TraceId, TraceState};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope as OtlpScope;
use opentelemetry_proto::tonic::resource::v1::Resource as OtlpResource;
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
use prost::Message;

use super::*;

/// Draws the parts of a span; small numbers and empty things are likely.
struct Draw(fastrand::Rng);

impl Draw {
    fn number(&mut self) -> u64 {
        let bits = self.0.u32(0..=64);
        if bits == 0 { 0 } else { self.0.u64(..) >> (64 - bits) }
    }

    fn count(&mut self) -> u32 {
        u32::try_from(self.number() & 0xFFFF).unwrap()
    }

    fn text(&mut self) -> String {
        let len = if self.0.u8(..) == 0 { 20_000 } else { self.0.usize(0..200) * usize::from(self.0.bool()) };
        std::iter::repeat_with(|| self.0.char('\u{1}'..='\u{2FFF}')).take(len).collect()
    }

    fn time(&mut self) -> SystemTime {
        let nanos = self.number() & (u64::MAX >> 1);
        let before = self.0.u8(..) == 0;
        let nanos = Duration::from_nanos(nanos);
        if before { SystemTime::UNIX_EPOCH - nanos } else { SystemTime::UNIX_EPOCH + nanos }
    }

    fn many<T>(&mut self, draw: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.0.usize(0..5)).map(|_| draw(self)).collect()
    }

    fn value(&mut self) -> Value {
        match self.0.u8(0..8) {
            0 => Value::Bool(self.0.bool()),
            1 => Value::I64(self.number().cast_signed()),
            2 => Value::F64(f64::from_bits(self.number())),
            3 => Value::Array(Array::Bool(self.many(|draw| draw.0.bool()))),
            4 => Value::Array(Array::I64(self.many(|draw| draw.number().cast_signed()))),
            5 => Value::Array(Array::F64(self.many(|draw| f64::from_bits(draw.number())))),
            6 => Value::Array(Array::String(self.many(|draw| draw.text().into()))),
            _ => Value::String(self.text().into()),
        }
    }

    fn attributes(&mut self) -> Vec<KeyValue> {
        self.many(|draw| KeyValue::new(draw.text(), draw.value()))
    }

    fn context(&mut self) -> SpanContext {
        let state = if self.0.bool() { TraceState::from_str("a=b,c=d").unwrap() } else { TraceState::NONE };
        let (trace_id, span_id) = (TraceId::from(u128::from(self.number())), SpanId::from(self.number()));
        SpanContext::new(trace_id, span_id, TraceFlags::new(self.0.u8(..)), self.0.bool(), state)
    }

    fn event(&mut self) -> Event {
        Event::new(self.text(), self.time(), self.attributes(), self.count())
    }

    fn link(&mut self) -> Link {
        Link::new(self.context(), self.attributes(), self.count())
    }

    fn span(&mut self) -> SpanData {
        let mut events = SpanEvents::default();
        events.events = self.many(Self::event);
        events.dropped_count = self.count();
        let mut links = SpanLinks::default();
        links.links = self.many(Self::link);
        links.dropped_count = self.count();
        let kinds =
            [SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer];
        SpanData {
            span_context: self.context(),
            parent_span_id: SpanId::from(self.number()),
            parent_span_is_remote: self.0.bool(),
            span_kind: kinds[self.0.usize(0..kinds.len())].clone(),
            name: Cow::Owned(self.text()),
            start_time: self.time(),
            end_time: self.time(),
            attributes: self.attributes(),
            dropped_attributes_count: self.count(),
            events,
            links,
            status: [Status::Unset, Status::Ok, Status::error(self.text())][self.0.usize(0..3)].clone(),
            instrumentation_scope: InstrumentationScope::default(),
        }
    }
}

#[test]
fn spans_equal_opentelemetry_protos() {
    for seed in 0..3_000 {
        let data = Draw(fastrand::Rng::with_seed(seed)).span();
        let mut ours = Vec::new();
        span(&data, &mut ours);
        assert!(ours == OtlpSpan::from(data.clone()).encode_to_vec(), "seed {seed}: {data:?}");
    }
}

#[test]
fn scopes_and_resources_do_too() {
    for seed in 0..500 {
        let mut draw = Draw(fastrand::Rng::with_seed(seed));
        let named = InstrumentationScope::builder(draw.text()).with_attributes(draw.attributes());
        let named = if draw.0.bool() { named.with_version(draw.text()) } else { named }.build();
        assert_eq!(scope(&named), OtlpScope::from((&named, None)).encode_to_vec());
        let whole = Resource::builder_empty().with_attributes(draw.attributes()).build();
        let attributes = ResourceAttributesWithSchema::from(&whole).attributes.0;
        assert_eq!(resource(&whole), OtlpResource { attributes, ..OtlpResource::default() }.encode_to_vec());
    }
}
