//! From a request's body to its items.

use std::io::Read;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;

use super::record::OtlpSignal;
use crate::span_id::SpanId;

/// Largest body, compressed or not.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The items of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Items {
    pub(crate) count: usize,
    pub(crate) spans: Vec<SpanId>,
}

/// Undoes `Content-Encoding`; `Err` says what is wrong.
pub(crate) fn decompress(encoding: &str, body: &Bytes) -> Result<Bytes, String> {
    let limit = u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX);
    let mut plain = Vec::new();
    let read = match encoding {
        "" | "identity" => return Ok(body.clone()),
        "gzip" => flate2::read::GzDecoder::new(body.as_ref()).take(limit).read_to_end(&mut plain),
        "zstd" => zstd::stream::read::Decoder::new(body.as_ref())
            .and_then(|decoder| decoder.take(limit).read_to_end(&mut plain)),
        other => return Err(format!("content encoding {other} is not supported")),
    };
    match read {
        Ok(read) if read < BODY_BYTES_MAX => Ok(plain.into()),
        Ok(_) => Err("the body is too large".to_owned()),
        Err(error) => Err(format!("the body can't be decompressed: {error}")),
    }
}

/// Decodes an export request; `Err` says what is wrong.
pub(crate) fn items(signal: OtlpSignal, body: &[u8]) -> Result<Items, String> {
    let broken = |error: prost::DecodeError| format!("the body is no export request: {error}");
    match signal {
        OtlpSignal::Traces => span_items(body).map_err(broken),
        OtlpSignal::Metrics => metric_items(body).map_err(broken),
        OtlpSignal::Logs => log_items(body).map_err(broken),
    }
}

fn span_items(body: &[u8]) -> Result<Items, prost::DecodeError> {
    let request = ExportTraceServiceRequest::decode(body)?;
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    let spans: Vec<_> = scopes.flat_map(|scope| &scope.spans).collect();
    let ids = spans.iter().filter_map(|span| SpanId::from_slice(&span.span_id)).collect();
    Ok(Items { count: spans.len(), spans: ids })
}

fn metric_items(body: &[u8]) -> Result<Items, prost::DecodeError> {
    let request = ExportMetricsServiceRequest::decode(body)?;
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let points = |data: &Data| match data {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
        Data::Summary(summary) => summary.data_points.len(),
    };
    let metrics = scopes.flat_map(|scope| &scope.metrics);
    Ok(Items {
        count: metrics.filter_map(|metric| metric.data.as_ref()).map(points).sum(),
        spans: Vec::new(),
    })
}

fn log_items(body: &[u8]) -> Result<Items, prost::DecodeError> {
    let request = ExportLogsServiceRequest::decode(body)?;
    let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
    Ok(Items { count: scopes.map(|scope| scope.log_records.len()).sum(), spans: Vec::new() })
}
