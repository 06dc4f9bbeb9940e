//! Going through an OTLP export request without decoding it: is it one, and how many items does it hold.
//!
//! What passes here decodes everywhere, so that one malformed request can't spoil a batch it is merged into. Nothing is
//! allocated and nothing is copied. Fields that the schema does not know may be there; their structure is checked.

use std::fmt;

use super::schema::{self, Items, Kind, Message, Opcode};
use crate::Signal;

/// How deep messages and groups may nest. Decoders give up at 100 (prost, C++, Java).
pub const DEPTH_MAX: u32 = 90;

/// Not an export request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Where, in bytes from the start; near the end of what is wrong.
    pub at_byte: usize,
    /// The message that it is in.
    pub message: &'static str,
    /// What is wrong.
    pub fault: Fault,
}

/// What can be wrong with an encoded message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It ends in the middle of a field.
    Truncated,
    /// A number of more than 64 bits, or a key of more than 32.
    Varint,
    /// A field's number is 0, its wire type is not the field's, or there is no such wire type.
    Key,
    /// A string that is not UTF-8.
    Utf8,
    /// An id of a wrong length.
    Id,
    /// Packed numbers do not fill their field.
    Packed,
    /// A group without its end, or an end without its group.
    Group,
    /// Messages or groups nested more than [`DEPTH_MAX`] deep.
    Depth,
    /// No request is known for the signal.
    Signal,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            Fault::Truncated => "it ends in the middle of a field",
            Fault::Varint => "a varint is too long",
            Fault::Key => "a field's key is not one of the message",
            Fault::Utf8 => "a string is not UTF-8",
            Fault::Id => "an id has a wrong length; a trace id has 16 bytes, a span id 8",
            Fault::Packed => "packed numbers do not fill their field",
            Fault::Group => "a group has no end or no beginning",
            Fault::Depth => "it is nested too deep",
            Fault::Signal => "its signal is not known",
        };
        write!(f, "not a valid request: {what} (byte {}, in {})", self.at_byte, self.message)
    }
}

impl std::error::Error for Malformed {}

/// Counts the telemetry items of an export request: spans, log records, data points (a metric without any counts
/// nothing).
///
/// # Errors
/// A decoder would refuse it: prost's, or the Collector's, which knows how long ids are.
pub fn count(signal: Signal, request: &[u8]) -> Result<u64, Malformed> {
    let Some(root) = schema::request(signal) else {
        return Err(Malformed { at_byte: 0, message: "no message", fault: Fault::Signal });
    };
    message(root, request, DEPTH_MAX).map_err(|stop| Malformed {
        at_byte: stop.address.saturating_sub(request.as_ptr().addr()),
        message: stop.message,
        fault: stop.fault,
    })
}

/// As [`Malformed`], with an address, so that nobody has to carry offsets along.
#[derive(Debug)]
struct Stop {
    address: usize,
    message: &'static str,
    fault: Fault,
}

#[cold]
fn stop(message: &Message, rest: &[u8], fault: Fault) -> Stop {
    Stop { address: rest.as_ptr().addr(), message: message.name, fault }
}

/// Goes through one message; returns its items.
fn message(of: &'static Message, mut rest: &[u8], depth: u32) -> Result<u64, Stop> {
    let mut items = 0;
    let mut member = None;
    while let [key, after @ ..] = rest {
        rest = after;
        let (opcode, group) = match of.opcodes.get(usize::from(*key)) {
            Some(opcode) => (*opcode, u32::from(*key >> 3)),
            None => {
                let (number, wire_type) = long_key(*key, &mut rest).map_err(|fault| stop(of, rest, fault))?;
                (schema::opcode(of.fields, number, wire_type), number)
            }
        };
        match opcode {
            Opcode::Message(field) => {
                let inner = length_delimited(&mut rest).map_err(|fault| stop(of, rest, fault))?;
                let Some(Kind::Message(inner_of)) = of.fields.get(usize::from(field)).map(|field| field.kind)
                else {
                    return Err(stop(of, rest, Fault::Key));
                };
                let Some(depth) = depth.checked_sub(1) else { return Err(stop(of, rest, Fault::Depth)) };
                if std::ptr::eq(inner_of, &raw const schema::KEY_VALUE)
                    && depth > 0
                    && is_text_attribute(inner)
                {
                    continue; // It counts nothing.
                }
                let found = message(inner_of, inner, depth)?;
                if of.items == Items::Oneof && is_member(of, field) {
                    // Another member of the `oneof` takes the place of the one before.
                    items = if member == Some(field) { items + found } else { found };
                    member = Some(field);
                } else {
                    items += found;
                }
            }
            Opcode::Group => {
                group_end(of, group, &mut rest, depth)?;
            }
            opcode => scalar(opcode, &mut rest).map_err(|fault| stop(of, rest, fault))?,
        }
    }
    Ok(match of.items {
        Items::None => 0,
        Items::One => 1,
        Items::Inner | Items::Oneof => items,
    })
}

fn is_member(of: &Message, field: u8) -> bool {
    of.fields.get(usize::from(field)).is_some_and(|field| field.rule == schema::Rule::Explicit)
}

/// Skips what is neither message nor group.
#[inline(always)]
fn scalar(opcode: Opcode, rest: &mut &[u8]) -> Result<(), Fault> {
    match opcode {
        Opcode::Varint => varint(rest).map(drop),
        Opcode::Fixed32 => fixed(rest, 4),
        Opcode::Fixed64 => fixed(rest, 8),
        Opcode::Bytes => length_delimited(rest).map(drop),
        Opcode::String => match is_utf8(length_delimited(rest)?) {
            true => Ok(()),
            false => Err(Fault::Utf8),
        },
        Opcode::Id(bytes) => match length_delimited(rest)?.len() {
            0 => Ok(()),
            length if length == usize::from(bytes) => Ok(()),
            _ => Err(Fault::Id),
        },
        Opcode::PackedVarints => {
            let mut inner = length_delimited(rest)?;
            while !inner.is_empty() {
                varint(&mut inner).map_err(|_| Fault::Packed)?;
            }
            Ok(())
        }
        Opcode::PackedFixed64 => match length_delimited(rest)?.len() % 8 {
            0 => Ok(()),
            _ => Err(Fault::Packed),
        },
        Opcode::Message(_) | Opcode::Group | Opcode::Wrong => Err(Fault::Key),
    }
}

/// Skips the fields of an unknown group up to its end.
#[cold]
fn group_end(of: &Message, group: u32, rest: &mut &[u8], depth: u32) -> Result<(), Stop> {
    let Some(depth) = depth.checked_sub(1) else { return Err(stop(of, rest, Fault::Depth)) };
    while let [key, after @ ..] = *rest {
        *rest = after;
        let (number, wire_type) = long_key(*key, rest).map_err(|fault| stop(of, rest, fault))?;
        match wire_type {
            3 => group_end(of, number, rest, depth)?,
            4 if number == group => return Ok(()),
            4 => return Err(stop(of, rest, Fault::Group)),
            _ => {
                let opcode = schema::opcode(&[], number, wire_type);
                scalar(opcode, rest).map_err(|fault| stop(of, rest, fault))?;
            }
        }
    }
    Err(stop(of, rest, Fault::Group))
}

/// Field number and wire type of a key that begins with `first`.
fn long_key(first: u8, rest: &mut &[u8]) -> Result<(u32, u32), Fault> {
    let key = if first < 0x80 { u64::from(first) } else { long_varint(first, rest)? };
    let key = u32::try_from(key).map_err(|_| Fault::Varint)?;
    if key < 8 { Err(Fault::Key) } else { Ok((key >> 3, key & 7)) }
}

#[inline(always)]
fn varint(rest: &mut &[u8]) -> Result<u64, Fault> {
    let [first, after @ ..] = *rest else { return Err(Fault::Truncated) };
    *rest = after;
    if *first < 0x80 { Ok(u64::from(*first)) } else { long_varint(*first, rest) }
}

/// The rest of a varint that began with `first`, at most ten bytes and 64 bits in all.
fn long_varint(first: u8, rest: &mut &[u8]) -> Result<u64, Fault> {
    let mut value = u64::from(first & 0x7F);
    for shift in 1..10_u32 {
        let [byte, after @ ..] = *rest else { return Err(Fault::Truncated) };
        *rest = after;
        if shift == 9 && *byte > 1 {
            return Err(Fault::Varint);
        }
        value |= u64::from(*byte & 0x7F) << (7 * shift);
        if *byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Fault::Varint)
}

#[inline(always)]
fn fixed(rest: &mut &[u8], bytes: usize) -> Result<(), Fault> {
    *rest = rest.get(bytes..).ok_or(Fault::Truncated)?;
    Ok(())
}

#[inline(always)]
fn length_delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let length = usize::try_from(varint(rest)?).map_err(|_| Fault::Truncated)?;
    let (inner, after) = rest.split_at_checked(length).ok_or(Fault::Truncated)?;
    *rest = after;
    Ok(inner)
}

/// Whether this is a `KeyValue` of a short key and a short text, all ASCII, as most attributes are and most of a request
/// is: that is seen without going into the messages.
#[inline(always)]
fn is_text_attribute(key_value: &[u8]) -> bool {
    const KEY: u8 = 1 << 3 | 2;
    const VALUE: u8 = 2 << 3 | 2;
    const STRING_VALUE: u8 = 1 << 3 | 2;
    let [KEY, key_bytes, after @ ..] = key_value else { return false };
    let Some([VALUE, value_bytes, value @ ..]) = after.get(usize::from(*key_bytes)..) else { return false };
    let [STRING_VALUE, text_bytes, text @ ..] = value else { return false };
    usize::from(*value_bytes) == value.len()
        && usize::from(*text_bytes) == text.len()
        // The lengths as well: a larger one has a second byte.
        && is_ascii(key_value)
}

/// Names and values are mostly ASCII.
#[inline(always)]
fn is_utf8(text: &[u8]) -> bool {
    is_ascii(text) || std::str::from_utf8(text).is_ok()
}

/// They are short, too: eight bytes at a time, the last eight once more, without a call.
#[inline(always)]
fn is_ascii(text: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut bits = match (text.last_chunk::<8>(), text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (Some(last), ..) => u64::from_le_bytes(*last),
        (None, Some(first), Some(last)) => u64::from(u32::from_le_bytes(*first) | u32::from_le_bytes(*last)),
        _ => text.iter().fold(0, |bits, byte| bits | u64::from(*byte)),
    };
    let (words, _) = text.as_chunks::<8>();
    for word in words {
        bits |= u64::from_le_bytes(*word);
    }
    bits & HIGH == 0
}
