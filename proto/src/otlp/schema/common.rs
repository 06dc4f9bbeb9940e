//! `opentelemetry/proto/common/v1` and `resource/v1`.

use super::Kind::{Bool, Bytes, Double, Int32, Int64, String, Uint32};
use super::{Items, Kind, Message, explicit, plain, repeated};

/// `AnyValue`.
pub static ANY_VALUE: Message = Message::new(
    "AnyValue",
    Items::None,
    &[
        explicit(1, "stringValue", String),
        explicit(2, "boolValue", Bool),
        explicit(3, "intValue", Int64),
        explicit(4, "doubleValue", Double),
        explicit(5, "arrayValue", Kind::Message(&ARRAY_VALUE)),
        explicit(6, "kvlistValue", Kind::Message(&KEY_VALUE_LIST)),
        explicit(7, "bytesValue", Bytes),
        explicit(8, "stringValueStrindex", Int32),
    ],
);

static ARRAY_VALUE: Message =
    Message::new("ArrayValue", Items::None, &[repeated(1, "values", Kind::Message(&ANY_VALUE))]);

static KEY_VALUE_LIST: Message =
    Message::new("KeyValueList", Items::None, &[repeated(1, "values", Kind::Message(&KEY_VALUE))]);

/// `KeyValue`.
pub static KEY_VALUE: Message = Message::new(
    "KeyValue",
    Items::None,
    &[plain(1, "key", String), plain(2, "value", Kind::Message(&ANY_VALUE)), plain(3, "keyStrindex", Int32)],
);

/// `InstrumentationScope`.
pub static SCOPE: Message = Message::new(
    "InstrumentationScope",
    Items::None,
    &[
        plain(1, "name", String),
        plain(2, "version", String),
        repeated(3, "attributes", Kind::Message(&KEY_VALUE)),
        plain(4, "droppedAttributesCount", Uint32),
    ],
);

static ENTITY_REF: Message = Message::new(
    "EntityRef",
    Items::None,
    &[
        plain(1, "schemaUrl", String),
        plain(2, "type", String),
        repeated(3, "idKeys", String),
        repeated(4, "descriptionKeys", String),
    ],
);

/// `Resource`.
pub static RESOURCE: Message = Message::new(
    "Resource",
    Items::None,
    &[
        repeated(1, "attributes", Kind::Message(&KEY_VALUE)),
        plain(2, "droppedAttributesCount", Uint32),
        repeated(3, "entityRefs", Kind::Message(&ENTITY_REF)),
    ],
);
