//! A function process at the other end: the real `FunctionLink`, a buffer, and the bytes on the wire.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use lambda_flush_extension::core::{LinkId, Reply};
use lambda_flush_proto::function_link::ItemFrame;
use lambda_flush_proto::wire::{Counters, InvocationStarted, invocation_done::Status};
use lambda_flush_proto::{ExtensionLink, FunctionLink, LinkState, Received, Signal};

/// What is between the two ends of one connection, and the extension's end.
#[derive(Debug, Default)]
pub struct Wire {
    pub bytes: BytesMut,
    pub ended: bool,
    /// The ring that the bytes are in; 0: they are in a socket.
    pub ring_bytes: u64,
    extension: ExtensionLink,
}

impl Wire {
    /// What the extension makes of the next `bytes_max` bytes. The driver must never see an error here: the
    /// function keeps within its credit.
    pub fn read(&mut self, bytes_max: usize) -> Vec<Received> {
        let read = self.bytes.split_to(self.bytes.len().min(bytes_max));
        self.extension.receive(&read);
        let mut messages = Vec::new();
        self.extension.poll_all(&mut messages).expect("what is within the credit is never refused");
        messages
    }

    pub fn torn(&self) -> bool {
        self.extension.torn()
    }

    pub fn reply(&mut self, reply: Reply) -> Vec<u8> {
        match reply {
            Reply::Welcome { credit_bytes, ring_bytes } => {
                self.ring_bytes = ring_bytes;
                self.extension.welcome_to_ring(credit_bytes, ring_bytes)
            }
            Reply::Grant { more_bytes } => self.extension.grant(more_bytes),
            Reply::Accepted { seq } => self.extension.accepted(seq),
        }
    }
}

/// A function process.
#[derive(Debug)]
pub struct Function {
    pub link: FunctionLink,
    pub nonce: u64,
    pub connected: Option<LinkId>,
    pub buffered: VecDeque<(ItemFrame, Vec<u64>)>,
    pub ended: u64,
    pub written: u64,
    pub dropped: u64,
    /// The size of the ring it offers when it connects.
    pub offers: u64,
    /// Ids of items whose frame is on a wire: they are the extension's.
    pub handed_off: BTreeSet<u64>,
    pub wires: BTreeMap<LinkId, Wire>,
}

impl Function {
    pub fn new(nonce: u64) -> Self {
        Self {
            link: FunctionLink::new(nonce),
            nonce,
            connected: None,
            buffered: VecDeque::new(),
            ended: 0,
            written: 0,
            dropped: 0,
            offers: 0,
            handed_off: BTreeSet::new(),
            wires: BTreeMap::new(),
        }
    }

    pub fn connect(&mut self, id: LinkId) {
        self.disconnect();
        self.wires.insert(id, Wire::default());
        self.connected = Some(id);
        self.hello();
    }

    /// At the beginning, and again after a restore.
    pub fn hello(&mut self) {
        let resource = Bytes::from_static(b"\x0a\x00");
        let hello = self.link.connect_offering(&resource, "", self.offers).expect("a small resource");
        self.write(&hello);
    }

    /// The connection ends; what was written stays on the wire.
    pub fn disconnect(&mut self) {
        if let Some(id) = self.connected.take()
            && let Some(wire) = self.wires.get_mut(&id)
        {
            wire.ended = true;
        }
        self.link.disconnect();
    }

    pub fn write(&mut self, bytes: &[u8]) {
        if let Some(wire) = self.connected.and_then(|id| self.wires.get_mut(&id))
            && !wire.ended
        {
            wire.bytes.extend_from_slice(bytes);
        }
    }

    /// Half a frame. In a ring nobody sees it: only whole ones are committed.
    pub fn tear(&mut self) {
        if self.link.ring_bytes() == 0 {
            self.write(&[7, 0, 0, 0, 1]);
        }
    }

    /// An item of `bytes` bytes ended: it is encoded once and waits for room.
    pub fn item(&mut self, id: u64, signal: Signal, bytes: usize) {
        let mut body = id.to_le_bytes().to_vec();
        body.resize(bytes.max(8), 0xA5);
        let frame = self.link.item(signal, 0, &body).expect("a small item");
        self.ended += 1;
        self.buffered.push_back((frame, vec![id]));
        self.drain();
    }

    /// Writes what the credit allows.
    pub fn drain(&mut self) {
        while let Some((frame, ids)) = self.buffered.pop_front() {
            if self.connected.is_none() || !self.link.may_write(&frame) || !self.fits(&frame) {
                self.buffered.push_front((frame, ids));
                return;
            }
            self.write(&frame.bytes.clone());
            self.link.wrote(&frame);
            self.written += frame.items;
            self.handed_off.extend(ids);
        }
    }

    /// Whether there is room in the ring, if there is one.
    fn fits(&self, frame: &ItemFrame) -> bool {
        let wire = self.connected.and_then(|id| self.wires.get(&id));
        let ring = wire.filter(|wire| wire.ring_bytes > 0);
        ring.is_none_or(|wire| (wire.bytes.len() + frame.bytes.len()) as u64 <= wire.ring_bytes)
    }

    /// A library's buffer is bounded.
    pub fn give_up_beyond(&mut self, items: usize) {
        self.dropped += self.buffered.len().saturating_sub(items) as u64;
        self.buffered.truncate(items);
    }

    pub fn answered(&mut self, bytes: &[u8]) {
        self.link.receive(bytes).expect("the extension keeps the protocol");
        self.drain();
    }

    pub fn counters(&self) -> Counters {
        let buffered = self.buffered.iter().map(|(frame, _)| frame.items).sum();
        let dropped = (self.dropped > 0).then(|| ("buffer_full".to_owned(), self.dropped));
        let dropped = dropped.into_iter().collect();
        Counters { ended: self.ended, written: self.written, buffered, dropped }
    }

    pub fn started(&mut self, request_id: &str, attempt: &str) {
        let started = InvocationStarted {
            request_id: request_id.to_owned(),
            attempt: attempt.to_owned(),
            ..InvocationStarted::default()
        };
        let frame = self.link.invocation_started(started).expect("small");
        self.write(&frame);
    }

    pub fn done(&mut self, request_id: &str, attempt: &str) {
        let frame = self.link.invocation_done(request_id, attempt, Status::Ok, self.counters());
        self.write(&frame.expect("small"));
    }

    /// As [`Self::done`], with counters that know of `more` items which are still in the buffer.
    pub fn done_with(&mut self, request_id: &str, attempt: &str, more: u64) {
        let counters = Counters { ended: self.ended + more, buffered: more, ..self.counters() };
        let frame = self.link.invocation_done(request_id, attempt, Status::Ok, counters);
        self.write(&frame.expect("small"));
    }

    pub fn goodbye(&mut self) {
        let frame = self.link.goodbye(self.counters()).expect("small");
        self.write(&frame);
    }

    pub fn open(&self) -> bool {
        self.link.state() == LinkState::Open
    }
}
