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
            Reply::Welcome { credit_bytes } => self.extension.welcome(credit_bytes),
            Reply::Grant { more_bytes } => self.extension.grant(more_bytes),
            Reply::Accepted { seq } => self.extension.accepted(seq),
        }
    }
}

/// A function process.
#[derive(Debug)]
pub struct Function {
    pub link: FunctionLink,
    pub connected: Option<LinkId>,
    pub buffered: VecDeque<(ItemFrame, Vec<u64>)>,
    pub ended: u64,
    pub written: u64,
    /// Ids of items whose frame is on a wire: they are the extension's.
    pub handed_off: BTreeSet<u64>,
    pub wires: BTreeMap<LinkId, Wire>,
}

impl Function {
    pub fn new(nonce: u64) -> Self {
        Self {
            link: FunctionLink::new(nonce),
            connected: None,
            buffered: VecDeque::new(),
            ended: 0,
            written: 0,
            handed_off: BTreeSet::new(),
            wires: BTreeMap::new(),
        }
    }

    pub fn connect(&mut self, id: LinkId) {
        self.disconnect();
        self.wires.insert(id, Wire::default());
        self.connected = Some(id);
        let hello = self.link.connect(&Bytes::from_static(b"\x0a\x00"), "").expect("a small resource");
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
            if self.connected.is_none() || !self.link.may_write(&frame) {
                self.buffered.push_front((frame, ids));
                return;
            }
            self.write(&frame.bytes.clone());
            self.link.wrote(&frame);
            self.written += frame.items;
            self.handed_off.extend(ids);
        }
    }

    pub fn answered(&mut self, bytes: &[u8]) {
        self.link.receive(bytes).expect("the extension keeps the protocol");
        self.drain();
    }

    fn counters(&self) -> Counters {
        let buffered = self.buffered.iter().map(|(frame, _)| frame.items).sum();
        Counters { ended: self.ended, written: self.written, buffered, ..Counters::default() }
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
