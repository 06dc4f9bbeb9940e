//! Both ends of a link, over a pipe that cuts the bytes anywhere.

#![allow(dead_code, unreachable_pub, reason = "each test target uses a part of it")]

use bytes::Bytes;
use lambda_flush_proto::extension_link::ReceivedItem;
use lambda_flush_proto::function_link::ItemFrame;
use lambda_flush_proto::wire::to_extension;
use lambda_flush_proto::{ExtensionLink, FunctionLink, Received, Signal, Versions, WireError, frame};

/// The two ends and the bytes between them.
pub struct Pair {
    pub function: FunctionLink,
    pub extension: ExtensionLink,
    /// To the extension.
    pub up: Vec<u8>,
    /// To the function.
    pub down: Vec<u8>,
    pub random: fastrand::Rng,
    /// What each Hello is granted.
    pub credit: u64,
    pub received: Vec<Received>,
}

impl Pair {
    pub fn speaking(function: Versions, extension: Versions) -> Self {
        Self {
            function: FunctionLink::with_versions(7, function),
            extension: ExtensionLink::new(extension),
            up: Vec::new(),
            down: Vec::new(),
            random: fastrand::Rng::with_seed(1),
            credit: 10_000,
            received: Vec::new(),
        }
    }

    pub fn new() -> Self {
        Self::speaking(Versions::CURRENT, Versions::CURRENT)
    }

    pub fn open() -> Self {
        let mut pair = Self::new();
        pair.connect();
        pair.run().unwrap();
        pair
    }

    /// A fresh connection: what was in the pipes is gone with the old one.
    pub fn connect(&mut self) {
        self.up = self.function.connect(&Bytes::from_static(b"resource"), "https://schema").unwrap();
        self.down.clear();
    }

    /// Moves all bytes both ways in pieces until nothing is left.
    pub fn run(&mut self) -> Result<(), WireError> {
        while !self.up.is_empty() || !self.down.is_empty() {
            if !self.up.is_empty() {
                let piece = self.random.usize(1..=self.up.len());
                let rest = self.up.split_off(piece);
                let piece = std::mem::replace(&mut self.up, rest);
                self.extension.receive(&piece);
                while let Some(message) = self.extension.poll()? {
                    match &message {
                        Received::Hello(_) => self.down.extend(self.extension.welcome(self.credit)),
                        Received::Barrier => {
                            let seq = self.last_seq();
                            self.down.extend(self.extension.accepted(seq));
                        }
                        _ => {}
                    }
                    self.received.push(message);
                }
            }
            if !self.down.is_empty() {
                let piece = self.random.usize(1..=self.down.len());
                let rest = self.down.split_off(piece);
                let piece = std::mem::replace(&mut self.down, rest);
                self.function.receive(&piece)?;
            }
        }
        Ok(())
    }

    pub fn items(&self) -> Vec<&ReceivedItem> {
        let items = self.received.iter().filter_map(|message| match message {
            Received::Item(item) => Some(item),
            _ => None,
        });
        items.collect()
    }

    pub fn last_seq(&self) -> u64 {
        self.items().iter().map(|item| item.seq).max().unwrap_or(0)
    }

    pub fn write(&mut self, frame: &ItemFrame) {
        assert!(self.function.may_write(frame));
        self.up.extend(&frame.bytes);
        self.function.wrote(frame);
    }

    pub fn item(&mut self, bytes: &[u8]) -> ItemFrame {
        self.function.item(Signal::Traces, 1, bytes).unwrap()
    }

    /// Sends raw bytes as a misbehaving function would.
    pub fn raw(&mut self, bytes: Vec<u8>) -> Result<(), WireError> {
        self.up.extend(bytes);
        self.run()
    }
}

pub fn message(message: to_extension::Message) -> Vec<u8> {
    frame::to_extension(message).unwrap()
}

/// A frame around any protobuf bytes.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [&length.to_le_bytes()[..], body].concat()
}
