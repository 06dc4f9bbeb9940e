//! The function's end of a link: sequence numbers, credit and the barrier. It owns no socket and no buffer.
//!
//! ```text
//!            connect()                Welcome, spoken version
//!  Closed ──────────────▶ Greeting ──────────────────────────▶ Open
//!    ▲                       │ Welcome, other version            │
//!    │ disconnect()          ▼                                   │
//!    ├──────────────────── Refused                               │
//!    └──────────────────────────────── disconnect(), WireError ──┘
//! ```
//! Sequence numbers belong to the process and go on across reconnects; credit and scopes belong to the
//! connection and start anew.

use bytes::{Bytes, BytesMut};
use prost::Message;

use crate::error::WireError;
use crate::extension_link::within;
use crate::frame::{self, Head};
use crate::limits::{LINK_SCOPES_MAX, RESOURCE_BYTES_MAX, RING_BYTES_MIN, SCOPE_BYTES_MAX};
use crate::version::Versions;
use crate::wire::{
    Barrier, Counters, Goodbye, Hello, InvocationDone, InvocationStarted, Payload, Scope, Signal, ToFunction,
    invocation_done::Status, to_extension, to_function,
};

/// Where the link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// No connection.
    Closed,
    /// `Hello` is on its way; nothing is granted yet.
    Greeting,
    /// Items may be written within the credit.
    Open,
    /// The extension speaks only versions this library does not.
    Refused,
}

/// One item or payload, encoded, waiting to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemFrame {
    /// The whole frame.
    pub bytes: Vec<u8>,
    /// Its sequence number.
    pub seq: u64,
    /// How many telemetry items it carries.
    pub items: u64,
}

/// See the module's description.
#[derive(Debug)]
pub struct FunctionLink {
    versions: Versions,
    process: u64,
    state: LinkState,
    last_seq: u64,
    written_seq: u64,
    accepted_seq: u64,
    written_bytes: u64,
    credit_bytes: u64,
    ring_offered: u64,
    ring_bytes: u64,
    inbound: BytesMut,
}

impl FunctionLink {
    /// A closed link of the process `process` (a random nonce).
    #[must_use]
    pub fn new(process: u64) -> Self {
        Self::with_versions(process, Versions::CURRENT)
    }

    /// As [`Self::new`], speaking `versions`.
    #[must_use]
    pub fn with_versions(process: u64, versions: Versions) -> Self {
        Self {
            versions,
            process,
            state: LinkState::Closed,
            last_seq: 0,
            written_seq: 0,
            accepted_seq: 0,
            written_bytes: 0,
            credit_bytes: 0,
            ring_offered: 0,
            ring_bytes: 0,
            inbound: BytesMut::new(),
        }
    }

    /// A connection was made: returns the `Hello` frame that has to be written first.
    ///
    /// # Errors
    /// [`WireError::Limit`] when the resource is over [`RESOURCE_BYTES_MAX`], or its schema URL over
    /// [`NAME_BYTES_MAX`](crate::limits::NAME_BYTES_MAX).
    pub fn connect(&mut self, resource: &Bytes, resource_schema_url: &str) -> Result<Vec<u8>, WireError> {
        self.connect_offering(resource, resource_schema_url, 0)
    }

    /// As [`Self::connect`], with shared memory for a ring of `ring_bytes`: its descriptor goes along with the
    /// frame, and nothing else may be written before `Welcome` has come.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_offering(
        &mut self,
        resource: &Bytes,
        resource_schema_url: &str,
        ring_bytes: u64,
    ) -> Result<Vec<u8>, WireError> {
        if resource.len() > RESOURCE_BYTES_MAX {
            return Err(WireError::Limit { name: "RESOURCE_BYTES_MAX" });
        }
        within(&[resource_schema_url])?;
        self.disconnect();
        self.state = LinkState::Greeting;
        self.ring_offered = ring_bytes;
        frame::to_extension(to_extension::Message::Hello(Hello {
            version: self.versions.max,
            version_min: self.versions.min,
            process: self.process,
            resource: resource.clone(),
            resource_schema_url: resource_schema_url.to_owned(),
            ring_bytes,
        }))
    }

    /// The connection is gone. Sequence numbers stay; credit does not.
    pub fn disconnect(&mut self) {
        self.state = LinkState::Closed;
        self.written_bytes = 0;
        self.credit_bytes = 0;
        self.ring_offered = 0;
        self.ring_bytes = 0;
        self.inbound.clear();
    }

    /// Takes bytes that were read from the connection.
    ///
    /// # Errors
    /// The extension broke the protocol; the connection has to be closed.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.inbound.extend_from_slice(bytes);
        let read = self.read();
        if read.is_err() && self.state != LinkState::Refused {
            self.disconnect();
        }
        read
    }

    fn read(&mut self) -> Result<(), WireError> {
        while let Head::Frame(body) = frame::take(&mut self.inbound)? {
            match ToFunction::decode(body)?.message {
                Some(to_function::Message::Welcome(welcome)) if self.versions.speaks(welcome.version) => {
                    self.ring(welcome.ring_bytes)?;
                    self.state = LinkState::Open;
                    self.credit_bytes = self.credit_bytes.max(welcome.credit_bytes);
                }
                Some(to_function::Message::Welcome(welcome)) => {
                    self.state = LinkState::Refused;
                    return Err(WireError::Version { theirs: welcome.version });
                }
                Some(to_function::Message::Credit(credit)) => {
                    self.credit_bytes = self.credit_bytes.max(credit.credit_bytes);
                }
                Some(to_function::Message::Accepted(accepted)) => {
                    self.accepted_seq = self.accepted_seq.max(accepted.seq);
                }
                None => {} // From a newer extension.
            }
        }
        Ok(())
    }

    /// The first `Welcome` says whether there is a ring.
    fn ring(&mut self, ring_bytes: u64) -> Result<(), WireError> {
        if ring_bytes == 0 || self.state != LinkState::Greeting {
            return Ok(());
        }
        if !(RING_BYTES_MIN..=self.ring_offered).contains(&ring_bytes) || !ring_bytes.is_multiple_of(8) {
            return Err(WireError::Ring { ring_bytes });
        }
        self.ring_bytes = ring_bytes;
        Ok(())
    }

    /// How large a ring all frames go through from now on. 0: there is none.
    #[must_use]
    pub fn ring_bytes(&self) -> u64 {
        self.ring_bytes
    }

    /// Encodes one OTLP item and gives it the next sequence number.
    ///
    /// # Errors
    /// [`WireError::FrameTooLarge`]; no number is used up.
    pub fn item(&mut self, signal: Signal, scope_id: u32, item: &[u8]) -> Result<ItemFrame, WireError> {
        let seq = self.last_seq + 1;
        let bytes = frame::item(seq, signal, scope_id, item)?;
        self.last_seq = seq;
        Ok(ItemFrame { bytes, seq, items: 1 })
    }

    /// As [`Self::item`], without a copy: `room_and_item` is an item behind
    /// [`ITEM_OVERHEAD_BYTES_MAX`](crate::limits::ITEM_OVERHEAD_BYTES_MAX) bytes of room. Returns the number it got,
    /// and the whole frame.
    ///
    /// # Errors
    /// As [`Self::item`]; no number is used up.
    pub fn item_in_place<'a>(
        &mut self,
        signal: Signal,
        scope_id: u32,
        room_and_item: &'a mut [u8],
    ) -> Result<(u64, &'a [u8]), WireError> {
        let seq = self.last_seq + 1;
        let frame = frame::item_in_place(seq, signal, scope_id, room_and_item)?;
        self.last_seq = seq;
        Ok((seq, frame))
    }

    /// Encodes a whole OTLP request of `items` items.
    ///
    /// # Errors
    /// [`WireError::FrameTooLarge`]; no number is used up.
    pub fn payload(&mut self, signal: Signal, items: u32, request: Bytes) -> Result<ItemFrame, WireError> {
        let seq = self.last_seq + 1;
        let message = to_extension::Message::Payload(Payload { seq, signal: signal as i32, items, request });
        let bytes = frame::to_extension(message)?;
        self.last_seq = seq;
        Ok(ItemFrame { bytes, seq, items: u64::from(items) })
    }

    /// Whether `frame` may be written now: the link is open and the credit covers it.
    #[must_use]
    pub fn may_write(&self, frame: &ItemFrame) -> bool {
        self.may_write_bytes(frame.bytes.len())
    }

    /// As [`Self::may_write`], of an item frame of `bytes` bytes.
    #[must_use]
    pub fn may_write_bytes(&self, bytes: usize) -> bool {
        self.state == LinkState::Open && self.written_bytes + bytes as u64 <= self.credit_bytes
    }

    /// `frame` was written whole: it is the extension's.
    pub fn wrote(&mut self, frame: &ItemFrame) {
        self.wrote_bytes(frame.seq, frame.bytes.len());
    }

    /// As [`Self::wrote`], of the item frame with the number `seq` and of `bytes` bytes.
    pub fn wrote_bytes(&mut self, seq: u64, bytes: usize) {
        self.written_bytes += bytes as u64;
        self.written_seq = self.written_seq.max(seq);
    }

    /// Names scope `id` on this connection. Has to be written before items that refer to it.
    ///
    /// # Errors
    /// [`WireError::Limit`] for too many or too large scopes.
    pub fn scope(&self, id: u32, scope: Bytes, schema_url: &str) -> Result<Vec<u8>, WireError> {
        if id as usize > LINK_SCOPES_MAX {
            return Err(WireError::Limit { name: "LINK_SCOPES_MAX" });
        }
        if scope.len() > SCOPE_BYTES_MAX {
            return Err(WireError::Limit { name: "SCOPE_BYTES_MAX" });
        }
        within(&[schema_url])?;
        frame::to_extension(to_extension::Message::Scope(Scope {
            id,
            scope,
            schema_url: schema_url.to_owned(),
        }))
    }

    /// The frame that opens an invocation.
    ///
    /// # Errors
    /// [`WireError::FrameTooLarge`], [`WireError::Limit`] for an id that is too long.
    pub fn invocation_started(&self, started: InvocationStarted) -> Result<Vec<u8>, WireError> {
        within(&[&started.request_id, &started.attempt])?;
        frame::to_extension(to_extension::Message::InvocationStarted(started))
    }

    /// The frame that ends an invocation, with the last sequence number written.
    ///
    /// # Errors
    /// [`WireError::FrameTooLarge`], [`WireError::Limit`] for an id that is too long.
    pub fn invocation_done(
        &self,
        request_id: &str,
        attempt: &str,
        status: Status,
        counters: Counters,
    ) -> Result<Vec<u8>, WireError> {
        within(&[request_id, attempt])?;
        frame::to_extension(to_extension::Message::InvocationDone(InvocationDone {
            request_id: request_id.to_owned(),
            attempt: attempt.to_owned(),
            status: status as i32,
            last_seq: self.written_seq,
            counters: Some(counters),
        }))
    }

    /// The frame that asks for `Accepted` up to what is written now.
    ///
    /// # Errors
    /// [`WireError::FrameTooLarge`].
    pub fn barrier(&self) -> Result<Vec<u8>, WireError> {
        frame::to_extension(to_extension::Message::Barrier(Barrier { last_seq: self.written_seq }))
    }

    /// The last frame of a link that ends in good order.
    ///
    /// # Errors
    /// [`WireError::FrameTooLarge`].
    pub fn goodbye(&self, counters: Counters) -> Result<Vec<u8>, WireError> {
        frame::to_extension(to_extension::Message::Goodbye(Goodbye {
            last_seq: self.written_seq,
            counters: Some(counters),
        }))
    }

    /// Where the link stands.
    #[must_use]
    pub fn state(&self) -> LinkState {
        self.state
    }

    /// The highest sequence number written whole.
    #[must_use]
    pub fn written_seq(&self) -> u64 {
        self.written_seq
    }

    /// The highest sequence number the extension confirmed.
    #[must_use]
    pub fn accepted_seq(&self) -> u64 {
        self.accepted_seq
    }
}
