//! The transcoder against another implementation, against the rules that one does not keep, and against bad input.

#![expect(clippy::needless_pass_by_value, reason = "documents are written in place")]

#[path = "../../../../proto/tests/requests/mod.rs"]
mod requests;

use fastrand::Rng;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde::Serialize;
use serde_json::{Value, json};

use super::to_protobuf;
use crate::core::Signal;
use crate::limits::DOOR_BODY_BYTES_MAX;
use crate::receive::doors::refusal::Refusal;
use crate::receive::doors::room::{Buffer, Room};

fn transcoded(signal: Signal, json: &[u8]) -> Result<Vec<u8>, Refusal> {
    let room = Room::default();
    let mut request = Buffer::new(room.claim(0)?);
    request.put(json)?;
    let (bytes, claim) = to_protobuf(signal, &mut request)?.into_parts();
    drop((claim, request));
    assert_eq!(room.taken(), 0, "all room is given back");
    Ok(bytes)
}

/// What is wrong with a document.
fn fault(signal: Signal, json: &str) -> String {
    match transcoded(signal, json.as_bytes()) {
        Err(Refusal::Malformed(what)) => what,
        other => panic!("{json}: {other:?}"),
    }
}

fn same<T: Message + Default + PartialEq + Serialize>(signal: Signal, request: &T) {
    let json = serde_json::to_vec(request).unwrap();
    let bytes = transcoded(signal, &json).unwrap();
    let back = T::decode(bytes.as_slice()).unwrap();
    // What differs is in the document; the requests themselves would fill screens.
    assert!(back == *request, "{}", String::from_utf8_lossy(&json));
    assert!(bytes.len() <= request.encoded_len(), "nothing is written that could be left out");
}

#[test]
fn every_field_of_every_message_as_another_implementation_writes_it() {
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        same(Signal::Traces, &requests::traces(&mut rng));
        same(Signal::Metrics, &requests::metrics(&mut rng));
        same(Signal::Logs, &requests::logs(&mut rng));
    }
}

/// The same document with its keys in snake case, numbers as strings, and nulls and unknown fields strewn in.
fn disguised(value: Value, rng: &mut Rng) -> Value {
    match value {
        Value::Object(fields) => {
            let mut out: serde_json::Map<_, _> =
                fields.into_iter().map(|(key, value)| (snake(&key), disguised(value, rng))).collect();
            out.insert("someday".into(), json!({"deep": [1, {"er": null}, "x"]}));
            Value::Object(out)
        }
        Value::Array(list) => Value::Array(list.into_iter().map(|value| disguised(value, rng)).collect()),
        Value::Number(number) if rng.bool() => Value::String(number.to_string()),
        other => other,
    }
}

fn snake(camel: &str) -> String {
    let split = |letter: char| match letter.is_ascii_uppercase() {
        true => format!("_{}", letter.to_ascii_lowercase()),
        false => letter.to_string(),
    };
    camel.chars().map(split).collect()
}

#[test]
fn the_same_in_other_spellings() {
    for seed in 0..100 {
        let mut rng = Rng::with_seed(seed);
        let request = requests::metrics(&mut rng);
        let document = disguised(serde_json::to_value(&request).unwrap(), &mut rng);
        let bytes = transcoded(Signal::Metrics, document.to_string().as_bytes()).unwrap();
        assert!(ExportMetricsServiceRequest::decode(bytes.as_slice()).unwrap() == request, "seed {seed}");
    }
}

fn span(span: Value) -> Span {
    let document = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).to_string();
    let bytes = transcoded(Signal::Traces, document.as_bytes()).unwrap();
    let mut request = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
    request.resource_spans.remove(0).scope_spans.remove(0).spans.remove(0)
}

fn attribute(value: Value) -> Option<Any> {
    let mut attributes = span(json!({"attributes": [{"key": "a", "value": value}]})).attributes;
    attributes.remove(0).value.and_then(|value| value.value)
}

#[test]
fn what_other_decoders_refuse_or_lose() {
    let nulls = json!({"traceId": null, "spanId": null, "attributes": null, "status": null, "name": "n", "events": [null]});
    assert_eq!(span(nulls), Span { name: "n".into(), ..Span::default() });
    assert!(
        matches!(attribute(json!({"arrayValue": {}})), Some(Any::ArrayValue(list)) if list.values.is_empty())
    );
    assert!(
        matches!(attribute(json!({"kvlistValue": {}})), Some(Any::KvlistValue(list)) if list.values.is_empty())
    );
    assert!(
        matches!(attribute(json!({"doubleValue": "NaN"})), Some(Any::DoubleValue(value)) if value.is_nan())
    );
    assert_eq!(attribute(json!({"doubleValue": "-Infinity"})), Some(Any::DoubleValue(f64::NEG_INFINITY)));
    assert_eq!(attribute(json!({"doubleValue": "1.5e3"})), Some(Any::DoubleValue(1500.0)));
    assert_eq!(attribute(json!({"doubleValue": 7})), Some(Any::DoubleValue(7.0)));
    assert_eq!(attribute(json!({"intValue": 5.0})), Some(Any::IntValue(5)));
    assert_eq!(attribute(json!({"intValue": "-9223372036854775808"})), Some(Any::IntValue(i64::MIN)));
    assert_eq!(
        attribute(json!({"boolValue": false})),
        Some(Any::BoolValue(false)),
        "zero is not absent here"
    );
    assert_eq!(attribute(json!({"stringValue": ""})), Some(Any::StringValue(String::new())));
    assert_eq!(attribute(json!({})), None);
    assert_eq!(attribute(json!(null)), None);
    for text in ["-_-_", "+/+/", "-_-_YQ==", "-_-_YQ"] {
        assert!(matches!(attribute(json!({"bytesValue": text})), Some(Any::BytesValue(_))), "{text}");
    }
    assert_eq!(attribute(json!({"bytesValue": "-_-_YQ"})), attribute(json!({"bytesValue": "+/+/YQ=="})));
    let list = attribute(json!({"arrayValue": {"values": [{"intValue": 1}, null, {"intValue": 2}]}}));
    assert!(matches!(list, Some(Any::ArrayValue(list)) if list.values.len() == 3), "places are kept");
    let other = span(
        json!({"kind": "SPAN_KIND_SERVER", "droppedAttributesCount": "1", "startTimeUnixNano": 12, "traceId": "0AfF000000000000000000000000000b"}),
    );
    assert_eq!((other.kind, other.dropped_attributes_count, other.start_time_unix_nano), (2, 1, 12));
    assert_eq!(other.trace_id, [&[0x0a, 0xff][..], &[0; 13], &[0x0b]].concat());
}

/// A string of JavaScript's that was cut in the middle of a pair.
#[test]
fn half_of_a_pair_costs_one_character() {
    let document = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"\ud83d\ude80 cut \ud83d","traceState":"\ude80"}]}]}]}"#;
    let bytes = transcoded(Signal::Traces, document.as_bytes()).unwrap();
    let request = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((span.name.as_str(), span.trace_state.as_str()), ("\u{1F680} cut \u{FFFD}", "\u{FFFD}"));
}

#[test]
fn points_that_other_decoders_lose() {
    let point = json!({"asDouble": "NaN", "timeUnixNano": "5"});
    let sum = json!({"dataPoints": [point], "aggregationTemporality": "AGGREGATION_TEMPORALITY_DELTA", "isMonotonic": true});
    let document = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "sum": sum}]}]}]});
    let bytes = transcoded(Signal::Metrics, document.to_string().as_bytes()).unwrap();
    let request = ExportMetricsServiceRequest::decode(bytes.as_slice()).unwrap();
    let Some(metric::Data::Sum(sum)) = &request.resource_metrics[0].scope_metrics[0].metrics[0].data else {
        panic!("{request:?}")
    };
    assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (1, true));
    let value = sum.data_points[0].value;
    assert!(matches!(value, Some(number_data_point::Value::AsDouble(value)) if value.is_nan()), "{value:?}");
}

/// As `@opentelemetry/otlp-transformer` writes it: nulls and undefined left out, ids in hex, times as strings.
#[test]
fn a_request_of_the_javascript_sdk() {
    let json = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}},
        {"key":"process.pid","value":{"intValue":8}},{"key":"process.command_args","value":{"arrayValue":{"values":[
        {"stringValue":"/var/lang/bin/node"},{"stringValue":"index.mjs"}]}}}],"droppedAttributesCount":0},
        "scopeLogs":[{"scope":{"name":"orders","version":""},"logRecords":[{"timeUnixNano":"1763910000123000000",
        "observedTimeUnixNano":"1763910000124000000","severityNumber":9,"severityText":"INFO","body":{"stringValue":
        "gr\u00f6\u00dfe \"42\""},"attributes":[],"droppedAttributesCount":0,"flags":1,
        "traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}]}]}]}"#;
    let bytes = transcoded(Signal::Logs, json.as_bytes()).unwrap();
    let logs = ExportLogsServiceRequest::decode(bytes.as_slice()).unwrap().resource_logs;
    let record = &logs[0].scope_logs[0].log_records[0];
    assert_eq!((record.time_unix_nano, record.severity_number), (1_763_910_000_123_000_000, 9));
    assert_eq!(record.body.clone().unwrap().value, Some(Any::StringValue("größe \"42\"".into())));
    assert_eq!(record.span_id, [0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x74]);
    assert_eq!(logs[0].resource.as_ref().unwrap().attributes.len(), 3);
}

#[test]
fn errors_name_the_place_and_not_the_value() {
    let spans =
        |spans: &str| format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{}},{{"spans":[{spans}]}}]}}]}}"#);
    let at = |json: &str, place: &str| {
        let found = fault(Signal::Traces, json);
        assert!(found.starts_with(&format!("not valid OTLP/JSON: {place}")), "{found}");
        assert!(found.contains("at line 1 column"), "{found}");
        assert!(!found.contains("secret"), "{found}");
    };
    at(
        &spans(r#"{},{"traceId":"secret"}"#),
        "resourceSpans[0].scopeSpans[1].spans[1].traceId: not 32 hex digits",
    );
    for id in ["abc", "abcd", &"ab".repeat(8), &"ab".repeat(17)] {
        let id = format!(r#"{{"traceId":"{id}"}}"#);
        at(&spans(&id), "resourceSpans[0].scopeSpans[1].spans[0].traceId: not 32 hex digits");
    }
    at(
        &spans(r#"{"parentSpanId":"abcd"}"#),
        "resourceSpans[0].scopeSpans[1].spans[0].parentSpanId: not 16 hex digits",
    );
    at(&spans(r#"{"name":7}"#), "resourceSpans[0].scopeSpans[1].spans[0].name: not a string");
    at(
        &spans(r#"{"kind":"secret"}"#),
        "resourceSpans[0].scopeSpans[1].spans[0].kind: not a value of its enum",
    );
    at(
        &spans(r#"{"startTimeUnixNano":-1}"#),
        "resourceSpans[0].scopeSpans[1].spans[0].startTimeUnixNano: not a uint64",
    );
    at(
        &spans(r#"{"startTimeUnixNano":1.5}"#),
        "resourceSpans[0].scopeSpans[1].spans[0].startTimeUnixNano: not a uint64",
    );
    at(
        &spans(r#"{"attributes":{"secret":1}}"#),
        "resourceSpans[0].scopeSpans[1].spans[0].attributes: not a list",
    );
    at(
        &spans(r#"{"attributes":["secret"]}"#),
        "resourceSpans[0].scopeSpans[1].spans[0].attributes[0]: not an object",
    );
    at(&spans(r#"{"status":[]}"#), "resourceSpans[0].scopeSpans[1].spans[0].status: not a single value");
    at(
        &spans(r#"{"name":"secret","name":"b"}"#),
        "resourceSpans[0].scopeSpans[1].spans[0].name: its key comes twice",
    );
    at(&spans(r#"{"name":"a"#), "resourceSpans[0].scopeSpans[1].spans[0].name: EOF");
    at(
        &spans(r#"{"attributes":[{"value":{"doubleValue":"inf"}}]}"#),
        "resourceSpans[0].scopeSpans[1].spans[0].attributes[0].value.doubleValue: not a number",
    );
    at(
        &spans(r#"{"attributes":[{"value":{"bytesValue":"s!"}}]}"#),
        "resourceSpans[0].scopeSpans[1].spans[0].attributes[0].value.bytesValue: not base64",
    );
    for root in ["[]", r#""secret""#, "7", "-7", "7.5", "true", "null"] {
        at(root, "not an object");
    }
    for other in [r#"{"resourceMetrics":[]}"#, r#"{"resource_logs":null}"#] {
        at(other, "a request of another signal");
    }
    at("{} {}", "trailing characters");
    at("", "EOF");
    at("\u{FEFF}{}", "expected value");
}

#[test]
fn deep_documents_are_refused_and_lists_of_numbers_keep_their_places() {
    for levels in [50, 1_000, 100_000] {
        let nested = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(levels), "]}}".repeat(levels));
        let json = format!(r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"value":{nested}}}]}}}}]}}"#);
        let found = fault(Signal::Traces, &json);
        assert!(found.contains("recursion") || found.contains("deep"), "{levels}: {found}");
        assert!(found.len() < 500, "{found}");
        let unknown = format!(r#"{{"unknown":{}{}}}"#, "[".repeat(levels * 3), "]".repeat(levels * 3));
        assert!(transcoded(Signal::Traces, unknown.as_bytes()).is_ok(), "passed over without recursion");
    }
    let counts = |counts: &str| {
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{"bucketCounts":{counts}}}]}}}}]}}]}}]}}"#
        )
    };
    assert!(fault(Signal::Metrics, &counts("[1,null]")).contains("bucketCounts[1]: not a number"));
    assert!(transcoded(Signal::Metrics, counts(r#"["1",2]"#).as_bytes()).is_ok());
}

#[test]
fn what_gets_larger_as_protobuf_is_bounded() {
    let many = |count: usize| {
        let zeros = vec!["1"; count].join(",");
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{"explicitBounds":[{zeros}]}}]}}}}]}}]}}]}}"#
        )
    };
    assert!(transcoded(Signal::Metrics, many(100_000).as_bytes()).is_ok());
    let refused = transcoded(Signal::Metrics, many(DOOR_BODY_BYTES_MAX / 8).as_bytes());
    assert_eq!(refused, Err(Refusal::TooLarge));
}

/// What is torn or changed anywhere is refused or still a request, and nothing panics.
#[test]
fn broken_documents() {
    let mut good = 0;
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let json = serde_json::to_vec(&requests::traces(&mut rng)).unwrap();
        for _ in 0..40 {
            let mut json = json.clone();
            let at = rng.usize(..json.len());
            match rng.u8(..3) {
                0 => json.truncate(at),
                1 => json[at] = rng.u8(..),
                _ => drop(json.remove(at)),
            }
            if let Ok(bytes) = transcoded(Signal::Traces, &json) {
                ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
                good += 1;
            }
        }
    }
    assert!(good > 100, "{good}");
}
