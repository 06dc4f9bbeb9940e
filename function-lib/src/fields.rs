//! Protobuf fields as spans and log records have them: nearly all tags and lengths take one byte each.
//!
//! Those are written at once, where `lambda_flush_proto::splice`, which does the rest, goes through a buffer.

use lambda_flush_proto::splice;
use prost::encoding::WireType;

/// A varint below this takes one byte.
const ONE_BYTE_END: usize = 0x80;

/// A key and a varint of one byte each.
#[inline]
fn small(tag: u32, wire_type: WireType, value: usize) -> Option<[u8; 2]> {
    let key = tag << 3 | wire_type as u32;
    let fits = value < ONE_BYTE_END && (key as usize) < ONE_BYTE_END;
    let [key, ..] = key.to_le_bytes();
    let [value, ..] = value.to_le_bytes();
    fits.then_some([key, value])
}

/// As [`splice::field_header`].
#[inline]
pub(crate) fn field_header(tag: u32, payload_bytes: usize, out: &mut Vec<u8>) {
    match small(tag, WireType::LengthDelimited, payload_bytes) {
        Some(header) => out.extend_from_slice(&header),
        None => splice::field_header(tag, payload_bytes, out),
    }
}

/// As [`splice::field`].
#[inline]
pub(crate) fn field(tag: u32, payload: &[u8], out: &mut Vec<u8>) {
    field_header(tag, payload.len(), out);
    out.extend_from_slice(payload);
}

/// As [`splice::field_len`].
#[inline]
pub(crate) fn field_len(tag: u32, payload_bytes: usize) -> usize {
    match small(tag, WireType::LengthDelimited, payload_bytes) {
        Some(header) => header.len() + payload_bytes,
        None => splice::field_len(tag, payload_bytes),
    }
}

/// As [`splice::varint_field`]: proto3 leaves zero out.
#[inline]
pub(crate) fn varint_field(tag: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        put_varint(tag, value, out);
    }
}

/// A varint field, zero or not.
#[inline]
pub(crate) fn put_varint(tag: u32, value: u64, out: &mut Vec<u8>) {
    match usize::try_from(value).ok().and_then(|value| small(tag, WireType::Varint, value)) {
        Some(whole) => out.extend_from_slice(&whole),
        None => {
            prost::encoding::encode_key(tag, WireType::Varint, out);
            prost::encoding::encode_varint(value, out);
        }
    }
}

/// A field of eight bytes, zero or not, with a tag below 16.
#[inline]
pub(crate) fn put_fixed64(tag: u32, value: u64, out: &mut Vec<u8>) {
    let [key, ..] = (tag << 3 | WireType::SixtyFourBit as u32).to_le_bytes();
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    out.extend_from_slice(&[key, a, b, c, d, e, f, g, h]);
}

/// A text field; proto3 leaves the empty text out.
#[inline]
pub(crate) fn text(tag: u32, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        field(tag, text.as_bytes(), out);
    }
}

/// The length of what [`text`] writes.
#[inline]
pub(crate) fn text_len(tag: u32, text: &str) -> usize {
    if text.is_empty() { 0 } else { field_len(tag, text.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_splice() {
        for tag in [1, 2, 15, 16, 17, 2_047, 2_048, 100_000] {
            for bytes in [0, 1, 126, 127, 128, 129, 16_383, 16_384, 70_000] {
                let payload = vec![7; bytes];
                let (mut ours, mut spliced) = (Vec::new(), Vec::new());
                field(tag, &payload, &mut ours);
                varint_field(tag, bytes as u64, &mut ours);
                splice::field(tag, &payload, &mut spliced);
                assert_eq!(field_len(tag, bytes), spliced.len());
                splice::varint_field(tag, bytes as u64, &mut spliced);
                assert!(ours == spliced, "{bytes} bytes in field {tag}");
            }
            let (mut ours, mut spliced) = (Vec::new(), Vec::new());
            put_varint(tag, u64::MAX, &mut ours);
            splice::varint_field(tag, u64::MAX, &mut spliced);
            assert_eq!(ours, spliced);
        }
    }
}
