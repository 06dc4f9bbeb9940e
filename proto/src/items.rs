//! Items that stand one after another in what was read: taken off together, and looked at where they are.
//!
//! A link brings hundreds of them in a read. Each as a message of its own would cost two changes of a shared counter
//! and a hundred bytes to be written and read again; together they cost that once.

use bytes::{Bytes, BytesMut};

use crate::extension_link::{Content, ReceivedItem};
use crate::frame::{self, Peeked};
use crate::wire::Signal;

/// Items in the order in which they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedItems {
    frames: Bytes,
    heads: Vec<Head>,
}

/// What is known of an item before its bytes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    seq: u64,
    signal: i32,
    scope_id: u32,
    /// Where the item's frame, and the item with it, ends in all frames.
    end: usize,
    bytes: usize,
    frame_bytes: usize,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedBytes<'a> {
    /// Sequence number in its process.
    pub seq: u64,
    /// The encoded bytes.
    pub bytes: &'a [u8],
    /// What the frame took of the link's credit.
    pub credit_bytes: u64,
}

/// Neighbours of one signal and one scope.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The signal; [`Signal::Unspecified`] if the library is newer than this code.
    pub signal: Signal,
    /// See [`crate::wire::Scope::id`].
    pub scope_id: u32,
    frames: &'a [u8],
    heads: &'a [Head],
}

impl ReceivedItems {
    /// Takes the items off the head of `inbound`, up to the first frame that is something else, is not whole, is
    /// faulty, or does not fit into `credit_bytes`. `None`: that is the first.
    #[inline(never)] // Compiled for speed here, and for size where it would be inlined.
    pub(crate) fn take(inbound: &mut BytesMut, credit_bytes: u64) -> Option<Self> {
        // Grows with what is found: a read may hold many short runs, each of which would have room for all.
        let mut heads = Vec::new();
        let (mut end, mut left) = (0, credit_bytes);
        while let Some(Peeked { item, bytes, frame_bytes }) = frame::peek_item(inbound, end) {
            let Some(rest) = left.checked_sub(frame_bytes as u64) else { break };
            left = rest;
            end += frame_bytes;
            let (seq, signal, scope_id) = (item.seq, item.signal, item.scope_id);
            heads.push(Head { seq, signal, scope_id, end, bytes, frame_bytes });
        }
        (end > 0).then(|| Self { frames: inbound.split_to(end).freeze(), heads })
    }

    /// What their frames took of the link's credit.
    #[must_use]
    pub fn credit_bytes(&self) -> u64 {
        self.frames.len() as u64
    }

    /// As messages of their own.
    #[must_use]
    pub fn each(&self) -> Vec<ReceivedItem> {
        let each = |run: Run<'_>| {
            let (signal, content) = (run.signal, Content::Item { scope_id: run.scope_id });
            let item = |ReceivedBytes { seq, bytes, credit_bytes }| ReceivedItem {
                seq,
                signal,
                content,
                bytes: Bytes::copy_from_slice(bytes),
                items: 1,
                credit_bytes,
            };
            run.items().map(item).collect::<Vec<_>>()
        };
        self.runs().flat_map(each).collect()
    }

    /// Cut where the signal or the scope changes.
    pub fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        let same = |a: &Head, b: &Head| (a.signal, a.scope_id) == (b.signal, b.scope_id);
        let runs = self.heads.chunk_by(same);
        runs.filter_map(|heads| {
            let Head { signal, scope_id, .. } = *heads.first()?;
            let signal = Signal::try_from(signal).unwrap_or(Signal::Unspecified);
            Some(Run { signal, scope_id, frames: &self.frames, heads })
        })
    }
}

impl<'a> Run<'a> {
    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> u64 {
        self.heads.len() as u64
    }

    /// In the order in which they were written.
    pub fn items(&self) -> impl Iterator<Item = ReceivedBytes<'a>> {
        let frames = self.frames;
        self.heads.iter().map(move |head| {
            let start = head.end.saturating_sub(head.bytes);
            let bytes = frames.get(start..head.end).unwrap_or_default();
            ReceivedBytes { seq: head.seq, bytes, credit_bytes: head.frame_bytes as u64 }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension_link::{ExtensionLink, Received};
    use crate::fuzzing::apart;
    use crate::wire::{Barrier, Hello, Item, Payload, to_extension::Message};
    use crate::{Versions, WireError};

    fn item(seq: u64, signal: Signal, scope_id: u32, bytes: usize) -> Vec<u8> {
        frame::item(seq, signal, scope_id, &vec![0xA5; bytes]).unwrap()
    }

    /// Items in runs and alone, among other messages, and one that is not written as the library writes it.
    fn frames() -> Vec<Vec<u8>> {
        let other = |message| frame::to_extension(message).unwrap();
        let empty = Item { seq: 6, signal: Signal::Logs as i32, scope_id: 1, item: Bytes::new() };
        let payload = Payload { seq: 8, signal: Signal::Metrics as i32, items: 3, request: Bytes::new() };
        vec![
            item(1, Signal::Traces, 1, 300),
            item(2, Signal::Traces, 1, 1),
            item(3, Signal::Traces, 2, 70_000),
            item(4, Signal::Logs, 2, 20),
            other(Message::Barrier(Barrier { last_seq: 4 })),
            item(5, Signal::Logs, 2, 20),
            other(Message::Item(empty)),
            item(7, Signal::Unspecified, 0, 9),
            other(Message::Payload(payload)),
            item(9, Signal::Traces, 1, 64),
        ]
    }

    fn polled(stream: &[u8], credit_bytes: u64, together: bool) -> (Vec<Received>, Option<WireError>, usize) {
        let mut link = ExtensionLink::default();
        let Versions { min: version_min, max: version } = Versions::CURRENT;
        let hello = Message::Hello(Hello { version, version_min, ..Hello::default() });
        link.receive(&frame::to_extension(hello).unwrap());
        assert!(matches!(link.poll(), Ok(Some(Received::Hello(_)))));
        link.welcome(credit_bytes);
        link.receive(stream);
        let mut messages = Vec::new();
        let fault = match together {
            true => link.poll_all(&mut messages).err(),
            false => loop {
                match link.poll() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break None,
                    Err(fault) => break Some(fault),
                }
            },
        };
        (messages, fault, link.inbound().len())
    }

    /// Each run once had room for all that could be in the read.
    #[test]
    fn short_runs_take_little_room() {
        let barrier = frame::to_extension(Message::Barrier(Barrier { last_seq: 1 })).unwrap();
        let pair = [item(1, Signal::Traces, 1, 1), barrier].concat();
        let stream = pair.repeat((64 << 10) / pair.len());
        let (messages, fault, _) = polled(&stream, u64::MAX, true);
        assert_eq!(fault, None);
        let heads: usize = messages
            .iter()
            .map(|message| match message {
                Received::Items(items) => items.heads.capacity() * size_of::<Head>(),
                _ => 0,
            })
            .sum();
        assert!(heads > 0 && heads <= 16 * stream.len(), "{heads} bytes for {}", stream.len());
    }

    #[test]
    fn together_they_are_what_they_are_one_by_one_whole_cut_short_faulty_or_over_the_credit() {
        let whole = frames().concat();
        let all = whole.len() as u64;
        let too_large = u32::MAX.to_le_bytes().to_vec();
        let rubbish = vec![3, 0, 0, 0, 0xFF, 0xFF, 0xFF];
        for tail in [Vec::new(), too_large, rubbish, whole[..200].to_vec()] {
            let stream = [whole.as_slice(), &tail].concat();
            for credit_bytes in [0, 1, 330, 400, 71_000, all - 60, all, 2 * all] {
                let (messages, fault, left) = polled(&stream, credit_bytes, true);
                let one_by_one = polled(&stream, credit_bytes, false);
                assert_eq!((apart(messages), fault, left), one_by_one, "with {credit_bytes} bytes of credit");
            }
        }
        let (messages, fault, _) = polled(&whole, all, true);
        assert_eq!(fault, None);
        let runs = |message: &Received| match message {
            Received::Items(items) => items.runs().map(|run| (run.scope_id, run.len())).collect(),
            _ => Vec::new(),
        };
        let runs: Vec<_> = messages.iter().map(runs).collect();
        let expected: [&[(u32, u64)]; 7] =
            [&[(1, 2), (2, 1), (2, 1)], &[], &[(2, 1)], &[], &[(0, 1)], &[], &[(1, 1)]];
        assert_eq!(runs, expected);
    }
}
