//! OTLP's messages as static tables, for those who go through a request without decoding it
//! (<https://github.com/open-telemetry/opentelemetry-proto>, version 1.10).

mod common;
mod logs;
mod metrics;
mod opcodes;
mod trace;

use crate::Signal;

pub use common::{ANY_VALUE, KEY_VALUE, RESOURCE, SCOPE};
pub use logs::EXPORT_LOGS;
pub use metrics::EXPORT_METRICS;
pub(super) use opcodes::{Opcode, for_key as opcode};
pub use trace::EXPORT_TRACES;

/// A message type.
#[derive(Debug)]
pub struct Message {
    /// As in OTLP's definition.
    pub name: &'static str,
    /// In the order of their numbers.
    pub fields: &'static [Field],
    /// What an occurrence of it counts.
    pub items: Items,
    pub(super) opcodes: opcodes::Opcodes,
}

/// What a message counts in telemetry items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Items {
    /// Nothing, with all it holds.
    None,
    /// It is one.
    One,
    /// What the messages in it count.
    Inner,
    /// What its `oneof` counts: the last member written is the one that stands. So a metric without data points is no
    /// item: an item is a data point.
    Oneof,
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// On the wire.
    pub number: u32,
    /// In JSON: lowerCamelCase.
    pub json: &'static str,
    /// What one value of it is.
    pub kind: Kind,
    /// How often it may stand there.
    pub rule: Rule,
}

/// How often a field may stand in its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// At most once; zero and absent are the same.
    Plain,
    /// At most once; zero and absent differ: `optional`, and members of a `oneof`.
    Explicit,
    /// Any number of times.
    Repeated,
}

/// The type of one value.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// UTF-8.
    String,
    /// Base64 in JSON.
    Bytes,
    /// So many bytes, or none; hex in JSON. The Collector fails a whole request over an id of another length.
    Id(usize),
    /// A varint of 0 or 1.
    Bool,
    /// A varint of two's complement.
    Int32,
    /// A varint of two's complement.
    Int64,
    /// A varint.
    Uint32,
    /// A varint.
    Uint64,
    /// A zigzag varint.
    Sint32,
    /// Four bytes.
    Fixed32,
    /// Eight bytes.
    Fixed64,
    /// Eight bytes.
    Sfixed64,
    /// Eight bytes.
    Double,
    /// A varint that has names.
    Enum(&'static [(&'static str, i32)]),
    /// A message.
    Message(&'static Message),
}

impl Message {
    const fn new(name: &'static str, items: Items, fields: &'static [Field]) -> Self {
        Self { name, fields, items, opcodes: opcodes::of(fields) }
    }

    /// The field of this number.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.number == number)
    }

    /// The field of this name in JSON. The name in the definition (`snake_case`) is understood as well.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<(usize, &'static Field)> {
        let mut fields = self.fields.iter().enumerate();
        fields.find(|(_, field)| field.json == name || is_snake_case_of(name, field.json))
    }
}

/// Whether `name` is `camel` in snake case.
fn is_snake_case_of(name: &str, camel: &str) -> bool {
    let mut rest = name.bytes();
    let same = camel.bytes().all(|byte| {
        if byte.is_ascii_uppercase() {
            rest.next() == Some(b'_') && rest.next() == Some(byte.to_ascii_lowercase())
        } else {
            rest.next() == Some(byte)
        }
    });
    same && rest.next().is_none()
}

/// The export request of a signal; none of [`Signal::Unspecified`].
#[must_use]
pub fn request(signal: Signal) -> Option<&'static Message> {
    match signal {
        Signal::Traces => Some(&EXPORT_TRACES),
        Signal::Metrics => Some(&EXPORT_METRICS),
        Signal::Logs => Some(&EXPORT_LOGS),
        Signal::Unspecified => None,
    }
}

/// Of W3C Trace Context.
const TRACE_ID: Kind = Kind::Id(16);
/// As [`TRACE_ID`].
const SPAN_ID: Kind = Kind::Id(8);

const fn plain(number: u32, json: &'static str, kind: Kind) -> Field {
    Field { number, json, kind, rule: Rule::Plain }
}

const fn explicit(number: u32, json: &'static str, kind: Kind) -> Field {
    Field { number, json, kind, rule: Rule::Explicit }
}

const fn repeated(number: u32, json: &'static str, kind: Kind) -> Field {
    Field { number, json, kind, rule: Rule::Repeated }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(message: &'static Message, seen: &mut Vec<&'static Message>) {
        if seen.iter().any(|known| std::ptr::eq(*known, message)) {
            return;
        }
        seen.push(message);
        for field in message.fields {
            if let Kind::Message(inner) = field.kind {
                below(inner, seen);
            }
        }
    }

    #[test]
    fn numbers_rise_and_fit_what_the_walk_and_the_transcoder_keep_of_a_message() {
        let mut all = Vec::new();
        for root in [&EXPORT_TRACES, &EXPORT_METRICS, &EXPORT_LOGS] {
            below(root, &mut all);
        }
        assert_eq!(all.len(), 34, "{:?}", all.iter().map(|message| message.name).collect::<Vec<_>>());
        for message in all {
            assert!(message.fields.is_sorted_by_key(|field| field.number), "{}", message.name);
            assert!(message.fields.len() <= 32, "{}", message.name);
        }
    }

    #[test]
    fn names_are_found_in_both_spellings_and_no_third() {
        let span = EXPORT_TRACES.fields[0].json;
        assert_eq!(span, "resourceSpans");
        for name in ["resourceSpans", "resource_spans"] {
            assert_eq!(EXPORT_TRACES.named(name).unwrap().1.number, 1);
        }
        for name in
            ["resource_Spans", "resourcespans", "resource_span", "resource_spanss", "_resourceSpans", ""]
        {
            assert!(EXPORT_TRACES.named(name).is_none(), "{name}");
        }
    }
}
