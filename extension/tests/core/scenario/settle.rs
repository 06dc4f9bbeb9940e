//! Exports around invocations: the billed cap, retries, overlap.

use std::time::Duration;

use lambda_flush_extension::core::{Action, FlushConfig, Outcome, Strategy};

use super::{Backend, Story, config, ms, retry};

#[test]
fn an_export_is_cut_at_the_cap_and_not_repeated_in_billed_time() {
    for core_first in [false, true] {
        cut_once(core_first);
    }
}

/// The request's own timer and the cap's are due at the same time.
fn cut_once(core_first: bool) {
    let mut story = Story::usual();
    story.driver.core_first = core_first;
    story.driver.backend = Backend::Hangs;
    story.invocation("r1", 5, 3).run(1_000);
    assert_eq!(story.times(|action| matches!(action, Action::Cancel(_))).len(), usize::from(core_first));
    assert_eq!(story.driver.rules.longest_hold, ms(100));
    for n in 2..6 {
        story.invocation(&format!("r{n}"), 5, 3).run(100);
    }
    assert_eq!(story.exports().len(), 1, "one attempt, then the rest waits");
    assert_eq!(story.notices().iter().filter(|line| line.contains("MAX_BILLED")).count(), 1);
    story.backend(20, Outcome::Exported);
    story.shutdown(2_000).run(2_000);
    assert_eq!((story.ledger().exported, story.ledger().possible_duplicates), (15, 3));
    story.accounted();
}

#[test]
fn thirty_short_invocations_with_a_slow_backend() {
    for core_first in [false, true] {
        thirty_short_invocations(core_first);
    }
}

fn thirty_short_invocations(core_first: bool) {
    let mut story = Story::usual();
    story.driver.core_first = core_first;
    story.backend(200, Outcome::Exported);
    for n in 0..30 {
        story.invocation(&format!("r{n}"), 5, 10).run(200);
        assert!(story.parked());
        story.driver.freeze(ms(1_000));
    }
    assert!(story.driver.rules.longest_hold <= ms(100));
    story.eof(0).shutdown(2_000).run(2_000);
    story.accounted();
    assert_eq!(story.ledger().exported, 300);
    assert!(story.duplicates() <= 10, "at most one batch twice: {}", story.duplicates());
    assert_eq!(story.ledger().possible_duplicates, story.duplicates() as u64);
}

#[test]
fn over_hours_a_slow_backend_is_probed_seldom_and_with_little() {
    let mut story = Story::usual();
    story.backend(200, Outcome::Exported);
    for n in 0..1_000 {
        story.invocation(&format!("r{n}"), 5, 10).run(200);
        story.driver.freeze(ms(10_000));
    }
    story.eof(0).shutdown(2_000).run(2_000);
    story.accounted();
    assert_eq!(story.ledger().exported, 10_000);
    assert!(story.duplicates() <= 200, "{} in three hours", story.duplicates());
}

#[test]
fn the_first_export_is_a_probe_of_one_batch() {
    let mut story = Story::usual();
    story.driver.backend = Backend::Hangs;
    story.invoke("r1").started("r1").spans(3).logs(3).done("r1").run(200);
    assert_eq!(story.exports().len(), 1, "an unknown backend gets one batch to lose");
    story.backend(10, Outcome::Exported);
    let mut quick = Story::usual();
    quick.invoke("r1").started("r1").spans(3).logs(3).done("r1").run(100);
    assert_eq!(quick.exports(), [0, 20], "once it answered, the rest follows in the same invocation");
    assert_eq!(quick.ledger().exported, 6);
}

#[test]
fn the_probe_is_repeated_after_a_pause() {
    let mut story = Story::usual();
    story.driver.backend = Backend::Hangs;
    story.invocation("r1", 5, 1).run(1_000);
    story.driver.freeze(Duration::from_secs(61));
    story.backend(10, Outcome::Exported);
    story.invocation("r2", 5, 1).run(1_000);
    assert_eq!(story.ledger().exported, 1, "the new batch goes; the one that may have arrived waits");
    story.shutdown(2_000).run(500);
    story.accounted();
}

#[test]
fn a_long_handler_is_overlapped() {
    let mut story = Story::usual();
    story.backend(200, Outcome::Exported);
    story.invocation("r1", 5, 4).run(200);
    assert_eq!(story.ledger().exported, 0, "cut");
    story.invoke("r2").started("r2").run(1_000);
    assert_eq!(story.ledger().exported, 4, "free while the handler runs");
    let held = story.driver.rules.longest_hold;
    story.done("r2");
    assert!(story.parked());
    assert_eq!(story.driver.rules.longest_hold, held);
}

#[test]
fn an_overlapping_export_may_finish_within_the_cap() {
    let mut story = Story::usual();
    story.backend(200, Outcome::Exported);
    story.invocation("r1", 5, 4).run(200);
    story.invoke("r2").started("r2");
    while story.driver.flights.is_empty() {
        story.run(10);
    }
    story.run(150).done("r2");
    assert_eq!(story.phase(), "Settling");
    story.run(60);
    assert!(story.parked());
    assert_eq!(story.ledger().exported, 4);
    assert_eq!(story.duplicates(), 4, "only the first was cut");
}

#[test]
fn a_retry_fits_the_cap() {
    let mut story = Story::usual();
    story.backend(5, retry(false));
    story.invocation("r1", 5, 2).run(6);
    story.backend(5, Outcome::Exported);
    story.run(100);
    assert_eq!(story.exports().len(), 2);
    assert_eq!(story.ledger().exported, 2);
    assert_eq!(story.ledger().possible_duplicates, 0, "the backend said that it did not take it");
}

#[test]
fn an_outage_costs_at_most_the_cap() {
    let mut story = Story::usual();
    story.backend(1, retry(false));
    for n in 0..20 {
        story.invocation(&format!("r{n}"), 5, 2).run(150);
        assert!(story.parked());
    }
    assert!(story.driver.rules.longest_hold <= ms(100));
    story.shutdown(2_000).run(2_000);
    story.accounted();
    assert_eq!(story.ledger().dead_lettered, 40);
}

#[test]
fn retry_after_is_honoured_beyond_the_invocation() {
    let mut story = Story::usual();
    story.backend(1, Outcome::Retry { after: Some(ms(10_000)), maybe_sent: false, message: "429".into() });
    story.invocation("r1", 5, 2).run(100);
    assert!(story.parked());
    story.backend(1, Outcome::Exported);
    story.invocation("r2", 5, 1).run(100);
    assert_eq!(story.exports().len(), 2, "the throttled batch waits, the new one goes");
    story.run(10_000).invocation("r3", 5, 0).run(100);
    assert_eq!(story.ledger().exported, 3);
}

#[test]
fn refused_batches_wait_for_shutdown_and_are_tried_once_more() {
    let mut story = Story::usual();
    story.backend(1, Outcome::Refused { message: "401".into() });
    story.invocation("r1", 5, 2).run(100).invocation("r2", 5, 2).run(100);
    assert_eq!(story.exports().len(), 2, "each batch once");
    story.shutdown(2_000).run(2_000);
    assert_eq!(story.exports().len(), 3, "at SHUTDOWN once more, in one request");
    assert_eq!(story.ledger().dead_lettered, 4);
    assert!(story.exited_at().unwrap() < 400, "no reason to wait: {:?}", story.exited_at());
    story.accounted();
}

#[test]
fn rejected_and_partial_are_counted_and_never_repeated() {
    let mut story = Story::usual();
    story.backend(1, Outcome::Rejected { message: "400".into() });
    story.invocation("r1", 5, 2).run(100);
    story.backend(1, Outcome::Partial { rejected: 3, message: "too old".into() });
    story.invocation("r2", 5, 10).run(100);
    story.backend(1, Outcome::Partial { rejected: 99, message: "lies".into() });
    story.invocation("r3", 5, 4).run(100);
    assert_eq!((story.ledger().exported, story.ledger().rejected), (7, 2 + 3 + 4));
    assert_eq!(story.exports().len(), 3);
    story.shutdown(2_000).run(100);
    story.accounted();
}

#[test]
fn the_shutdown_strategy_exports_at_shutdown_only() {
    let mut story = Story::with_function(FlushConfig { strategy: Strategy::Shutdown, ..config() });
    for n in 0..5 {
        story.invocation(&format!("r{n}"), 500, 10);
        assert!(story.parked(), "never held");
    }
    assert!(story.exports().is_empty());
    story.shutdown(2_000).run(500);
    assert_eq!(story.ledger().exported, 50);
    story.accounted();
}

#[test]
fn a_cap_of_zero_never_holds() {
    let mut story = Story::with_function(FlushConfig { billed_max: Duration::ZERO, ..config() });
    story.invocation("r1", 5, 1);
    assert!(story.parked());
    story.invoke("r2").spans(1);
    assert!(story.parked(), "nor does it wait for an announcement");
    story.shutdown(2_000).run(500);
    story.accounted();
}

#[test]
fn an_unannounced_invocation_is_held_no_longer_than_the_cap_in_all() {
    let config = FlushConfig { buffer_bytes_max: 4 << 20, ..config() };
    let mut story = Story::with_function(config);
    story.driver.backend = Backend::Hangs;
    // Memory is short, so an export overlaps the wait for an announcement that never comes.
    while story.driver.functions[0].buffered.is_empty() {
        story.spans_of(0, 10, 30_000);
    }
    story.invoke("r1").run(1_000);
    assert!(!story.exports().is_empty() && story.parked());
    assert!(story.driver.rules.longest_hold <= ms(100));
}
