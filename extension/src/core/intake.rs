//! Taking custody: what comes in on links.

use bytes::Bytes;
use lambda_flush_proto::Received;
use lambda_flush_proto::extension_link::ReceivedItem;
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
                // The schema keeps its place: open spans are closed by a later version. Their credit is used all
                // the same, or the link would starve.
                Received::SpanStarted { credit_bytes, .. } => {
                    if let Some(link) = self.links.get_mut(id) {
                        link.used(*credit_bytes);
                    }
                }
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
        link.hello(hello);
        self.links.process(hello.process);
        let taken = self.store.memory_bytes() + self.links.outstanding() + self.kept_for_doors();
        let Some(link) = self.links.get_mut(id) else { return };
        let credit_bytes = self.budget.grant(link.outstanding, taken);
        link.outstanding += credit_bytes;
        self.act(Action::Reply(id, Reply::Welcome { credit_bytes }));
    }

    fn item(&mut self, id: LinkId, item: &ReceivedItem) {
        let Some((process, origin)) = self.links.item(id, item) else { return };
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
