//! What one item costs between the read buffer and the closed batch, without compressing and sending it.
//!
//! `cargo bench -p lambda-flush-extension --bench core` prints nanoseconds. For instructions run the binary twice
//! under `valgrind --tool=callgrind`, with `--rounds 200` and `--rounds 400`, and divide the difference by
//! the items of 200 rounds.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a bench")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use lambda_flush_extension::core::{
    Action, DoorRequest, Event, FlushConfig, Flusher, LinkId, Moment, Outcome, Reply, Signal, Strategy,
};
use lambda_flush_proto::splice::field;
use lambda_flush_proto::{ExtensionLink, FunctionLink};

const ITEM_BYTES: usize = 350;
const READ_BYTES: usize = 64 << 10;
const LINK: LinkId = LinkId(1);

fn config() -> FlushConfig {
    FlushConfig {
        strategy: Strategy::End,
        billed_max: Duration::from_millis(100),
        export_timeout: Duration::from_secs(10),
        managed: true,
        buffer_bytes_max: 16 << 20,
        request_bytes_max: 512 << 10,
        export: true,
        dead_letter: true,
        dead_letter_rate: 20 << 20,
    }
}

/// The core with a backend that takes everything at once.
struct Relay {
    core: Flusher,
    function: FunctionLink,
    extension: ExtensionLink,
    now: Moment,
    exported_bytes: usize,
}

impl Relay {
    fn new() -> Self {
        let wall = Duration::from_secs(1_800_000_000);
        let mut relay = Self {
            core: Flusher::new(config()),
            function: FunctionLink::new(1),
            extension: ExtensionLink::default(),
            now: Moment { monotonic: Duration::ZERO, wall },
            exported_bytes: 0,
        };
        let hello = relay.function.connect(&Bytes::from_static(b"\x0a\x00"), "").expect("a small resource");
        relay.handle(Event::Registered);
        relay.handle(Event::LinkOpened(LINK));
        relay.receive(&hello);
        relay
    }

    fn handle(&mut self, event: Event) {
        self.core.handle(self.now, event);
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Export { batch, body, .. } => {
                    self.exported_bytes += black_box(body).len();
                    self.core.handle(self.now, Event::ExportDone(batch, Outcome::Exported));
                }
                Action::Reply(LINK, reply) => {
                    let answer = match reply {
                        Reply::Welcome { credit_bytes, .. } => self.extension.welcome(credit_bytes),
                        Reply::Grant { more_bytes } => self.extension.grant(more_bytes),
                        Reply::Accepted { seq } => self.extension.accepted(seq),
                    };
                    self.function.receive(&answer).expect("the extension keeps the protocol");
                }
                _ => {}
            }
        }
    }

    fn receive(&mut self, read: &[u8]) {
        self.extension.receive(read);
        let mut messages = Vec::new();
        self.extension.poll_all(&mut messages).expect("the function keeps the protocol");
        self.handle(Event::LinkReceived(LINK, messages));
    }

    /// One read full of items; returns how many.
    fn frames(&mut self) -> (Vec<u8>, u64) {
        let (mut read, mut items) = (Vec::with_capacity(READ_BYTES), 0);
        let item = [0xA5; ITEM_BYTES];
        while read.len() + ITEM_BYTES < READ_BYTES {
            let frame =
                self.function.item(lambda_flush_proto::Signal::Traces, 0, &item).expect("a small item");
            self.function.wrote(&frame);
            read.extend_from_slice(&frame.bytes);
            items += 1;
        }
        (read, items)
    }
}

/// A request of a hundred spans.
fn request() -> Bytes {
    let (mut scope, mut resource, mut request) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
    for _ in 0..100 {
        field(2, &[0xA5; ITEM_BYTES], &mut scope);
    }
    field(2, &scope, &mut resource);
    field(1, &resource, &mut request);
    request.freeze()
}

fn report(name: &str, took: Duration, items: u64) {
    let nanos = took.as_nanos() / u128::from(items.max(1));
    println!("{name}: {items} items, {nanos} ns an item");
}

fn rounds() -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rounds");
    arguments.nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(2_000)
}

fn main() {
    let rounds = rounds();
    let wanted = |name: &str| {
        !std::env::args().any(|argument| argument.starts_with("--no-") && argument.contains(name))
    };
    if wanted("frames") {
        let mut relay = Relay::new();
        let (mut items, mut took) = (0, Duration::ZERO);
        for _ in 0..rounds {
            let (read, count) = relay.frames();
            let began = Instant::now();
            relay.receive(&read);
            took += began.elapsed();
            items += count;
        }
        report("single-item frames", took, items);
    }
    if wanted("requests") {
        let mut relay = Relay::new();
        let body = request();
        let began = Instant::now();
        for round in 0..rounds {
            let body = Bytes::copy_from_slice(&body); // What a receiver has read.
            relay.handle(Event::RequestReceived {
                request: DoorRequest(round),
                signal: Signal::Traces,
                items: 100,
                body,
            });
        }
        report("requests of 100", began.elapsed(), rounds * 100);
    }
}
