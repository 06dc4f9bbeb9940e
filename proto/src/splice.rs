//! Writing length-delimited protobuf fields around bytes that were encoded elsewhere.
//!
//! Protobuf merges repeated fields by concatenation, so a batch is assembled from finished items without
//! decoding any of them (<https://protobuf.dev/programming-guides/encoding/#optional>).

use bytes::{BufMut, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// The length of a length-delimited field with its tag.
#[must_use]
pub fn field_len(tag: u32, payload_bytes: usize) -> usize {
    key_len(tag) + encoded_len_varint(payload_bytes as u64) + payload_bytes
}

/// Writes tag and length of a field whose `payload_bytes` bytes the caller writes next.
pub fn field_header(tag: u32, payload_bytes: usize, out: &mut impl BufMut) {
    let (header, unused) = header(tag, payload_bytes);
    out.put_slice(header.get(..header.len() - unused).unwrap_or_default());
}

/// In one piece, for a buffer that grows looks for room with each: a key has at most 5 bytes, a length 10. With it, how
/// much of that is not used.
fn header(tag: u32, payload_bytes: usize) -> ([u8; 15], usize) {
    let mut header = [0; 15];
    let mut rest = header.as_mut_slice();
    encode_key(tag, WireType::LengthDelimited, &mut rest);
    encode_varint(payload_bytes as u64, &mut rest);
    let unused = rest.len();
    (header, unused)
}

/// As [`field`], compiled here: for what is done with each item.
pub fn append(tag: u32, payload: &[u8], out: &mut BytesMut) {
    field(tag, payload, out);
}

/// Writes a whole length-delimited field.
pub fn field(tag: u32, payload: &[u8], out: &mut impl BufMut) {
    field_header(tag, payload.len(), out);
    out.put_slice(payload);
}

/// Writes a varint field; proto3 leaves zero out.
pub fn varint_field(tag: u32, value: u64, out: &mut impl BufMut) {
    if value != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(value, out);
    }
}

/// The length of what [`varint_field`] writes.
#[must_use]
pub fn varint_field_len(tag: u32, value: u64) -> usize {
    if value == 0 { 0 } else { key_len(tag) + encoded_len_varint(value) }
}
