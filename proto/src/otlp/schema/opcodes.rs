//! What a field's key means in a message, for all keys of one byte: wire type and number are checked in one look-up.

use super::{Field, Kind, Rule};

/// By the key's byte; longer keys are looked up by their number.
pub(in crate::otlp) type Opcodes = [Opcode; 128];

/// What follows a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::otlp) enum Opcode {
    /// A varint.
    Varint,
    /// Four bytes.
    Fixed32,
    /// Eight bytes.
    Fixed64,
    /// A length and any bytes.
    Bytes,
    /// A length and so many bytes, or none.
    Id(u8),
    /// A length and UTF-8.
    String,
    /// A length and varints.
    PackedVarints,
    /// A length and numbers of eight bytes.
    PackedFixed64,
    /// A length and the message of the field at this place.
    Message(u8),
    /// The fields of a group, which OTLP has none of; and their end.
    Group,
    /// A known field of another wire type, a group's end outside of one, a wire type that does not exist, field 0.
    Wrong,
}

/// Of a message with these fields.
#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "below 128, at compile time")]
pub(super) const fn of(fields: &[Field]) -> Opcodes {
    let mut opcodes = [Opcode::Wrong; 128];
    let mut key = 8;
    while key < 128 {
        opcodes[key] = for_key(fields, (key >> 3) as u32, key as u32 & 7);
        key += 1;
    }
    opcodes
}

/// Of one key: field number and wire type.
#[expect(clippy::indexing_slicing, reason = "a loop over the fields, which a constant can't write otherwise")]
#[expect(clippy::cast_possible_truncation, reason = "a message has a few dozen fields at the most")]
pub(in crate::otlp) const fn for_key(fields: &[Field], number: u32, wire_type: u32) -> Opcode {
    let mut at = 0;
    while at < fields.len() {
        if fields[at].number == number {
            return of_known(&fields[at], at as u8, wire_type);
        }
        at += 1;
    }
    match wire_type {
        0 => Opcode::Varint,
        1 => Opcode::Fixed64,
        2 => Opcode::Bytes,
        3 => Opcode::Group,
        5 => Opcode::Fixed32,
        _ => Opcode::Wrong,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "ids are short")]
const fn of_known(field: &Field, at: u8, wire_type: u32) -> Opcode {
    let repeated = matches!(field.rule, Rule::Repeated);
    let (own, opcode, packed) = match field.kind {
        Kind::String => (2, Opcode::String, Opcode::Wrong),
        Kind::Bytes => (2, Opcode::Bytes, Opcode::Wrong),
        Kind::Id(bytes) => (2, Opcode::Id(bytes as u8), Opcode::Wrong),
        Kind::Message(_) => (2, Opcode::Message(at), Opcode::Wrong),
        Kind::Fixed32 => (5, Opcode::Fixed32, Opcode::Wrong),
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => (1, Opcode::Fixed64, Opcode::PackedFixed64),
        Kind::Bool
        | Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Enum(_) => (0, Opcode::Varint, Opcode::PackedVarints),
    };
    if wire_type == own {
        opcode
    } else if wire_type == 2 && repeated {
        // Numbers may be packed or not, whatever the definition prefers.
        packed
    } else {
        Opcode::Wrong
    }
}
