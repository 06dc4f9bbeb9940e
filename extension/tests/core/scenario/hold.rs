//! When `/next` is held back, and for whom.

use lambda_flush_extension::core::Action;

use super::{Story, config, ms};

fn calls(story: &Story) -> Vec<u64> {
    story.times(|action| *action == Action::CallNext)
}

#[test]
fn an_ordinary_invocation_is_exported_after_the_response() {
    let mut story = Story::usual();
    story.invocation("r1", 30, 5);
    assert_eq!(story.phase(), "Settling");
    story.run(100);
    assert!(story.parked());
    assert_eq!(story.ledger().exported, 5);
    assert_eq!(calls(&story), [0, 50], "the handler's 30 ms and the backend's 20");
}

#[test]
fn nothing_to_export_is_no_reason_to_hold_next() {
    let mut story = Story::usual();
    story.invocation("r1", 30, 0);
    assert!(story.parked());
}

#[test]
fn done_may_come_before_invoke() {
    let mut story = Story::usual();
    story.started("r1").spans(3).done("r1");
    assert!(story.parked() && story.exports().is_empty(), "parked: nothing may be in flight");
    story.run(3).invoke("r1");
    assert_eq!(story.exports(), [3], "the finished invocation is remembered");
    story.run(20);
    assert!(story.parked());
    story.invoke("r1");
    assert!(!story.parked(), "and consumed: a retry with the same id is waited for");
}

#[test]
fn the_last_sixteen_finished_invocations_are_remembered() {
    let mut story = Story::usual();
    for n in 0..17 {
        story.started(&format!("r{n}")).done(&format!("r{n}"));
    }
    story.invoke("r1");
    assert!(story.parked(), "the second oldest is known");
    story.invoke("r0");
    assert!(!story.parked(), "the oldest is not");
}

#[test]
fn no_source_no_hold() {
    let mut story = Story::new(config());
    story.invoke("r1");
    assert!(story.parked());
    assert_eq!(calls(&story), [0, 0]);
}

#[test]
fn a_late_start_is_waited_for_then_not_any_more() {
    let mut story = Story::usual();
    story.invoke("r1").run(99);
    assert!(!story.parked(), "a live link may announce for 100 ms");
    story.started("r1").run(1_000);
    assert!(!story.parked(), "announced: waited for");
    story.done("r1");
    assert!(story.parked());
}

#[test]
fn a_source_that_missed_is_not_waited_for_until_it_is_timely_again() {
    let mut story = Story::usual();
    story.invoke("r1").run(100);
    assert!(story.parked(), "no announcement in time");
    story.invoke("r2");
    assert!(story.parked(), "not waited for a second time");
    story.started("r2").done("r2").invoke("r3");
    assert!(!story.parked(), "it kept its word: waited for again");
    story.started("r3").done("r3");
    assert!(story.parked());
}

#[test]
fn a_source_that_announces_but_never_ends_costs_one_invocation() {
    let mut story = Story::usual();
    story.invoke("r1").started("r1").run(3_000);
    assert_eq!(calls(&story).last(), Some(&2_900), "held until the deadline's margin");
    story.invoke("r2").started("r2").run(3_000);
    assert_eq!(calls(&story).last(), Some(&3_000), "not waited for although it announces");
    story.started("r3").invoke("r3");
    assert!(story.parked(), "nor if it announces before INVOKE comes");
}

#[test]
fn a_late_end_of_an_invocation_that_never_announced_is_no_early_end_of_its_retry() {
    let mut story = Story::usual();
    story.invoke("r1").run(100);
    assert!(story.parked());
    story.run(50).started("r1").done("r1");
    story.invoke("r1").started("r1");
    assert!(!story.parked(), "the retry has the same request id and is only beginning");
    story.run(10).done("r1");
    assert!(story.parked());
}

#[test]
fn a_function_does_one_thing_after_the_other() {
    let mut story = Story::usual();
    story.started("r1").started("r2").invoke("r1").run(3_000);
    assert_eq!(calls(&story).last(), Some(&100), "the second announcement took the first one's place");
}

#[test]
fn eof_releases() {
    let mut story = Story::usual();
    story.invoke("r1").started("r1").run(40).spans(7).eof(0);
    assert!(story.parked());
    assert!(story.exports().is_empty(), "a SHUTDOWN may be waiting: nothing new begins");
    assert_eq!(calls(&story).last(), Some(&40));
}

#[test]
fn the_deadline_releases_with_a_margin() {
    let mut story = Story::usual();
    story.driver.invoke("r1", 10_000);
    story.started("r1").run(9_899);
    assert!(!story.parked());
    story.run(1);
    assert!(story.parked(), "100 ms before the deadline");
    story.done("r1");
    story.driver.invoke("r2", 500);
    story.started("r2").run(449);
    assert!(!story.parked(), "the margin of a short timeout is a tenth of it");
    story.run(1);
    assert!(story.parked());
}

#[test]
fn a_deadline_in_the_past_does_not_hold() {
    let mut story = Story::usual();
    story.driver.invoke("r1", 0);
    assert!(story.parked());
}

#[test]
fn one_of_two_links_ends_and_the_other_is_waited_for() {
    let mut story = Story::usual();
    let child = story.function();
    story.invoke("r1").started("r1").run(10).eof(child);
    assert!(!story.parked());
    story.done("r1");
    assert!(story.parked());
}

#[test]
fn a_thaw_resets_the_connections_before_the_first_export() {
    let mut story = Story::usual();
    story.invocation("r1", 5, 1).run(100);
    story.driver.freeze(ms(1_900));
    story.invoke("r2");
    let resets = |story: &Story| story.times(|action| *action == Action::ResetConnections).len();
    assert_eq!(resets(&story), 0, "two seconds are no thaw");
    story.started("r2").spans(1).done("r2").run(100);
    story.driver.freeze(ms(3_600_000));
    story.invocation("r3", 5, 1).run(100);
    assert_eq!(resets(&story), 1);
    let order: Vec<&Action> = story.driver.log.iter().map(|(_, action)| action).collect();
    let reset = order.iter().position(|action| **action == Action::ResetConnections);
    let export = order.iter().rposition(|action| matches!(action, Action::Export { .. }));
    assert!(reset < export);
    story.driver.freeze(ms(3_600_000));
    story.shutdown(2_000).run(100);
    assert_eq!(resets(&story), 2, "SHUTDOWN may be what thaws");
    story.accounted();
}

#[test]
fn a_clock_that_is_set_back_does_not_hold_next() {
    let mut story = Story::usual();
    story.driver.backend = super::Backend::Silent; // Only the core's own timer can end it.
    story.invocation("r1", 5, 1).run(10);
    story.driver.step_clock(true, ms(3_600_000));
    story.logs(1).run(90);
    assert!(story.parked(), "the cap is time that passes, not time on the wall");
}

#[test]
fn a_clock_that_is_set_forward_in_an_export_does_not_make_the_backend_slow() {
    let mut story = Story::usual();
    story.invocation("r1", 5, 1).run(100).invocation("r2", 5, 1);
    story.run(1).driver.step_clock(false, ms(3_600_000));
    story.driver.functions[0].item(900, lambda_flush_proto::Signal::Traces, 100);
    story.run(100);
    for n in 3..6 {
        story.invocation(&format!("r{n}"), 5, 1).run(100);
    }
    assert!(story.ledger().exported >= 5, "{:?}", story.ledger());
}
