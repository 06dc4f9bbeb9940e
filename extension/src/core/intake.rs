//! Taking custody: what comes in on links.

use bytes::Bytes;
use lambda_flush_proto::Received;
use lambda_flush_proto::extension_link::{Content, ReceivedItem};
use lambda_flush_proto::items::{ReceivedItems, Run};
use lambda_flush_proto::wire::{Hello, InvocationDone};

use super::ledger::DropReason;
use super::{Action, Flusher, LinkId, Moment, Reply, RequestId, Signal};

impl Flusher {
    pub(super) fn received(&mut self, now: Moment, id: LinkId, messages: &[Received]) {
        if let Some(link) = self.links.get_mut(id) {
            link.received(now);
        }
        // By reference: nearly all are items, which are copied out of the read buffer and need not be moved before.
        for message in messages {
            match message {
                Received::Hello(hello) => self.hello(id, hello),
                Received::Scope(scope) => {
                    if let Some(link) = self.links.get_mut(id) {
                        link.scope(scope);
                    }
                }
                Received::Item(item) => self.item(id, item),
                Received::Items(items) => self.items(id, items),
                // The schema keeps its place: open spans are closed by a later version. Their credit is used all
                // the same, or the link would starve.
                Received::SpanStarted { credit_bytes, .. } => self.links.used(id, *credit_bytes),
                Received::InvocationStarted(started) => {
                    if let Some(link) = self.links.get_mut(id) {
                        let request_id = RequestId(started.request_id.clone());
                        link.invocation_started(request_id, started.attempt.clone(), self.config.managed);
                    }
                }
                Received::InvocationDone(done) => self.invocation_done(id, done),
                Received::Goodbye(counters) => {
                    if let Some(link) = self.links.get_mut(id) {
                        link.goodbye();
                    }
                    self.links.counters(id, counters.clone());
                }
                Received::Barrier => self.barrier(id),
            }
        }
    }

    fn hello(&mut self, id: LinkId, hello: &Hello) {
        let Some(link) = self.links.get_mut(id) else { return };
        // Memory comes with the first one only.
        let offered = if link.process.is_none() { hello.ring_bytes } else { 0 };
        link.hello(hello);
        self.links.process(hello.process);
        let taken = self.store.memory_bytes() + self.links.reserved() + self.kept_for_doors();
        let Some(link) = self.links.get_mut(id) else { return };
        let more_ring = self.budget.ring(offered, taken);
        link.ring_bytes += more_ring;
        let ring_bytes = link.ring_bytes;
        let credit_bytes = self.budget.grant(link.outstanding, taken + more_ring);
        link.outstanding += credit_bytes;
        self.act(Action::Reply(id, Reply::Welcome { credit_bytes, ring_bytes }));
    }

    fn items(&mut self, id: LinkId, items: &ReceivedItems) {
        self.links.used(id, items.credit_bytes());
        for run in items.runs() {
            self.run(id, &run);
        }
    }

    /// As [`Self::item`] for each; what they have in common is looked up once.
    fn run(&mut self, id: LinkId, run: &Run<'_>) {
        let Some((process, Some(origin))) = self.links.source(id, Some(run.scope_id)) else { return };
        let mut accepted = 0;
        let seen = &mut process.seen;
        let new = run.items().filter(|item| seen.take(item.seq)).inspect(|_| accepted += 1);
        match Signal::from_wire(run.signal) {
            None => self.ledger.drop_items(DropReason::UnknownSignal, new.map(|_| 1).sum()),
            Some(signal) => self.store.push_items(signal, origin, new),
        }
        process.accepted += accepted;
        self.ledger.accepted += accepted;
        self.ledger.repeated += run.len() - accepted;
    }

    fn item(&mut self, id: LinkId, item: &ReceivedItem) {
        self.links.used(id, item.credit_bytes);
        let scope_id = match item.content {
            Content::Item { scope_id } => Some(scope_id),
            Content::Request => None,
        };
        let Some((process, origin)) = self.links.source(id, scope_id) else { return };
        if !process.seen.take(item.seq) {
            self.ledger.repeated += item.items;
            return;
        }
        process.accepted += item.items;
        self.ledger.accepted += item.items;
        match (Signal::from_wire(item.signal), origin) {
            (None, _) => self.ledger.drop_items(DropReason::UnknownSignal, item.items),
            (Some(signal), Some(origin)) => {
                self.store.push_item(signal, origin, &item.bytes, item.credit_bytes);
            }
            (Some(signal), None) => {
                // A copy, so that it does not keep the read buffer alive.
                let request = Bytes::copy_from_slice(&item.bytes);
                self.store.push_request(signal, request, item.items, item.credit_bytes);
            }
        }
    }

    fn invocation_done(&mut self, id: LinkId, done: &InvocationDone) {
        let request_id = RequestId(done.request_id.clone());
        if let Some(link) = self.links.get_mut(id) {
            link.invocation_done(&request_id, &done.attempt, self.config.managed);
        }
        if let Some(counters) = &done.counters {
            self.links.counters(id, counters.clone());
        }
        if !self.config.managed {
            self.hold.done(request_id, &done.attempt);
        }
    }

    fn barrier(&mut self, id: LinkId) {
        let Some(nonce) = self.links.get_mut(id).and_then(|link| link.process) else { return };
        let Some(seq) = self.links.process(nonce).map(|process| process.seen.last()) else { return };
        self.act(Action::Reply(id, Reply::Accepted { seq }));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::{Event, FlushConfig, Strategy};
    use lambda_flush_proto::wire::to_extension::Message;
    use lambda_flush_proto::{ExtensionLink, frame};

    const NOW: Moment = Moment { monotonic: Duration::ZERO, wall: Duration::ZERO };

    fn flusher() -> Flusher {
        Flusher::new(FlushConfig {
            strategy: Strategy::End,
            billed_max: Duration::from_secs(1),
            export_timeout: Duration::from_secs(1),
            managed: false,
            buffer_bytes_max: 16 << 20,
            request_bytes_max: 1 << 10,
            export: true,
            dead_letter: true,
            dead_letter_rate: 1 << 20,
        })
    }

    /// A link of process 7 that brings these frames in one read.
    fn link(core: &mut Flusher, id: LinkId, frames: &[Vec<u8>]) {
        let mut link = ExtensionLink::default();
        let hello = Hello { version: 1, version_min: 1, process: 7, ..Hello::default() };
        link.receive(&frame::to_extension(Message::Hello(hello)).unwrap());
        let hello = link.poll().unwrap().unwrap();
        core.handle(NOW, Event::LinkOpened(id));
        core.handle(NOW, Event::LinkReceived(id, vec![hello]));
        link.welcome(core.links.get_mut(id).unwrap().outstanding);
        link.receive(&frames.concat());
        let mut messages = Vec::new();
        link.poll_all(&mut messages).unwrap();
        core.handle(NOW, Event::LinkReceived(id, messages));
    }

    #[test]
    fn items_of_one_read_are_each_taken_once_and_use_their_credit() {
        let wire = |signal: Signal| match signal {
            Signal::Traces => lambda_flush_proto::Signal::Traces,
            _ => lambda_flush_proto::Signal::Unspecified,
        };
        let frames = |numbers: &[u64], signal| -> Vec<Vec<u8>> {
            numbers.iter().map(|seq| frame::item(*seq, wire(signal), 1, &[5; 300]).unwrap()).collect()
        };
        let mut core = flusher();
        let first = [frames(&[1, 2, 4, 5, 6, 7], Signal::Traces), frames(&[8, 9], Signal::Metrics)].concat();
        link(&mut core, LinkId(1), &first);
        assert_eq!((core.ledger.accepted, core.ledger.repeated, core.held()), (8, 0, 6));
        assert_eq!(core.ledger.dropped.get(&DropReason::UnknownSignal), Some(&2));
        let credit = core.links.get_mut(LinkId(1)).unwrap().outstanding;
        let used: usize = first.iter().map(Vec::len).sum();
        assert_eq!(credit + used as u64, core.budget.window());
        // The function reopened its link, and was not sure of the last ones.
        let again = [frames(&[3, 4, 7], Signal::Traces), frames(&[9, 10], Signal::Metrics)].concat();
        link(&mut core, LinkId(2), &again);
        assert_eq!((core.ledger.accepted, core.ledger.repeated, core.held()), (10, 3, 7));
        assert_eq!(core.links.process(7).unwrap().accepted, 10);
        assert!(core.balances());
    }
}
