//! `opentelemetry/proto/trace/v1`.

use super::Kind::{Enum, Fixed32, Fixed64, String, Uint32};
use super::common::{KEY_VALUE, RESOURCE, SCOPE};
use super::{Items, Kind, Message, SPAN_ID, TRACE_ID, plain, repeated};

/// `ExportTraceServiceRequest`.
pub static EXPORT_TRACES: Message = Message::new(
    "ExportTraceServiceRequest",
    Items::Inner,
    &[repeated(1, "resourceSpans", Kind::Message(&RESOURCE_SPANS))],
);

static RESOURCE_SPANS: Message = Message::new(
    "ResourceSpans",
    Items::Inner,
    &[
        plain(1, "resource", Kind::Message(&RESOURCE)),
        repeated(2, "scopeSpans", Kind::Message(&SCOPE_SPANS)),
        plain(3, "schemaUrl", String),
    ],
);

static SCOPE_SPANS: Message = Message::new(
    "ScopeSpans",
    Items::Inner,
    &[
        plain(1, "scope", Kind::Message(&SCOPE)),
        repeated(2, "spans", Kind::Message(&SPAN)),
        plain(3, "schemaUrl", String),
    ],
);

static SPAN: Message = Message::new(
    "Span",
    Items::One,
    &[
        plain(1, "traceId", TRACE_ID),
        plain(2, "spanId", SPAN_ID),
        plain(3, "traceState", String),
        plain(4, "parentSpanId", SPAN_ID),
        plain(5, "name", String),
        plain(6, "kind", Enum(SPAN_KIND)),
        plain(7, "startTimeUnixNano", Fixed64),
        plain(8, "endTimeUnixNano", Fixed64),
        repeated(9, "attributes", Kind::Message(&KEY_VALUE)),
        plain(10, "droppedAttributesCount", Uint32),
        repeated(11, "events", Kind::Message(&EVENT)),
        plain(12, "droppedEventsCount", Uint32),
        repeated(13, "links", Kind::Message(&LINK)),
        plain(14, "droppedLinksCount", Uint32),
        plain(15, "status", Kind::Message(&STATUS)),
        plain(16, "flags", Fixed32),
    ],
);

const SPAN_KIND: &[(&str, i32)] = &[
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
];

static EVENT: Message = Message::new(
    "Event",
    Items::None,
    &[
        plain(1, "timeUnixNano", Fixed64),
        plain(2, "name", String),
        repeated(3, "attributes", Kind::Message(&KEY_VALUE)),
        plain(4, "droppedAttributesCount", Uint32),
    ],
);

static LINK: Message = Message::new(
    "Link",
    Items::None,
    &[
        plain(1, "traceId", TRACE_ID),
        plain(2, "spanId", SPAN_ID),
        plain(3, "traceState", String),
        repeated(4, "attributes", Kind::Message(&KEY_VALUE)),
        plain(5, "droppedAttributesCount", Uint32),
        plain(6, "flags", Fixed32),
    ],
);

static STATUS: Message =
    Message::new("Status", Items::None, &[plain(2, "message", String), plain(3, "code", Enum(STATUS_CODE))]);

const STATUS_CODE: &[(&str, i32)] =
    &[("STATUS_CODE_UNSET", 0), ("STATUS_CODE_OK", 1), ("STATUS_CODE_ERROR", 2)];
