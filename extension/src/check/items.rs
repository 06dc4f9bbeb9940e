//! One tiny but real item of each signal, to be exported by `--check`.

use prost::Message;

use crate::core::{Signal, Wall};

/// What the backend's users see as the service.
pub(super) const SERVICE_NAME: &str = "lambda-flush-check";

/// `Export{Trace,Metrics,Logs}ServiceRequest`: the three differ in the innermost message only.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, optional, tag = "1")]
    of_resource: Option<OfResource>,
}

#[derive(Clone, PartialEq, Message)]
struct OfResource {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, optional, tag = "2")]
    of_scope: Option<OfScope>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Text>,
}

/// `AnyValue`, as a string.
#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

#[derive(Clone, PartialEq, Message)]
struct OfScope {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    /// An encoded span, metric or log record.
    #[prost(bytes = "vec", tag = "2")]
    item: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_unix_nanos: u64,
    #[prost(fixed64, tag = "8")]
    end_unix_nanos: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    unit: String,
    #[prost(message, optional, tag = "5")]
    gauge: Option<Gauge>,
}

#[derive(Clone, PartialEq, Message)]
struct Gauge {
    #[prost(message, optional, tag = "1")]
    point: Option<Point>,
}

#[derive(Clone, PartialEq, Message)]
struct Point {
    #[prost(fixed64, tag = "3")]
    time_unix_nanos: u64,
    // A field that is in a `oneof` is written even if it is 0; this one never is.
    #[prost(sfixed64, tag = "6")]
    value: i64,
}

#[derive(Clone, PartialEq, Message)]
struct LogRecord {
    #[prost(fixed64, tag = "1")]
    time_unix_nanos: u64,
    #[prost(int32, tag = "2")]
    severity: i32,
    #[prost(string, tag = "3")]
    severity_text: String,
    #[prost(message, optional, tag = "5")]
    body: Option<Text>,
    #[prost(fixed64, tag = "11")]
    observed_unix_nanos: u64,
}

/// An export request with one item, recorded at `now`; `ids` makes its trace and span ids.
pub(super) fn request(signal: Signal, now: Wall, ids: u128) -> Vec<u8> {
    let nanos = u64::try_from(now.as_nanos()).unwrap_or_default();
    let item = match signal {
        Signal::Traces => span(nanos, ids).encode_to_vec(),
        Signal::Metrics => metric(nanos).encode_to_vec(),
        Signal::Logs => log_record(nanos).encode_to_vec(),
    };
    let name = text("service.name", SERVICE_NAME);
    let scope = Scope { name: SERVICE_NAME.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let of_scope = OfScope { scope: Some(scope), item };
    let resource = Resource { attributes: vec![name] };
    let of_resource = OfResource { resource: Some(resource), of_scope: Some(of_scope) };
    Request { of_resource: Some(of_resource) }.encode_to_vec()
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(Text { text: value.to_owned() }) }
}

fn span(nanos: u64, ids: u128) -> Span {
    // Ids of zeros are none.
    let ids = (ids | 1).to_be_bytes();
    Span {
        trace_id: ids.to_vec(),
        span_id: ids.iter().rev().take(8).copied().collect(),
        name: "check".to_owned(),
        kind: 1, // SPAN_KIND_INTERNAL
        start_unix_nanos: nanos,
        end_unix_nanos: nanos + 1_000_000,
    }
}

fn metric(nanos: u64) -> Metric {
    let point = Point { time_unix_nanos: nanos, value: 1 };
    Metric {
        name: "lambda_flush.check".to_owned(),
        unit: "1".to_owned(),
        gauge: Some(Gauge { point: Some(point) }),
    }
}

fn log_record(nanos: u64) -> LogRecord {
    LogRecord {
        time_unix_nanos: nanos,
        severity: 9, // SEVERITY_NUMBER_INFO
        severity_text: "INFO".to_owned(),
        body: Some(Text { text: "lambda-flush-extension --check".to_owned() }),
        observed_unix_nanos: nanos,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;

    use super::*;

    fn encoded(signal: Signal) -> Vec<u8> {
        request(signal, Duration::from_secs(1_800_000_000), 0xfeed << 64)
    }

    #[test]
    fn a_real_decoder_reads_the_span() {
        let request = ExportTraceServiceRequest::decode(&*encoded(Signal::Traces)).unwrap();
        let resource = &request.resource_spans[0];
        assert_eq!(resource.resource.as_ref().unwrap().attributes[0].key, "service.name");
        let span = &resource.scope_spans[0].spans[0];
        assert_eq!((span.trace_id.len(), span.span_id.len(), span.name.as_str()), (16, 8, "check"));
        assert_eq!(span.start_time_unix_nano, 1_800_000_000_000_000_000);
        assert!(span.span_id.iter().any(|byte| *byte != 0));
    }

    #[test]
    fn a_real_decoder_reads_the_measurement_and_the_log_record() {
        let request = ExportMetricsServiceRequest::decode(&*encoded(Signal::Metrics)).unwrap();
        let metric = &request.resource_metrics[0].scope_metrics[0].metrics[0];
        assert!(
            matches!(&metric.data, Some(Data::Gauge(gauge)) if gauge.data_points.len() == 1),
            "{metric:?}"
        );
        let request = ExportLogsServiceRequest::decode(&*encoded(Signal::Logs)).unwrap();
        let record = &request.resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!(record.severity_number, 9);
        assert!(record.body.is_some());
    }
}
