//! Frames: a 4-byte little-endian length, then one message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::error::WireError;
use crate::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};
use crate::splice::{field, field_header, field_len, varint_field, varint_field_len};
use crate::wire::{Signal, ToExtension, ToFunction, to_extension, to_function};

const ITEM_TAG: u32 = 3;
const ITEM_SEQ_TAG: u32 = 1;
const ITEM_SIGNAL_TAG: u32 = 2;
const ITEM_SCOPE_TAG: u32 = 3;
const ITEM_BYTES_TAG: u32 = 4;

/// What stands at the head of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Head {
    /// One whole frame, taken off the buffer, without its length prefix.
    Frame(Bytes),
    /// Not yet a whole frame; nothing was taken.
    Incomplete,
}

/// Takes the first whole frame off `buffer`.
///
/// # Errors
/// [`WireError::FrameTooLarge`]: the stream can't be read any further.
pub fn take(buffer: &mut BytesMut) -> Result<Head, WireError> {
    let Some(prefix) = buffer.first_chunk::<FRAME_HEADER_BYTES>() else {
        return Ok(Head::Incomplete);
    };
    let bytes = u32::from_le_bytes(*prefix) as usize;
    if bytes > FRAME_BYTES_MAX {
        return Err(WireError::FrameTooLarge { bytes });
    }
    if buffer.len() < FRAME_HEADER_BYTES + bytes {
        return Ok(Head::Incomplete);
    }
    buffer.advance(FRAME_HEADER_BYTES);
    Ok(Head::Frame(buffer.split_to(bytes).freeze()))
}

/// One frame to the extension.
///
/// # Errors
/// [`WireError::FrameTooLarge`] above [`FRAME_BYTES_MAX`].
pub fn to_extension(message: to_extension::Message) -> Result<Vec<u8>, WireError> {
    encode(&ToExtension { message: Some(message) })
}

/// One frame to the function. Its messages are a few bytes long.
#[must_use]
pub fn to_function(message: to_function::Message) -> Vec<u8> {
    encode(&ToFunction { message: Some(message) }).unwrap_or_default()
}

/// An `Item` frame around `item`, equal to what prost writes for the message, with one copy of `item`.
///
/// # Errors
/// [`WireError::FrameTooLarge`] above [`FRAME_BYTES_MAX`].
pub fn item(seq: u64, signal: Signal, scope_id: u32, item: &[u8]) -> Result<Vec<u8>, WireError> {
    let signal = u64::from((signal as i32).cast_unsigned());
    let inner = varint_field_len(ITEM_SEQ_TAG, seq)
        + varint_field_len(ITEM_SIGNAL_TAG, signal)
        + varint_field_len(ITEM_SCOPE_TAG, u64::from(scope_id))
        + if item.is_empty() { 0 } else { field_len(ITEM_BYTES_TAG, item.len()) };
    let mut out = with_prefix(field_len(ITEM_TAG, inner))?;
    field_header(ITEM_TAG, inner, &mut out);
    varint_field(ITEM_SEQ_TAG, seq, &mut out);
    varint_field(ITEM_SIGNAL_TAG, signal, &mut out);
    varint_field(ITEM_SCOPE_TAG, u64::from(scope_id), &mut out);
    if !item.is_empty() {
        field(ITEM_BYTES_TAG, item, &mut out);
    }
    Ok(out)
}

fn encode(message: &impl Message) -> Result<Vec<u8>, WireError> {
    let mut out = with_prefix(message.encoded_len())?;
    // A Vec grows, so the only error prost knows here cannot occur.
    message.encode(&mut out).map_err(|error| WireError::Malformed { detail: error.to_string() })?;
    Ok(out)
}

fn with_prefix(bytes: usize) -> Result<Vec<u8>, WireError> {
    let prefix = match u32::try_from(bytes) {
        Ok(prefix) if bytes <= FRAME_BYTES_MAX => prefix,
        _ => return Err(WireError::FrameTooLarge { bytes }),
    };
    let mut out = Vec::with_capacity(FRAME_HEADER_BYTES + bytes);
    out.put_u32_le(prefix);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ITEM_OVERHEAD_BYTES_MAX;
    use crate::wire::{Barrier, Item};

    #[test]
    fn an_item_frame_equals_prosts() {
        for (seq, scope_id, len) in [(0, 0, 0), (1, 2, 3), (u64::MAX, u32::MAX, 300), (7, 0, 70_000)] {
            let body = vec![0xAB; len];
            let message = to_extension::Message::Item(Item {
                seq,
                signal: Signal::Traces as i32,
                scope_id,
                item: Bytes::from(body.clone()),
            });
            let ours = item(seq, Signal::Traces, scope_id, &body).unwrap();
            assert_eq!(ours, to_extension(message).unwrap());
            assert!(ours.len() <= len + ITEM_OVERHEAD_BYTES_MAX);
        }
    }

    #[test]
    fn a_frame_is_taken_only_when_whole() {
        let frame = to_extension(to_extension::Message::Barrier(Barrier { last_seq: 9 })).unwrap();
        let mut buffer = BytesMut::new();
        for byte in &frame[..frame.len() - 1] {
            buffer.extend_from_slice(&[*byte]);
            assert_eq!(take(&mut buffer), Ok(Head::Incomplete));
        }
        buffer.extend_from_slice(&frame[frame.len() - 1..]);
        buffer.extend_from_slice(&frame);
        for _ in 0..2 {
            assert_eq!(take(&mut buffer), Ok(Head::Frame(Bytes::copy_from_slice(&frame[4..]))));
        }
        assert_eq!(take(&mut buffer), Ok(Head::Incomplete));
    }

    #[test]
    fn an_oversized_length_is_refused_before_it_is_buffered() {
        let mut buffer = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
        assert_eq!(take(&mut buffer), Err(WireError::FrameTooLarge { bytes: u32::MAX as usize }));
        assert!(item(1, Signal::Traces, 0, &vec![0; FRAME_BYTES_MAX]).is_err());
    }
}
