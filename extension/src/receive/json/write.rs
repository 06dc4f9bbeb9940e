//! Protobuf as it is written: into claimed memory, with the place in the document at hand for errors.

use std::fmt::Write as _;

use lambda_flush_proto::otlp::walk::DEPTH_MAX;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::receive::doors::refusal::Refusal;
use crate::receive::doors::room::Buffer;

/// The longest varint.
const VARINT_BYTES_MAX: usize = 10;
/// What is told of the place of a value that is nested deep.
const PATH_BYTES_MAX: usize = 200;

/// One step from the document's root.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Into a field.
    Field(&'static str),
    /// Into a list.
    Index(usize),
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Writer {
    buffer: Buffer,
    /// Where we are; after an error, where it happened.
    pub(super) path: Vec<Step>,
    depth: u32,
}

/// A length-delimited field whose length is not known yet.
#[derive(Debug)]
pub(super) struct Open {
    key: usize,
    content: usize,
}

impl Writer {
    pub(super) fn new(buffer: Buffer) -> Self {
        Self { buffer, path: Vec::new(), depth: 0 }
    }

    pub(super) fn into_buffer(self) -> Buffer {
        self.buffer
    }

    /// What to answer: there was no room, or the document is bad.
    pub(super) fn refusal(&self, error: &serde_json::Error) -> Refusal {
        self.buffer.refused().unwrap_or_else(|| {
            let mut path = String::new();
            for step in &self.path {
                // Writing to a string can't fail.
                let _ok = match step {
                    Step::Field(name) if path.is_empty() => write!(path, "{name}"),
                    Step::Field(name) => write!(path, ".{name}"),
                    Step::Index(index) => write!(path, "[{index}]"),
                };
            }
            if path.len() > PATH_BYTES_MAX {
                // Names of fields and numbers: one byte a character.
                path.truncate(PATH_BYTES_MAX);
                path.push('…');
            }
            let colon = if path.is_empty() { "" } else { ": " };
            Refusal::Malformed(format!("not valid OTLP/JSON: {path}{colon}{error}"))
        })
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.buffer.put(bytes)
    }

    pub(super) fn varint(&mut self, value: u64) -> Result<(), Refusal> {
        if value < 0x80 {
            return self.put(&[value.to_le_bytes()[0]]);
        }
        let mut bytes = [0; VARINT_BYTES_MAX];
        let mut free = &mut bytes[..];
        encode_varint(value, &mut free);
        let length = VARINT_BYTES_MAX - free.len();
        self.put(bytes.get(..length).unwrap_or_default())
    }

    pub(super) fn key(&mut self, number: u32, wire_type: WireType) -> Result<(), Refusal> {
        let mut bytes = [0; VARINT_BYTES_MAX];
        let mut free = &mut bytes[..];
        encode_key(number, wire_type, &mut free);
        let length = VARINT_BYTES_MAX - free.len();
        self.put(bytes.get(..length).unwrap_or_default())
    }

    /// A whole length-delimited field.
    pub(super) fn field(&mut self, number: u32, content: &[u8]) -> Result<(), Refusal> {
        self.key(number, WireType::LengthDelimited)?;
        self.varint(content.len() as u64)?;
        self.put(content)
    }

    /// Begins a length-delimited field; a byte is kept for its length, which is enough for most.
    pub(super) fn open(&mut self, number: u32) -> Result<Open, Refusal> {
        let key = self.buffer.len();
        self.key(number, WireType::LengthDelimited)?;
        self.put(&[0])?;
        Ok(Open { key, content: self.buffer.len() })
    }

    /// Ends it. A longer length moves the content by the bytes it takes.
    pub(super) fn close(&mut self, open: &Open) -> Result<(), Refusal> {
        let content = self.buffer.len() - open.content;
        let mut length = [0; VARINT_BYTES_MAX];
        let mut free = &mut length[..];
        encode_varint(content as u64, &mut free);
        let bytes = VARINT_BYTES_MAX - free.len();
        self.buffer.put_zeros(bytes - 1)?;
        let tail = self.buffer.bytes_mut().get_mut(open.content - 1..).unwrap_or_default();
        tail.copy_within(1..=content, bytes);
        for (to, from) in tail.iter_mut().zip(length.iter().take(bytes)) {
            *to = *from;
        }
        Ok(())
    }

    /// Forgets a field that was begun.
    pub(super) fn undo(&mut self, open: &Open) {
        self.buffer.truncate(open.key);
    }

    /// Whether anything was written into it.
    pub(super) fn is_empty(&self, open: &Open) -> bool {
        self.buffer.len() == open.content
    }

    /// The content of a field of at most `most` bytes, written in place by `fill`, which says how many they are.
    pub(super) fn fill(
        &mut self,
        most: usize,
        fill: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<bool, Refusal> {
        let start = self.buffer.len();
        self.buffer.put_zeros(most)?;
        let filled = fill(self.buffer.bytes_mut().get_mut(start..).unwrap_or_default());
        self.buffer.truncate(start + filled.unwrap_or(0));
        Ok(filled.is_some())
    }

    /// One message deeper; false if that is too deep.
    pub(super) fn enter(&mut self) -> bool {
        self.depth += 1;
        self.depth <= DEPTH_MAX
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }
}
