//! One scalar as protobuf has it.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, GeneralPurpose as Base64};
use lambda_flush_proto::otlp::schema::{Field, Kind, Rule};
use prost::encoding::WireType;

use super::number::Scalar;
use super::write::Writer;
use crate::receive::doors::refusal::Refusal;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: Base64 = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: Base64 = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Why a value was not written.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is not what the field holds.
    Not(&'static str),
    /// See there; the buffer remembers it.
    Room,
}

impl From<Refusal> for Fault {
    fn from(_: Refusal) -> Self {
        Self::Room
    }
}

/// A number on the wire.
enum Wire {
    Varint(u64),
    Four([u8; 4]),
    Eight([u8; 8]),
}

/// Writes the value with its key.
pub(super) fn write(writer: &mut Writer, field: &Field, value: Scalar<'_>) -> Result<(), Fault> {
    let always = field.rule != Rule::Plain;
    match (field.kind, value) {
        (Kind::String, Scalar::Text("")) if !always => Ok(()),
        (Kind::String, Scalar::Text(text)) => Ok(writer.field(field.number, text.as_bytes())?),
        (Kind::Id(_), Scalar::Text("")) => Ok(()),
        (Kind::Id(bytes), Scalar::Text(text)) => {
            let what = if bytes == 16 { "32 hex digits" } else { "16 hex digits" };
            filled(writer, field, what, bytes, |into| hex(text.as_bytes(), into))
        }
        (Kind::Bytes, Scalar::Text(text)) => {
            let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
            let most = base64::decoded_len_estimate(text.len());
            filled(writer, field, "base64", most, |into| engine.decode_slice(text, into).ok())
        }
        (Kind::String, _) => Err(Fault::Not("a string")),
        (Kind::Bytes, _) => Err(Fault::Not("a string of base64")),
        (Kind::Id(_), _) => Err(Fault::Not("a string of hex digits")),
        (Kind::Message(_), _) => Err(Fault::Not("an object")),
        (kind, value) => number(writer, field, always, &wire(kind, value)?),
    }
}

/// Writes a number without its key, as packed lists have it.
pub(super) fn write_packed(writer: &mut Writer, field: &Field, value: Scalar<'_>) -> Result<(), Fault> {
    Ok(bare(writer, &wire(field.kind, value)?)?)
}

/// Whether lists of it are packed: all numbers.
pub(super) fn is_packed(kind: Kind) -> bool {
    !matches!(kind, Kind::String | Kind::Bytes | Kind::Id(_) | Kind::Message(_))
}

fn number(writer: &mut Writer, field: &Field, always: bool, wire: &Wire) -> Result<(), Fault> {
    let (wire_type, zero) = match wire {
        Wire::Varint(number) => (WireType::Varint, *number == 0),
        Wire::Four(bytes) => (WireType::ThirtyTwoBit, *bytes == [0; 4]),
        Wire::Eight(bytes) => (WireType::SixtyFourBit, *bytes == [0; 8]),
    };
    if zero && !always {
        return Ok(());
    }
    writer.key(field.number, wire_type)?;
    Ok(bare(writer, wire)?)
}

fn bare(writer: &mut Writer, wire: &Wire) -> Result<(), Refusal> {
    match wire {
        Wire::Varint(number) => writer.varint(*number),
        Wire::Four(bytes) => writer.put(bytes),
        Wire::Eight(bytes) => writer.put(bytes),
    }
}

fn wire(kind: Kind, value: Scalar<'_>) -> Result<Wire, Fault> {
    fn fits<T: TryFrom<i128>>(value: Scalar<'_>, what: &'static str) -> Result<T, Fault> {
        value.whole().and_then(|number| T::try_from(number).ok()).ok_or(Fault::Not(what))
    }
    Ok(match kind {
        Kind::Bool => match value {
            Scalar::Bool(value) => Wire::Varint(value.into()),
            _ => return Err(Fault::Not("true or false")),
        },
        Kind::Int32 => Wire::Varint(i64::from(fits::<i32>(value, "an int32")?).cast_unsigned()),
        Kind::Int64 => Wire::Varint(fits::<i64>(value, "an int64")?.cast_unsigned()),
        Kind::Uint32 => Wire::Varint(fits::<u32>(value, "a uint32")?.into()),
        Kind::Uint64 => Wire::Varint(fits(value, "a uint64")?),
        Kind::Sint32 => {
            let number = fits::<i32>(value, "an int32")?;
            Wire::Varint(((number << 1) ^ (number >> 31)).cast_unsigned().into())
        }
        Kind::Fixed32 => Wire::Four(fits::<u32>(value, "a uint32")?.to_le_bytes()),
        Kind::Fixed64 => Wire::Eight(fits::<u64>(value, "a uint64")?.to_le_bytes()),
        Kind::Sfixed64 => Wire::Eight(fits::<i64>(value, "an int64")?.to_le_bytes()),
        Kind::Double => Wire::Eight(value.double().ok_or(Fault::Not("a number"))?.to_le_bytes()),
        Kind::Enum(names) => {
            let named = match value {
                Scalar::Text(text) => names.iter().find(|(name, _)| *name == text).map(|(_, number)| *number),
                _ => None,
            };
            let number = named.map_or_else(|| fits::<i32>(value, "a value of its enum"), Ok)?;
            Wire::Varint(i64::from(number).cast_unsigned())
        }
        Kind::String | Kind::Bytes | Kind::Id(_) | Kind::Message(_) => {
            return Err(Fault::Not("something else"));
        }
    })
}

/// A field whose bytes are decoded right into their place.
fn filled(
    writer: &mut Writer,
    field: &Field,
    what: &'static str,
    most: usize,
    decode: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> Result<(), Fault> {
    let open = writer.open(field.number)?;
    if !writer.fill(most, decode)? {
        return Err(Fault::Not(what));
    }
    if field.rule == Rule::Plain && writer.is_empty(&open) {
        writer.undo(&open);
        return Ok(());
    }
    Ok(writer.close(&open)?)
}

fn hex(text: &[u8], into: &mut [u8]) -> Option<usize> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != into.len() {
        return None;
    }
    for ([high, low], to) in pairs.iter().zip(into.iter_mut()) {
        *to = digit(*high)? << 4 | digit(*low)?;
    }
    Some(pairs.len())
}
