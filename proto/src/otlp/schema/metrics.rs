//! `opentelemetry/proto/metrics/v1`.

use super::Kind::{Bool, Double, Enum, Fixed64, Sfixed64, Sint32, String, Uint32, Uint64};
use super::common::{KEY_VALUE, RESOURCE, SCOPE};
use super::{Items, Kind, Message, SPAN_ID, TRACE_ID, explicit, plain, repeated};

/// `ExportMetricsServiceRequest`.
pub static EXPORT_METRICS: Message = Message::new(
    "ExportMetricsServiceRequest",
    Items::Inner,
    &[repeated(1, "resourceMetrics", Kind::Message(&RESOURCE_METRICS))],
);

static RESOURCE_METRICS: Message = Message::new(
    "ResourceMetrics",
    Items::Inner,
    &[
        plain(1, "resource", Kind::Message(&RESOURCE)),
        repeated(2, "scopeMetrics", Kind::Message(&SCOPE_METRICS)),
        plain(3, "schemaUrl", String),
    ],
);

static SCOPE_METRICS: Message = Message::new(
    "ScopeMetrics",
    Items::Inner,
    &[
        plain(1, "scope", Kind::Message(&SCOPE)),
        repeated(2, "metrics", Kind::Message(&METRIC)),
        plain(3, "schemaUrl", String),
    ],
);

static METRIC: Message = Message::new(
    "Metric",
    Items::Oneof,
    &[
        plain(1, "name", String),
        plain(2, "description", String),
        plain(3, "unit", String),
        explicit(5, "gauge", Kind::Message(&GAUGE)),
        explicit(7, "sum", Kind::Message(&SUM)),
        explicit(9, "histogram", Kind::Message(&HISTOGRAM)),
        explicit(10, "exponentialHistogram", Kind::Message(&EXPONENTIAL_HISTOGRAM)),
        explicit(11, "summary", Kind::Message(&SUMMARY)),
        repeated(12, "metadata", Kind::Message(&KEY_VALUE)),
    ],
);

const TEMPORALITY: &[(&str, i32)] = &[
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
];

static GAUGE: Message =
    Message::new("Gauge", Items::Inner, &[repeated(1, "dataPoints", Kind::Message(&NUMBER_POINT))]);

static SUM: Message = Message::new(
    "Sum",
    Items::Inner,
    &[
        repeated(1, "dataPoints", Kind::Message(&NUMBER_POINT)),
        plain(2, "aggregationTemporality", Enum(TEMPORALITY)),
        plain(3, "isMonotonic", Bool),
    ],
);

static HISTOGRAM: Message = Message::new(
    "Histogram",
    Items::Inner,
    &[
        repeated(1, "dataPoints", Kind::Message(&HISTOGRAM_POINT)),
        plain(2, "aggregationTemporality", Enum(TEMPORALITY)),
    ],
);

static EXPONENTIAL_HISTOGRAM: Message = Message::new(
    "ExponentialHistogram",
    Items::Inner,
    &[
        repeated(1, "dataPoints", Kind::Message(&EXPONENTIAL_POINT)),
        plain(2, "aggregationTemporality", Enum(TEMPORALITY)),
    ],
);

static SUMMARY: Message =
    Message::new("Summary", Items::Inner, &[repeated(1, "dataPoints", Kind::Message(&SUMMARY_POINT))]);

static NUMBER_POINT: Message = Message::new(
    "NumberDataPoint",
    Items::One,
    &[
        plain(2, "startTimeUnixNano", Fixed64),
        plain(3, "timeUnixNano", Fixed64),
        explicit(4, "asDouble", Double),
        repeated(5, "exemplars", Kind::Message(&EXEMPLAR)),
        explicit(6, "asInt", Sfixed64),
        repeated(7, "attributes", Kind::Message(&KEY_VALUE)),
        plain(8, "flags", Uint32),
    ],
);

static HISTOGRAM_POINT: Message = Message::new(
    "HistogramDataPoint",
    Items::One,
    &[
        plain(2, "startTimeUnixNano", Fixed64),
        plain(3, "timeUnixNano", Fixed64),
        plain(4, "count", Fixed64),
        explicit(5, "sum", Double),
        repeated(6, "bucketCounts", Fixed64),
        repeated(7, "explicitBounds", Double),
        repeated(8, "exemplars", Kind::Message(&EXEMPLAR)),
        repeated(9, "attributes", Kind::Message(&KEY_VALUE)),
        plain(10, "flags", Uint32),
        explicit(11, "min", Double),
        explicit(12, "max", Double),
    ],
);

static EXPONENTIAL_POINT: Message = Message::new(
    "ExponentialHistogramDataPoint",
    Items::One,
    &[
        repeated(1, "attributes", Kind::Message(&KEY_VALUE)),
        plain(2, "startTimeUnixNano", Fixed64),
        plain(3, "timeUnixNano", Fixed64),
        plain(4, "count", Fixed64),
        explicit(5, "sum", Double),
        plain(6, "scale", Sint32),
        plain(7, "zeroCount", Fixed64),
        plain(8, "positive", Kind::Message(&BUCKETS)),
        plain(9, "negative", Kind::Message(&BUCKETS)),
        plain(10, "flags", Uint32),
        repeated(11, "exemplars", Kind::Message(&EXEMPLAR)),
        explicit(12, "min", Double),
        explicit(13, "max", Double),
        plain(14, "zeroThreshold", Double),
    ],
);

static BUCKETS: Message =
    Message::new("Buckets", Items::None, &[plain(1, "offset", Sint32), repeated(2, "bucketCounts", Uint64)]);

static SUMMARY_POINT: Message = Message::new(
    "SummaryDataPoint",
    Items::One,
    &[
        plain(2, "startTimeUnixNano", Fixed64),
        plain(3, "timeUnixNano", Fixed64),
        plain(4, "count", Fixed64),
        plain(5, "sum", Double),
        repeated(6, "quantileValues", Kind::Message(&VALUE_AT_QUANTILE)),
        repeated(7, "attributes", Kind::Message(&KEY_VALUE)),
        plain(8, "flags", Uint32),
    ],
);

static VALUE_AT_QUANTILE: Message =
    Message::new("ValueAtQuantile", Items::None, &[plain(1, "quantile", Double), plain(2, "value", Double)]);

static EXEMPLAR: Message = Message::new(
    "Exemplar",
    Items::None,
    &[
        plain(2, "timeUnixNano", Fixed64),
        explicit(3, "asDouble", Double),
        plain(4, "spanId", SPAN_ID),
        plain(5, "traceId", TRACE_ID),
        explicit(6, "asInt", Sfixed64),
        repeated(7, "filteredAttributes", Kind::Message(&KEY_VALUE)),
    ],
);
