//! `opentelemetry/proto/logs/v1`.

use super::Kind::{Enum, Fixed32, Fixed64, String, Uint32};
use super::common::{ANY_VALUE, KEY_VALUE, RESOURCE, SCOPE};
use super::{Items, Kind, Message, SPAN_ID, TRACE_ID, plain, repeated};

/// `ExportLogsServiceRequest`.
pub static EXPORT_LOGS: Message = Message::new(
    "ExportLogsServiceRequest",
    Items::Inner,
    &[repeated(1, "resourceLogs", Kind::Message(&RESOURCE_LOGS))],
);

static RESOURCE_LOGS: Message = Message::new(
    "ResourceLogs",
    Items::Inner,
    &[
        plain(1, "resource", Kind::Message(&RESOURCE)),
        repeated(2, "scopeLogs", Kind::Message(&SCOPE_LOGS)),
        plain(3, "schemaUrl", String),
    ],
);

static SCOPE_LOGS: Message = Message::new(
    "ScopeLogs",
    Items::Inner,
    &[
        plain(1, "scope", Kind::Message(&SCOPE)),
        repeated(2, "logRecords", Kind::Message(&LOG_RECORD)),
        plain(3, "schemaUrl", String),
    ],
);

static LOG_RECORD: Message = Message::new(
    "LogRecord",
    Items::One,
    &[
        plain(1, "timeUnixNano", Fixed64),
        plain(2, "severityNumber", Enum(SEVERITY)),
        plain(3, "severityText", String),
        plain(5, "body", Kind::Message(&ANY_VALUE)),
        repeated(6, "attributes", Kind::Message(&KEY_VALUE)),
        plain(7, "droppedAttributesCount", Uint32),
        plain(8, "flags", Fixed32),
        plain(9, "traceId", TRACE_ID),
        plain(10, "spanId", SPAN_ID),
        plain(11, "observedTimeUnixNano", Fixed64),
        plain(12, "eventName", String),
    ],
);

const SEVERITY: &[(&str, i32)] = &[
    ("SEVERITY_NUMBER_UNSPECIFIED", 0),
    ("SEVERITY_NUMBER_TRACE", 1),
    ("SEVERITY_NUMBER_TRACE2", 2),
    ("SEVERITY_NUMBER_TRACE3", 3),
    ("SEVERITY_NUMBER_TRACE4", 4),
    ("SEVERITY_NUMBER_DEBUG", 5),
    ("SEVERITY_NUMBER_DEBUG2", 6),
    ("SEVERITY_NUMBER_DEBUG3", 7),
    ("SEVERITY_NUMBER_DEBUG4", 8),
    ("SEVERITY_NUMBER_INFO", 9),
    ("SEVERITY_NUMBER_INFO2", 10),
    ("SEVERITY_NUMBER_INFO3", 11),
    ("SEVERITY_NUMBER_INFO4", 12),
    ("SEVERITY_NUMBER_WARN", 13),
    ("SEVERITY_NUMBER_WARN2", 14),
    ("SEVERITY_NUMBER_WARN3", 15),
    ("SEVERITY_NUMBER_WARN4", 16),
    ("SEVERITY_NUMBER_ERROR", 17),
    ("SEVERITY_NUMBER_ERROR2", 18),
    ("SEVERITY_NUMBER_ERROR3", 19),
    ("SEVERITY_NUMBER_ERROR4", 20),
    ("SEVERITY_NUMBER_FATAL", 21),
    ("SEVERITY_NUMBER_FATAL2", 22),
    ("SEVERITY_NUMBER_FATAL3", 23),
    ("SEVERITY_NUMBER_FATAL4", 24),
];
