//! The driver after a panic: invocations pass, and what was held has an account.

mod offers;
mod rings;

use std::time::Duration;

use lambda_flush_proto::wire::Hello;
use lambda_flush_proto::{Received, Signal, extension_link};
use tokio::sync::{mpsc, oneshot};

use super::{Driver, Inputs};
use crate::clock::Clock;
use crate::config::ExportConfig;
use crate::core::{
    Admission, DropReason, Event, FlushConfig, Flusher, LinkId, Platform, RequestId, Strategy,
};
use crate::export::Exporter;
use crate::lambda::lifecycle::Lifecycle;
use crate::output::Output;
use crate::receive::door::{DoorInput, Sign};
use crate::receive::link::LinkInput;

fn driver() -> Driver {
    driver_with(config())
}

fn driver_with(config: FlushConfig) -> Driver {
    let exporter = Exporter::new(ExportConfig::default());
    Driver::new(Clock::start(), Flusher::new(config), exporter, Output::default())
}

fn config() -> FlushConfig {
    FlushConfig {
        strategy: Strategy::End,
        billed_max: Duration::from_millis(100),
        export_timeout: Duration::from_secs(1),
        managed: false,
        buffer_bytes_max: 4 << 20,
        request_bytes_max: 512 << 10,
        export: false,
        dead_letter: true,
        dead_letter_rate: 1 << 20,
    }
}

/// A function that said hello and handed over one span.
fn one_span_held(driver: &mut Driver) {
    let link = LinkId(1);
    let item = extension_link::ReceivedItem {
        seq: 1,
        signal: Signal::Traces,
        content: extension_link::Content::Item { scope_id: 1 },
        bytes: b"\x0a\x00".as_slice().into(),
        items: 1,
        credit_bytes: 20,
    };
    let messages = vec![Received::Hello(Hello { process: 7, ..Hello::default() }), Received::Item(item)];
    for event in [Event::Registered, Event::LinkOpened(link), Event::LinkReceived(link, messages)] {
        driver.core.handle(driver.clock.now(), event);
    }
}

#[tokio::test]
async fn after_a_panic_invocations_pass_and_what_was_held_is_counted() {
    let mut driver = driver();
    one_span_held(&mut driver);
    let (held_back, released) = oneshot::channel();
    driver.call_next = Some(held_back);
    let (events, lifecycle) = mpsc::channel(1);
    let (_links, links) = mpsc::channel(1);
    let mut inputs = Inputs { lifecycle, links, doors: mpsc::channel(1).1, platform: mpsc::channel(1).1 };
    let platform = async {
        released.await.expect_err("the invocation of the panic is let go");
        let deadline = driver_deadline();
        for event in [
            Event::Invoke { request_id: RequestId("r2".into()), deadline },
            Event::Shutdown { reason: "spindown".into(), deadline },
        ] {
            let (call_next, passed) = oneshot::channel();
            events.send(Lifecycle { event, call_next: Some(call_next) }).await.expect("the driver listens");
            passed.await.expect_err("nothing is held back");
        }
    };
    tokio::join!(driver.limp("panic: injected", &mut inputs), platform);
    let ledger = driver.core.ledger();
    assert_eq!(ledger.accepted, 1);
    assert_eq!(ledger.dropped.get(&DropReason::Panic), Some(&1));
    assert!(driver.core.balances());
}

fn request(answer: oneshot::Sender<Admission>) -> DoorInput {
    DoorInput { signal: crate::core::Signal::Traces, items: 1, body: b"\x0a\x00".as_slice().into(), answer }
}

#[tokio::test]
async fn after_a_panic_the_doors_are_closed_and_who_waits_is_told() {
    let sign = Sign::default();
    let mut driver = driver().showing(sign.clone());
    let (events, lifecycle) = mpsc::channel(1);
    let (links_in, links) = mpsc::channel(1);
    let (doors_in, doors) = mpsc::channel(1);
    let (platform_in, platform) = mpsc::channel(1);
    let (before, told_before) = oneshot::channel();
    driver.door(request(before));
    let mut inputs = Inputs { lifecycle, links, doors, platform };
    let world = async {
        told_before.await.expect_err("nobody has it");
        for number in 0..4 {
            let (answer, told) = oneshot::channel();
            doors_in.send(request(answer)).await.expect("they are read");
            told.await.expect_err("at once");
            links_in.send(LinkInput::Received(LinkId(number), Vec::new())).await.expect("they are read");
            platform_in.send(Platform::Subscribed).await.expect("it is read");
        }
        assert_eq!(sign.room_bytes(), None);
        let event = Event::Shutdown { reason: "spindown".into(), deadline: driver_deadline() };
        events.send(Lifecycle { event, call_next: None }).await.expect("the driver listens");
    };
    let both = async { tokio::join!(driver.limp("panic: injected", &mut inputs), world) };
    tokio::time::timeout(Duration::from_secs(10), both).await.expect("nobody hangs");
}

#[tokio::test]
async fn what_its_sender_was_refused_is_not_taken_later() {
    let sign = Sign::default();
    let mut driver = driver().showing(sign.clone());
    driver.core.handle(driver.clock.now(), Event::Registered);
    let (events, lifecycle) = mpsc::channel(1);
    let (_links, links) = mpsc::channel(1);
    let (doors_in, doors) = mpsc::channel(2);
    let mut inputs = Inputs { lifecycle, links, doors, platform: mpsc::channel(1).1 };
    let (late, nobody) = oneshot::channel();
    drop(nobody);
    let (answer, admission) = oneshot::channel();
    for input in [request(late), request(answer)] {
        doors_in.send(input).await.expect("room");
    }
    let world = async {
        assert_eq!(admission.await, Ok(Admission::Accepted));
        assert!(sign.room_bytes().is_some_and(|room| room < 4 << 20), "{sign:?}");
        let event = Event::Shutdown { reason: "spindown".into(), deadline: driver_deadline() };
        events.send(Lifecycle { event, call_next: None }).await.expect("the driver listens");
    };
    tokio::join!(driver.run(&mut inputs), world);
    assert_eq!(driver.core.ledger().accepted, 1);
}

fn driver_deadline() -> Duration {
    Clock::start().now().wall + Duration::from_secs(2)
}
