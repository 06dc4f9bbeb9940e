//! What a real decoder makes of an export request.

use lambda_flush_proto::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;

/// The items of a request, if it can be decoded.
pub(crate) fn items(signal: Signal, request: &[u8]) -> Option<u64> {
    let items: usize = match signal {
        Signal::Traces => {
            let spans = ExportTraceServiceRequest::decode(request).ok()?.resource_spans;
            spans.iter().flat_map(|resource| &resource.scope_spans).map(|scope| scope.spans.len()).sum()
        }
        Signal::Logs => {
            let logs = ExportLogsServiceRequest::decode(request).ok()?.resource_logs;
            logs.iter().flat_map(|resource| &resource.scope_logs).map(|scope| scope.log_records.len()).sum()
        }
        Signal::Metrics => {
            let metrics = ExportMetricsServiceRequest::decode(request).ok()?.resource_metrics;
            let scopes = metrics.iter().flat_map(|resource| &resource.scope_metrics);
            scopes
                .flat_map(|scope| &scope.metrics)
                .filter_map(|metric| metric.data.as_ref())
                .map(points)
                .sum()
        }
        Signal::Unspecified => return None,
    };
    Some(items as u64)
}

fn points(data: &Data) -> usize {
    match data {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
        Data::Summary(summary) => summary.data_points.len(),
    }
}
