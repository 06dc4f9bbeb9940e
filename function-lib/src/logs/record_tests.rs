//! The encoder against `opentelemetry-proto`, byte for byte over generated records, and events field by field.

use std::sync::Mutex;
use std::time::Duration;

use opentelemetry::logs::{LogRecord as _, Logger, LoggerProvider, Severity};
use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use prost::Message;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use super::*;

/// Draws the parts of a record; small numbers and empty things are likely.
struct Draw(fastrand::Rng);

impl Draw {
    fn number(&mut self) -> u64 {
        let bits = self.0.u32(0..=64);
        if bits == 0 { 0 } else { self.0.u64(..) >> (64 - bits) }
    }

    fn text(&mut self) -> String {
        let len = self.0.usize(0..200) * usize::from(self.0.bool());
        std::iter::repeat_with(|| self.0.char('\u{1}'..='\u{2FFF}')).take(len).collect()
    }

    fn time(&mut self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.number() & (u64::MAX >> 1))
    }

    fn many<T>(&mut self, draw: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.0.usize(0..5)).map(|_| draw(self)).collect()
    }

    fn any(&mut self, depth: u32) -> AnyValue {
        match self.0.u8(0..if depth == 0 { 5 } else { 7 }) {
            0 => AnyValue::Boolean(self.0.bool()),
            1 => AnyValue::Int(self.number().cast_signed()),
            2 => AnyValue::Double(f64::from_bits(self.number())),
            3 => AnyValue::Bytes(Box::new(self.many(|draw| draw.0.u8(..)))),
            4 => AnyValue::String(self.text().into()),
            5 => AnyValue::ListAny(Box::new(self.many(|draw| draw.any(depth - 1)))),
            _ => {
                let pairs = self.many(|draw| (draw.text().into(), draw.any(depth - 1)));
                AnyValue::Map(Box::new(pairs.into_iter().collect()))
            }
        }
    }

    fn record(&mut self, logger: &impl Logger<LogRecord = SdkLogRecord>) -> SdkLogRecord {
        let severities =
            [Severity::Trace, Severity::Debug3, Severity::Info, Severity::Warn2, Severity::Fatal4];
        let mut record = logger.create_log_record();
        record.set_timestamp(self.time());
        record.set_observed_timestamp(self.time());
        if self.0.bool() {
            record.set_severity_number(severities[self.0.usize(0..severities.len())]);
            record.set_severity_text("LOUD");
        }
        if self.0.bool() {
            record.set_body(self.any(3));
        }
        if self.0.bool() {
            record.set_event_name("order.accepted");
        }
        record.add_attributes(self.many(|draw| (draw.text(), draw.any(2))));
        if self.0.bool() {
            let (trace_id, span_id) = (u128::from(self.number()), self.number());
            let flags = self.0.bool().then(|| TraceFlags::new(self.0.u8(..)));
            record.set_trace_context(TraceId::from(trace_id), SpanId::from(span_id), flags);
        }
        record
    }
}

fn encoded(record: &SdkLogRecord) -> Vec<u8> {
    let mut out = Vec::new();
    of_record(record, &mut out);
    out
}

#[test]
fn records_equal_opentelemetry_protos() {
    let logger = SdkLoggerProvider::builder().build().logger("test");
    for seed in 0..3_000 {
        let record = Draw(fastrand::Rng::with_seed(seed)).record(&logger);
        assert!(encoded(&record) == LogRecord::from(&record).encode_to_vec(), "seed {seed}: {record:?}");
    }
}

#[test]
fn a_record_without_a_time_gets_the_time_of_its_observation() {
    let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(17);
    let mut record = SdkLoggerProvider::builder().build().logger("test").create_log_record();
    record.set_observed_timestamp(at);
    let decoded = LogRecord::decode(encoded(&record).as_slice()).unwrap();
    assert_eq!((decoded.time_unix_nano, decoded.observed_time_unix_nano), (17, 17));
}

/// The last event's record.
#[derive(Default)]
struct Last(Mutex<Option<Vec<u8>>>);

const AT: SystemTime = SystemTime::UNIX_EPOCH;
const IDS: Ids = Ids {
    trace_id: TraceId::from_bytes([1; 16]),
    span_id: SpanId::from_bytes([2; 8]),
    flags: TraceFlags::SAMPLED,
};

impl<S: Subscriber> Layer<S> for &'static Last {
    fn on_event(&self, event: &Event<'_>, _cx: Context<'_, S>) {
        let mut out = Vec::new();
        of_event(event, AT + Duration::from_secs(1), Some(&IDS), &mut out);
        *self.0.lock().unwrap() = Some(out);
    }
}

fn recorded(emit: impl FnOnce()) -> LogRecord {
    let last: &'static Last = Box::leak(Box::default());
    let subscriber = tracing_subscriber::registry().with(last);
    tracing::subscriber::with_default(subscriber, emit);
    LogRecord::decode(last.0.lock().unwrap().take().unwrap().as_slice()).unwrap()
}

fn body(record: &LogRecord) -> Option<&str> {
    match record.body.as_ref()?.value.as_ref()? {
        OtlpValue::StringValue(text) => Some(text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_keeps_its_time_its_place_and_its_types() {
    let error = std::io::Error::other(std::fmt::Error);
    let record = recorded(|| {
        tracing::warn!(
            r#type = "order",
            small = -1,
            large = u64::MAX,
            fits = 7_u64,
            wide = i128::MAX,
            ratio = 0.5,
            open = true,
            bytes = [0_u8, 255].as_slice(),
            shown = %"as text",
            debug = ?Some(1),
            error = &error as &(dyn std::error::Error + 'static),
            "priced {}",
            42
        );
    });
    assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (1_000_000_000, 1_000_000_000));
    assert_eq!((record.severity_number, record.severity_text.as_str()), (13, "WARN"));
    assert_eq!(body(&record), Some("priced 42"));
    assert_eq!((record.trace_id, record.span_id, record.flags), (vec![1; 16], vec![2; 8], 1));
    assert_eq!(record.event_name, "");
    let text = |text: &str| OtlpValue::StringValue(text.to_owned());
    let expected = [
        ("type", text("order")),
        ("small", OtlpValue::IntValue(-1)),
        ("large", text(&u64::MAX.to_string())),
        ("fits", OtlpValue::IntValue(7)),
        ("wide", text(&i128::MAX.to_string())),
        ("ratio", OtlpValue::DoubleValue(0.5)),
        ("open", OtlpValue::BoolValue(true)),
        ("bytes", OtlpValue::BytesValue(vec![0, 255])),
        ("shown", text("as text")),
        ("debug", text("Some(1)")),
        ("error", text(&error.to_string())),
    ];
    let attributes = record.attributes.into_iter().map(|pair| (pair.key, pair.value.unwrap().value.unwrap()));
    let expected = expected.map(|(key, value)| (key.to_owned(), value));
    assert_eq!(attributes.collect::<Vec<_>>(), expected);
}

#[test]
fn an_event_without_a_text_has_no_body() {
    let record = recorded(|| tracing::info!(items = 3));
    assert_eq!((body(&record), record.attributes.len()), (None, 1));
    assert_eq!(body(&recorded(|| tracing::info!(message = 7))), Some("7"));
}

#[test]
fn severities_are_otlps() {
    let numbers = [
        recorded(|| tracing::trace!("")),
        recorded(|| tracing::debug!("")),
        recorded(|| tracing::info!("")),
        recorded(|| tracing::warn!("")),
        recorded(|| tracing::error!("")),
    ];
    assert_eq!(numbers.map(|record| record.severity_number), [1, 5, 9, 13, 17]);
}
