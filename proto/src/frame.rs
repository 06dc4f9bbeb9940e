//! Frames: a 4-byte little-endian length, then one message.

use std::ops::Deref;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::error::WireError;
use crate::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, ITEM_OVERHEAD_BYTES_MAX};
use crate::splice::{field_len, varint_field_len};
use crate::wire::{Item, Signal, ToExtension, ToFunction, to_extension, to_function};

const ITEM_TAG: u32 = 3;
const ITEM_SEQ_TAG: u32 = 1;
const ITEM_SIGNAL_TAG: u32 = 2;
const ITEM_SCOPE_TAG: u32 = 3;
const ITEM_BYTES_TAG: u32 = 4;

/// A frame without a message: rings at the other end of a link whose frames go through the ring.
pub const BELL: [u8; FRAME_HEADER_BYTES] = [0; FRAME_HEADER_BYTES];

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

/// What stands before the bytes of an `Item` frame: length prefix, tags, lengths and numbers. No allocation.
#[derive(Debug, Clone, Copy)]
pub struct ItemHead {
    bytes: [u8; ITEM_OVERHEAD_BYTES_MAX],
    len: usize,
}

impl Deref for ItemHead {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl ItemHead {
    /// There is room for the longest head.
    #[inline]
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    /// All keys here have one byte.
    #[inline]
    fn key_and_varint(&mut self, key: u32, mut value: u64) {
        let [key, ..] = key.to_le_bytes();
        self.push(key);
        while value >= 0x80 {
            let [low, ..] = value.to_le_bytes();
            self.push(low | 0x80);
            value >>= 7;
        }
        let [last, ..] = value.to_le_bytes();
        self.push(last);
    }
}

/// The head of an `Item` frame that ends with an item of `item_bytes` bytes. Both together are equal to what prost
/// writes for the message.
///
/// # Errors
/// [`WireError::FrameTooLarge`] above [`FRAME_BYTES_MAX`].
pub fn item_head(seq: u64, signal: Signal, scope_id: u32, item_bytes: usize) -> Result<ItemHead, WireError> {
    let signal = u64::from((signal as i32).cast_unsigned());
    let inner = varint_field_len(ITEM_SEQ_TAG, seq)
        + varint_field_len(ITEM_SIGNAL_TAG, signal)
        + varint_field_len(ITEM_SCOPE_TAG, u64::from(scope_id))
        + if item_bytes == 0 { 0 } else { field_len(ITEM_BYTES_TAG, item_bytes) };
    let prefix = prefix(field_len(ITEM_TAG, inner))?;
    let mut head = ItemHead { bytes: [0; ITEM_OVERHEAD_BYTES_MAX], len: 0 };
    prefix.to_le_bytes().into_iter().for_each(|byte| head.push(byte));
    head.key_and_varint(ITEM_TAG << 3 | 2, inner as u64);
    let numbers = [(ITEM_SEQ_TAG, seq), (ITEM_SIGNAL_TAG, signal), (ITEM_SCOPE_TAG, u64::from(scope_id))];
    for (tag, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
        head.key_and_varint(tag << 3, number);
    }
    if item_bytes > 0 {
        head.key_and_varint(ITEM_BYTES_TAG << 3 | 2, item_bytes as u64);
    }
    Ok(head)
}

/// Makes a whole `Item` frame of `room_and_item`, without a copy: the head goes into the last of the
/// [`ITEM_OVERHEAD_BYTES_MAX`] bytes of room that stand before the item.
///
/// # Errors
/// [`WireError::FrameTooLarge`] above [`FRAME_BYTES_MAX`]; [`WireError::Limit`] where there is not that much room.
pub fn item_in_place(
    seq: u64,
    signal: Signal,
    scope_id: u32,
    room_and_item: &mut [u8],
) -> Result<&[u8], WireError> {
    let no_room = WireError::Limit { name: "ITEM_OVERHEAD_BYTES_MAX" };
    let Some(item_bytes) = room_and_item.len().checked_sub(ITEM_OVERHEAD_BYTES_MAX) else {
        return Err(no_room);
    };
    let head = item_head(seq, signal, scope_id, item_bytes)?;
    let start = ITEM_OVERHEAD_BYTES_MAX.saturating_sub(head.len());
    let frame = room_and_item.get_mut(start..).ok_or(no_room)?;
    frame.iter_mut().zip(head.iter()).for_each(|(to, from)| *to = *from);
    Ok(frame)
}

/// A whole `Item` frame around `item`, with one copy of it.
///
/// # Errors
/// [`WireError::FrameTooLarge`] above [`FRAME_BYTES_MAX`].
pub fn item(seq: u64, signal: Signal, scope_id: u32, item: &[u8]) -> Result<Vec<u8>, WireError> {
    let head = item_head(seq, signal, scope_id, item.len())?;
    Ok([&head, item].concat())
}

/// An `Item` as [`item`] writes it, without the general decoder: nearly all frames are that.
///
/// # Errors
/// The frame itself: it is something else, or written in another way.
pub(crate) fn as_item(mut frame: Bytes) -> Result<Item, Bytes> {
    let Some((mut item, bytes)) = parse_item_head(&frame) else { return Err(frame) };
    frame.advance(frame.len() - bytes);
    item.item = frame;
    Ok(item)
}

/// An `Item` frame that stands in a buffer.
pub(crate) struct Peeked {
    /// Without its bytes.
    pub(crate) item: Item,
    /// How many those are: they end the frame.
    pub(crate) bytes: usize,
    /// With the length prefix.
    pub(crate) frame_bytes: usize,
}

/// What [`take`] and [`as_item`] would find at `start`, if that is a whole item; nothing is taken.
#[inline]
pub(crate) fn peek_item(buffer: &[u8], start: usize) -> Option<Peeked> {
    let (prefix, rest) = buffer.get(start..)?.split_first_chunk::<FRAME_HEADER_BYTES>()?;
    let length = u32::from_le_bytes(*prefix) as usize;
    if length > FRAME_BYTES_MAX {
        return None;
    }
    let (item, bytes) = parse_item_head(rest.get(..length)?)?;
    Some(Peeked { item, bytes, frame_bytes: FRAME_HEADER_BYTES + length })
}

/// What stands before the bytes of an item, and how many those are: they end the frame.
fn parse_item_head(mut rest: &[u8]) -> Option<(Item, usize)> {
    if payload(ITEM_TAG, &mut rest)? != rest.len() {
        return None;
    }
    let seq = number(ITEM_SEQ_TAG, &mut rest)?;
    let signal = i32::try_from(number(ITEM_SIGNAL_TAG, &mut rest)?).ok()?;
    let scope_id = u32::try_from(number(ITEM_SCOPE_TAG, &mut rest)?).ok()?;
    let bytes = payload(ITEM_BYTES_TAG, &mut rest)?;
    (bytes == rest.len()).then_some((Item { seq, signal, scope_id, item: Bytes::new() }, bytes))
}

/// The value of a varint field, if that stands next; 0 if another field does.
fn number(tag: u32, rest: &mut &[u8]) -> Option<u64> {
    let (key, after) = rest.split_first()?;
    if u32::from(*key) != tag << 3 {
        return Some(0);
    }
    *rest = after;
    varint(rest)
}

/// The length of a length-delimited field, if that stands next; its bytes come then.
fn payload(tag: u32, rest: &mut &[u8]) -> Option<usize> {
    let (key, after) = rest.split_first().filter(|(key, _)| u32::from(**key) == tag << 3 | 2)?;
    debug_assert!(*key < 0x80, "a key of one byte");
    *rest = after;
    usize::try_from(varint(rest)?).ok()
}

/// A varint of at most nine bytes.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7F) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn encode(message: &impl Message) -> Result<Vec<u8>, WireError> {
    let mut out = with_prefix(message.encoded_len())?;
    // A Vec grows, so the only error prost knows here cannot occur.
    message.encode(&mut out).map_err(|error| WireError::Malformed { detail: error.to_string() })?;
    Ok(out)
}

fn with_prefix(bytes: usize) -> Result<Vec<u8>, WireError> {
    let prefix = prefix(bytes)?;
    let mut out = Vec::with_capacity(FRAME_HEADER_BYTES + bytes);
    out.put_u32_le(prefix);
    Ok(out)
}

fn prefix(bytes: usize) -> Result<u32, WireError> {
    match u32::try_from(bytes) {
        Ok(prefix) if bytes <= FRAME_BYTES_MAX => Ok(prefix),
        _ => Err(WireError::FrameTooLarge { bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Barrier;

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
            let head = item_head(seq, Signal::Traces, scope_id, len).unwrap();
            assert!(ours.starts_with(&head) && ours.len() == head.len() + len);
            let mut room_and_item = [&[0xEE; ITEM_OVERHEAD_BYTES_MAX], body.as_slice()].concat();
            assert_eq!(item_in_place(seq, Signal::Traces, scope_id, &mut room_and_item).unwrap(), ours);
        }
    }

    #[test]
    fn an_item_is_read_as_prost_reads_it_or_left_to_prost() {
        let mut quick = 0;
        for (seq, scope_id, len) in
            [(1, 2, 3), (0, 0, 1), (1 << 62, u32::MAX, 300), (7, 0, 70_000), (u64::MAX, 1, 1), (1, 1, 0)]
        {
            let frame = item(seq, Signal::Logs, scope_id, &vec![0xAB; len]).unwrap();
            let whole = Bytes::from(frame).slice(FRAME_HEADER_BYTES..);
            let mut frames = vec![whole.clone()];
            // Cut short, prolonged, and with each bit changed that stands before the item.
            frames.extend((0..whole.len().min(40)).map(|end| whole.slice(..end)));
            frames.push([&whole[..], &[0x20, 1]].concat().into());
            for bit in 0..8 * whole.len().min(40) {
                let mut changed = whole.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                frames.push(changed.into());
            }
            for frame in frames {
                let Ok(item) = as_item(frame.clone()) else { continue };
                quick += 1;
                let message = ToExtension::decode(frame.clone()).unwrap().message;
                assert_eq!(message, Some(to_extension::Message::Item(item)), "{frame:?}");
            }
            assert_eq!(as_item(whole).is_ok(), seq < u64::MAX && len > 0);
        }
        assert!(quick > 100, "{quick}");
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
        assert!(item_head(1, Signal::Traces, 0, usize::MAX / 2).is_err());
        assert!(item_in_place(1, Signal::Traces, 0, &mut [0; ITEM_OVERHEAD_BYTES_MAX - 1]).is_err());
    }

    #[test]
    fn the_longest_head_fits() {
        for signal in [Signal::Unspecified, Signal::Traces, Signal::Metrics, Signal::Logs] {
            let longest = FRAME_BYTES_MAX - ITEM_OVERHEAD_BYTES_MAX;
            let head = item_head(u64::MAX, signal, u32::MAX, longest).unwrap();
            assert!(head.len() < ITEM_OVERHEAD_BYTES_MAX);
        }
    }
}
