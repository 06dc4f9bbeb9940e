//! The driver with real shared memory: what is read when, and what a hostile or broken ring costs.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use lambda_flush_proto::ring::memory::SharedMemory;
use lambda_flush_proto::ring::{Words, Writer};
use lambda_flush_proto::wire::invocation_done::Status;
use lambda_flush_proto::wire::{Counters, InvocationStarted};
use lambda_flush_proto::{FunctionLink, LinkState, frame};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::super::rings::Rings;
use super::*;
use crate::core::Outcome;
use crate::core::links::{FUNCTION_DIED, Process};
use crate::core::phase::Phase;
use crate::receive::link::{self, Offer, SharedLink};

pub(super) const RING_BYTES: u64 = 2 << 20;
/// Where the writer's position stands in the header (see `lambda_flush_proto::ring`).
const COMMIT: usize = 8;
const HEADER: usize = lambda_flush_proto::limits::RING_HEADER_BYTES / 8;

/// The driver, and all that comes to it.
pub(super) struct Rig {
    pub(super) driver: Driver,
    inputs: Inputs,
    links: mpsc::Sender<LinkInput>,
    lifecycle: mpsc::Sender<Lifecycle>,
    _others: (mpsc::Sender<DoorInput>, mpsc::Sender<Platform>),
    opened: u64,
}

impl Rig {
    pub(super) async fn new() -> Self {
        let (lifecycle, events) = mpsc::channel(4);
        let (links, received) = mpsc::channel(64);
        let (doors_in, doors) = mpsc::channel(1);
        let (platform_in, platform) = mpsc::channel(1);
        let inputs = Inputs { lifecycle: events, links: received, doors, platform };
        let _others = (doors_in, platform_in);
        let config = FlushConfig { buffer_bytes_max: 16 << 20, export: true, ..config() };
        let mut rig = Self { driver: driver_with(config), inputs, links, lifecycle, _others, opened: 0 };
        rig.event(Event::Registered).await;
        rig
    }

    /// Something comes from the platform, and the driver turns once.
    async fn event(&mut self, event: Event) {
        self.lifecycle.send(Lifecycle { event, call_next: None }).await.unwrap();
        self.turn().await;
    }

    pub(super) async fn turn(&mut self) {
        let turned = tokio::time::timeout(Duration::from_secs(10), self.driver.turn(&mut self.inputs));
        turned.await.expect("something comes");
    }

    /// A function that offers these descriptors, up to the answer to its `Hello`.
    pub(super) async fn function(&mut self, ring_bytes: u64, descriptors: &[BorrowedFd<'_>]) -> Function {
        let (stream, ours) = UnixStream::pair().unwrap();
        self.opened += 1;
        tokio::spawn(link::run(LinkId(self.opened), ours, self.links.clone()));
        let mut link = FunctionLink::new(100 + self.opened);
        let hello = link.connect_offering(&Bytes::from_static(b"\x0a\x00"), "", ring_bytes).unwrap();
        send(&stream, &hello, descriptors);
        let mut function = Function { stream, link, ended: 0, written: 0 };
        while function.link.state() != LinkState::Open {
            tokio::select! {
                () = function.answered() => {}
                () = self.turn() => {}
            }
        }
        function
    }

    async fn with_ring(&mut self) -> (Function, Writer<SharedMemory>, SharedMemory) {
        let (memory, file) = SharedMemory::create(RING_BYTES).unwrap();
        let function = self.function(RING_BYTES, &[file.as_fd()]).await;
        assert_eq!(function.link.ring_bytes(), RING_BYTES);
        let other = SharedMemory::open(&file, RING_BYTES).unwrap();
        (function, Writer::new(memory, RING_BYTES).unwrap(), other)
    }

    pub(super) fn accepted(&self) -> u64 {
        self.driver.core.ledger().accepted
    }

    fn process(&self, number: u64) -> &Process {
        let processes = self.driver.core.processes();
        processes.iter().find(|process| process.nonce == 100 + number).unwrap()
    }
}

pub(super) struct Function {
    pub(super) stream: UnixStream,
    pub(super) link: FunctionLink,
    ended: u64,
    written: u64,
}

impl Function {
    async fn answered(&mut self) {
        let mut bytes = [0; 4096];
        let read = self.stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "the link was closed");
        self.link.receive(&bytes[..read]).unwrap();
    }

    pub(super) fn item(&mut self, bytes: usize) -> Vec<u8> {
        self.ended += 1;
        let frame = self.link.item(Signal::Traces, 0, &vec![7; bytes]).unwrap();
        assert!(self.link.may_write(&frame));
        self.link.wrote(&frame);
        frame.bytes.to_vec()
    }

    fn items(&mut self, ring: &mut Writer<SharedMemory>, count: u64) {
        for _ in 0..count {
            let frame = self.item(300);
            assert!(ring.write(&frame).unwrap(), "room");
            self.written += 1;
        }
        ring.publish(self.ended, self.written);
    }

    /// Whether the extension has hung up.
    pub(super) async fn hung_up(&mut self) -> bool {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(10), self.stream.read_to_end(&mut rest)).await;
        end.is_ok()
    }
}

pub(super) fn send(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
    assert_eq!(sent, bytes.len());
}

fn invoke(id: &str) -> Event {
    Event::Invoke { request_id: RequestId(id.into()), deadline: driver_deadline() }
}

fn shutdown() -> Event {
    Event::Shutdown { reason: "spindown".into(), deadline: driver_deadline() }
}

#[tokio::test]
async fn what_stands_in_the_ring_comes_before_invoke() {
    let mut rig = Rig::new().await;
    let (mut function, mut ring, _) = rig.with_ring().await;
    function.items(&mut ring, 500);
    let started = InvocationStarted { request_id: "r1".into(), ..InvocationStarted::default() };
    let done = function.link.invocation_done("r1", "", Status::Ok, Counters::default()).unwrap();
    for frame in [function.link.invocation_started(started).unwrap(), done] {
        assert!(ring.write(&frame).unwrap());
    }
    rig.event(invoke("r1")).await;
    assert_eq!(rig.accepted(), 500);
    let phase = rig.driver.core.phase();
    assert!(!matches!(phase, Phase::Invoking(_)), "it was over before INVOKE: {phase:?}");
}

#[tokio::test]
async fn what_stands_in_the_ring_goes_out_at_an_invoke_that_nobody_will_tell_the_end_of() {
    let mut rig = Rig::new().await;
    let (mut function, mut ring, _) = rig.with_ring().await;
    rig.event(invoke("r1")).await;
    while !rig.driver.parked() {
        rig.turn().await; // Until its link has missed its cue.
    }
    function.items(&mut ring, 500);
    rig.event(invoke("r2")).await;
    assert_eq!(rig.driver.exports.running(), 1, "it was there when INVOKE was judged");
}

#[tokio::test]
async fn what_stands_in_the_ring_comes_before_shutdown() {
    let mut rig = Rig::new().await;
    let (mut function, mut ring, _) = rig.with_ring().await;
    function.items(&mut ring, 500);
    rig.event(shutdown()).await;
    assert_eq!((rig.accepted(), rig.driver.core.phase().name()), (500, "ShuttingDown"));
    assert_eq!(rig.driver.exports.running(), 1, "it was there when what is held was closed");
}

#[tokio::test]
async fn what_was_written_since_is_not_left_behind_when_the_last_export_ends() {
    let mut rig = Rig::new().await;
    let (mut function, mut ring, _) = rig.with_ring().await;
    function.items(&mut ring, 500);
    rig.event(shutdown()).await;
    assert_eq!(rig.driver.exports.running(), 1);
    function.items(&mut ring, 3);
    // Nothing else happens until the link would count as drained.
    rig.driver.clock = rig.driver.clock.ahead(crate::limits::LINK_QUIET * 2);
    rig.driver.exports.answer(Outcome::Exported);
    tokio::task::yield_now().await;
    rig.turn().await;
    assert_eq!((rig.accepted(), rig.driver.core.phase().name()), (503, "ShuttingDown"));
    assert_eq!(rig.driver.core.ledger().exported, 500, "and what was done is not cancelled");
}

#[tokio::test]
async fn an_invocation_that_is_announced_in_the_ring_is_heard_of_though_an_export_ends_first() {
    let mut rig = Rig::new().await;
    let (function, mut ring, _) = rig.with_ring().await;
    rig.event(invoke("r1")).await;
    let started = InvocationStarted { request_id: "r1".into(), ..InvocationStarted::default() };
    assert!(ring.write(&function.link.invocation_started(started).unwrap()).unwrap());
    rig.driver.clock = rig.driver.clock.ahead(crate::limits::INVOCATION_STARTED_WAIT);
    rig.driver.exports.answer(Outcome::Exported);
    tokio::task::yield_now().await;
    rig.turn().await;
    assert_eq!(rig.driver.core.phase().name(), "Invoking");
}

#[tokio::test]
async fn after_a_kill_the_ring_is_read_and_the_rest_counted_to_the_item() {
    let mut rig = Rig::new().await;
    let (mut function, mut ring, memory) = rig.with_ring().await;
    function.items(&mut ring, 500);
    ring.publish_dropped(&[20, 3]);
    ring.publish(function.ended + 20 + 3 + 7, function.written);
    drop((function, ring));
    for _ in 0..20 {
        if rig.process(1).counters.ended == 0 {
            rig.turn().await;
        }
    }
    let process = rig.process(1);
    assert_eq!((process.accepted, process.counters.ended, process.unknown_tail), (500, 530, false));
    let dropped = &process.counters.dropped;
    assert_eq!((dropped["buffer_full"], dropped["too_large"], dropped[FUNCTION_DIED]), (20, 3, 7));
    drop(memory);
}

#[tokio::test]
async fn without_a_bell_it_is_read_at_the_next_look() {
    let mut rig = Rig::new().await;
    let (mut function, mut ring, _) = rig.with_ring().await;
    function.items(&mut ring, 5);
    rig.turn().await;
    assert_eq!(rig.accepted(), 5);
}

#[tokio::test]
async fn who_waits_for_room_is_told_and_may_go_on() {
    let mut rig = Rig::new().await;
    let (mut function, mut ring, _) = rig.with_ring().await;
    let frame = frame::item(1, Signal::Unspecified, 0, &[0; 100_000]).unwrap();
    let mut written = 0;
    while ring.write(&frame).unwrap() {
        written += 1;
    }
    assert!(written > 10 && ring.bell_due().unwrap());
    send(&function.stream, &frame::BELL, &[]);
    let mut bell = [1; 4];
    tokio::select! {
        read = function.stream.read_exact(&mut bell) => assert_eq!(read.unwrap(), 4),
        () = async { for _ in 0..10 { rig.turn().await } } => panic!("nobody rings"),
    }
    assert!(ring.write(&frame).unwrap(), "there is room again");
    assert_eq!((bell, rig.driver.link_faults), ([0; 4], 0));
}

/// Does something to a ring that a function's library never does.
type Harm = fn(&SharedMemory, &mut Writer<SharedMemory>);

#[tokio::test]
async fn a_broken_ring_closes_its_own_link_only() {
    let harms: [(&str, Harm); 8] = [
        ("ahead of its size", |memory, _| memory.words()[COMMIT].store(RING_BYTES + 8, SeqCst)),
        ("far ahead", |memory, _| memory.words()[COMMIT].store(u64::MAX - 7, SeqCst)),
        ("between words", |memory, _| memory.words()[COMMIT].store(12, SeqCst)),
        ("a frame of 4 GiB", |memory, _| {
            memory.words()[HEADER].store(u64::MAX, SeqCst);
            memory.words()[COMMIT].store(64, SeqCst);
        }),
        ("a frame beyond what is committed", |memory, _| {
            memory.words()[HEADER].store(100, SeqCst);
            memory.words()[COMMIT].store(64, SeqCst);
        }),
        ("garbage", |_, ring| assert!(ring.write(&[3, 0, 0, 0, 0xFF, 0xFF, 0xFF]).unwrap())),
        ("cut", |_, ring| {
            let half = frame::item(1, Signal::Traces, 0, &[0; 100]).unwrap();
            assert!(ring.write(&half[..50]).unwrap());
        }),
        ("back", |memory, ring| {
            assert!(ring.write(&frame::BELL).unwrap());
            memory.words()[COMMIT].store(0, SeqCst);
        }),
    ];
    for (name, harm) in harms {
        let mut rig = Rig::new().await;
        let (mut healthy, mut healthy_ring, _) = rig.with_ring().await;
        let (mut broken, mut ring, memory) = rig.with_ring().await;
        if name == "back" {
            assert!(ring.write(&frame::BELL).unwrap());
            rig.turn().await;
        }
        healthy.items(&mut healthy_ring, 3);
        harm(&memory, &mut ring);
        rig.turn().await;
        assert_eq!(rig.driver.link_faults, 1, "{name}: one line");
        assert!(broken.hung_up().await, "{name}");
        assert_eq!(rig.process(1).accepted, 3, "{name}");
        assert!(rig.process(2).unknown_tail, "{name}");
        healthy.items(&mut healthy_ring, 3);
        rig.event(shutdown()).await;
        assert_eq!((rig.process(1).accepted, rig.driver.link_faults), (6, 1), "{name}");
    }
}

#[tokio::test]
async fn who_ignores_its_credit_is_hung_up_on_and_the_budget_holds() {
    let mut rig = Rig::new().await;
    let (mut function, mut ring, _) = rig.with_ring().await;
    let mut seq = 0;
    while rig.driver.link_faults == 0 {
        seq += 1;
        assert!(seq < 1_000, "nobody minds");
        assert!(ring.write(&frame::item(seq, Signal::Traces, 0, &[0; 64 << 10]).unwrap()).unwrap());
        assert!(!rig.driver.drain());
        assert!(rig.driver.core.within_budget());
        tokio::task::yield_now().await; // To the link, which is told of its credit.
    }
    assert!(seq > 100 && rig.accepted() == seq - 1, "{seq}");
    assert!(function.hung_up().await);
}

#[tokio::test]
async fn whoever_writes_as_fast_as_it_is_read_holds_nobody() {
    let (memory, file) = SharedMemory::create(RING_BYTES).unwrap();
    let mut ring = Writer::new(memory, RING_BYTES).unwrap();
    let mut rings = Rings::default();
    let memory = SharedMemory::open(&file, RING_BYTES).unwrap();
    rings.offer(LinkId(1), Offer { memory, link: SharedLink::default() });
    rings.welcome(LinkId(1), RING_BYTES);
    let fill = |ring: &mut Writer<SharedMemory>| while ring.write(&frame::BELL).unwrap() {};
    fill(&mut ring);
    for _ in 0..2 {
        rings.begin();
        let mut lots = 0;
        while rings.next().is_some() {
            fill(&mut ring);
            lots += 1;
        }
        assert!(lots > 1 && lots <= RING_BYTES / crate::limits::LINK_READ_BYTES as u64, "{lots}");
        assert!(rings.unread(), "and nobody waits for a bell to go on");
    }
    rings.begin();
    while rings.next().is_some() {}
    rings.begin();
    while rings.next().is_some() {}
    assert!(!rings.unread());
}
