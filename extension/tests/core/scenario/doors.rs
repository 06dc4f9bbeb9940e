//! Whole OTLP requests at the doors: what is taken, what is refused, and when nothing more is waited for.

use lambda_flush_extension::core::{Action, Event, FlushConfig, Outcome, Strategy};
use lambda_flush_extension::limits::{
    BATCH_BYTES_MAX, DOOR_REQUEST_OVERHEAD_BYTES, DOOR_RETRY_AFTER_JITTER_MAX, DOOR_RETRY_AFTER_MIN,
};

use super::{Backend, Story, config, ms};

/// The smallest budget there is.
fn small() -> FlushConfig {
    FlushConfig { buffer_bytes_max: 4 << 20, ..config() }
}

fn bodies(story: &Story) -> Vec<bytes::Bytes> {
    let body = |(_, action): &(u64, Action)| match action {
        Action::Export { body, .. } => Some(body.clone()),
        _ => None,
    };
    story.driver.log.iter().filter_map(body).collect()
}

#[test]
fn requests_and_items_of_links_go_out_together() {
    let mut story = Story::usual();
    story.invoke("r1").started("r1").spans(3);
    assert!(story.request(5, 300));
    story.done("r1").run(100);
    assert_eq!((story.ledger().accepted, story.ledger().exported), (8, 8));
    assert_eq!(story.driver.core.door_items(), (5, 0));
    assert_eq!(bodies(&story).len(), 1, "in one request");
    story.eof(0).shutdown(2_000).run(2_000);
    story.accounted();
}

#[test]
fn a_request_is_taken_in_every_phase_before_the_end() {
    let mut story = Story { driver: crate::driver::Driver::new(config()), next_item: 1, next_link: 1 };
    assert!(story.request(1, 30), "before we are registered");
    story.driver.handle(Event::Registered);
    assert!(story.request(1, 30), "parked");
    assert!(story.exports().is_empty(), "and held");
    story.invoke("r1");
    assert!(story.request(1, 30), "settling");
    story.run(100).shutdown(2_000);
    assert!(story.request(1, 30), "shutting down");
    story.run(2_000);
    assert_eq!(story.ledger().exported, 4);
    story.accounted();
    assert!(!story.request(1, 30), "after the end");
    assert_eq!(story.driver.core.door_items(), (4, 1));
}

#[test]
fn what_does_not_fit_the_budget_is_refused_and_counted_apart() {
    let mut story = Story::new(small());
    story.driver.backend = Backend::Hangs;
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..200 {
        if story.request(10, 5_000) { taken += 10 } else { refused += 10 }
    }
    assert!((600..840).contains(&taken), "3.5 MiB of 4: {taken}");
    let after = story.driver.doors.retry_after.expect("refused");
    assert!((DOOR_RETRY_AFTER_MIN..=DOOR_RETRY_AFTER_MIN + DOOR_RETRY_AFTER_JITTER_MAX).contains(&after));
    assert_eq!(story.driver.core.door_items(), (taken, refused));
    assert_eq!(story.ledger().accepted, taken);
    story.shutdown(2_000).run(2_000);
    assert_eq!(story.ledger().dead_lettered, taken);
    story.accounted();
}

#[test]
fn refused_senders_are_not_told_the_same_time() {
    let mut story = Story::new(small());
    while story.request(1, 100_000) {}
    let mut times = std::collections::BTreeSet::new();
    for _ in 0..20 {
        story.request(1, 100_000);
        times.insert(story.driver.doors.retry_after);
    }
    assert!(times.len() > 10, "{times:?}");
}

#[test]
fn many_tiny_requests_do_not_pass_the_budget() {
    let mut story = Story::new(small());
    let mut taken: u64 = 0;
    while story.request(1, 8) {
        taken += 1;
    }
    assert!(taken < (4 << 20) / 256, "each takes more than its bytes: {taken}");
    let mut story = Story::new(small());
    for _ in 0..40_000 {
        story.driver.request(Vec::new(), 0); // Nothing in it, but it is bytes.
    }
    assert!(story.driver.doors.retry_after.is_some(), "ten megabytes with what each takes");
}

#[test]
fn a_single_request_is_not_copied_and_a_large_one_gets_a_batch_of_its_own() {
    let mut story = Story::new(config());
    let large = crate::doors::body(&[900], BATCH_BYTES_MAX);
    assert!(story.request(3, 300));
    let (request, signal) =
        (lambda_flush_extension::core::DoorRequest(77), lambda_flush_extension::core::Signal::Traces);
    story.driver.doors.waiting.insert(request, vec![900]);
    story.driver.handle(Event::RequestReceived { request, signal, items: 1, body: large.clone() });
    assert!(story.request(2, 300));
    story.backend(5, Outcome::Exported);
    story.shutdown(2_000).run(2_000);
    story.accounted();
    let bodies = bodies(&story);
    assert!(bodies.iter().any(|body| body.as_ptr() == large.as_ptr()), "it was copied");
    let small = bodies.iter().filter(|body| body.len() < 10_000).count();
    assert_eq!((bodies.len(), small), (2, 1), "the small ones together, the large one alone");
}

#[test]
fn idle_links_leave_something_to_the_doors() {
    let mut story = Story::new(small());
    for _ in 0..16 {
        story.function();
    }
    assert!(story.request(1, 400_000), "an eighth of the budget is the doors'");
}

#[test]
fn doors_leave_something_to_a_link_that_comes_later() {
    let mut story = Story::new(small());
    while story.request(1, 50_000) {}
    story.function();
    story.spans_of(0, 10, 1_000);
    assert_eq!(story.driver.functions[0].handed_off.len(), 10, "and its share is the links'");
}

#[test]
fn a_refused_request_makes_room_at_the_next_invoke() {
    for strategy in [Strategy::Shutdown, Strategy::End] {
        let mut story = Story::new(FlushConfig { strategy, ..small() });
        story.backend(10, Outcome::Exported);
        assert!(story.request(1, 1_500_000));
        assert!(!story.request(1, 2_600_000), "it does not fit beside the first");
        story.invoke("r1").run(200);
        assert_eq!(story.ledger().exported, 1, "{strategy:?}: less than half is held, but more is wanted");
        assert!(story.request(1, 2_600_000), "{strategy:?}");
    }
}

#[test]
fn a_request_larger_than_the_budget_presses_nothing() {
    let mut story = Story::with_function(FlushConfig { strategy: Strategy::Shutdown, ..small() });
    assert!(story.request(1, 1_000));
    assert!(!story.request(1, 5 << 20));
    story.invoke("r1").started("r1").run(500).done("r1").run(100);
    assert!(story.exports().is_empty());
}

#[test]
fn what_can_never_fit_is_told_so_and_what_may_is_asked_to_come_back() {
    let mut story = Story::new(small());
    assert_eq!(story.driver.core.room_at_doors(), Some((7 << 19) - DOOR_REQUEST_OVERHEAD_BYTES));
    assert!(!story.request(1, 4_000_000), "an eighth is the links'");
    assert_eq!(story.driver.doors.retry_after, None, "for ever");
    assert!(story.request(1, 3_000_000));
    assert!(!story.request(1, 3_000_000));
    assert!(story.driver.doors.retry_after.is_some(), "for now");
    assert!(story.driver.core.room_at_doors().is_some_and(|room| room < 1 << 20));
    story.shutdown(2_000).run(2_000);
    assert_eq!(story.driver.core.room_at_doors(), None);
    story.accounted();
}

#[test]
fn shutdown_waits_for_a_door_only_if_one_was_used() {
    let mut story = Story::new(config());
    story.shutdown(2_000);
    assert_eq!(story.exited_at(), Some(0));
    let mut story = Story::new(config());
    story.request(1, 300);
    story.backend(1, Outcome::Exported);
    story.run(100).shutdown(2_000).run(50);
    assert_eq!(story.exited_at(), Some(100 + 10), "ten quiet milliseconds after SHUTDOWN began");
    let mut story = Story::new(config());
    story.request(1, 300);
    story.backend(1, Outcome::Exported);
    story.shutdown(2_000);
    for _ in 0..20 {
        story.run(8);
        assert!(story.request(1, 300), "somebody is not done yet");
    }
    story.run(30);
    assert_eq!(story.exited_at(), Some(20 * 8 + 10 + 1), "the last one, quiet, and its round trip");
    story.accounted();
}

#[test]
fn a_sender_that_never_stops_is_refused_in_the_end() {
    let mut story = Story::new(config());
    story.driver.backend = Backend::Hangs;
    story.request(1, 300);
    story.shutdown(2_000);
    for _ in 0..2_100 {
        story.run(1).request(1, 300);
    }
    story.accounted();
    assert!(story.exited_at().is_some_and(|at| at < 2_000));
    let (accepted, refused) = story.driver.core.door_items();
    assert!(accepted > 1_500 && refused > 50, "{accepted} taken, {refused} refused");
    assert_eq!(story.ledger().dead_lettered, accepted);
}

#[test]
fn requests_while_a_handler_runs_are_settled_after_it() {
    let mut story = Story::new(config());
    story.platform(lambda_flush_extension::core::Platform::Subscribed);
    story.invoke("r1").run(10).start("r1");
    assert!(story.request(4, 300));
    story.run(20).runtime_done("r1", 25).run(100);
    assert_eq!(story.ledger().exported, 4, "the platform told the end");
    assert!(story.driver.rules.longest_hold <= ms(100));
    story.run(1_000);
    assert!(story.parked());
}
