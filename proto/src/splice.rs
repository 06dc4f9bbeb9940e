//! Writing length-delimited protobuf fields around bytes that were encoded elsewhere.
//!
//! Protobuf merges repeated fields by concatenation, so a batch is assembled from finished items without
//! decoding any of them (<https://protobuf.dev/programming-guides/encoding/#optional>).

use bytes::{BufMut, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// A key has at most 5 bytes, a length 10.
const HEADER_BYTES_MAX: usize = 5 + 10;

/// What [`append`] moves at a time.
const PIECE_BYTES: usize = 64;

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

/// In one piece, for a buffer that grows looks for room with each. With it, how much of that is not used.
fn header(tag: u32, payload_bytes: usize) -> ([u8; HEADER_BYTES_MAX], usize) {
    let mut header = [0; HEADER_BYTES_MAX];
    let mut rest = header.as_mut_slice();
    encode_key(tag, WireType::LengthDelimited, &mut rest);
    encode_varint(payload_bytes as u64, &mut rest);
    let unused = rest.len();
    (header, unused)
}

/// As [`field`], for what is done with each item: compiled for speed here, and not where it is called.
///
/// A header has a few bytes and an item a few hundred. musl's `memcpy` begins three loops for either, whose ends no
/// processor foresees; pieces of a fixed size are moved in registers.
#[inline(never)]
pub fn append(tag: u32, payload: &[u8], out: &mut BytesMut) {
    let spare = out.capacity() - out.len();
    match payload.last_chunk::<PIECE_BYTES>() {
        Some(last) if HEADER_BYTES_MAX + payload.len() + PIECE_BYTES <= spare => {
            let (header, unused) = header(tag, payload.len());
            out.extend_from_slice(&header);
            out.truncate(out.len() - unused);
            append_pieces(payload, last, out);
        }
        _ => field(tag, payload, out),
    }
}

fn append_pieces(payload: &[u8], last: &[u8; PIECE_BYTES], out: &mut BytesMut) {
    let end = out.len() + payload.len();
    let (pieces, _) = payload.as_chunks::<PIECE_BYTES>();
    for piece in pieces {
        out.extend_from_slice(piece);
    }
    // Anything, for the length; then the last piece, part of which is there already.
    out.extend_from_slice(last);
    out.truncate(end);
    if let Some(place) = out.last_chunk_mut() {
        *place = *last;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_what_field_writes_whatever_the_lengths_and_the_room() {
        let payload: Vec<u8> = (0..=250).cycle().take(400).collect();
        for bytes in 0..payload.len() {
            for room in [0, bytes, bytes + 3, bytes + PIECE_BYTES + 14, bytes + PIECE_BYTES + 15, 1_000] {
                let (mut ours, mut plain) = (BytesMut::with_capacity(1 + room), BytesMut::new());
                for out in [&mut ours, &mut plain] {
                    out.put_u8(0xAA);
                }
                append(2, &payload[..bytes], &mut ours);
                field(2, &payload[..bytes], &mut plain);
                assert_eq!(ours, plain, "{bytes} bytes, room for {room}");
            }
        }
    }
}
