//! SHUTDOWN in every phase: everything is exported or printed before the deadline.

use std::time::Duration;

use lambda_flush_extension::core::{Action, DropReason, Event, FlushConfig, Outcome, Strategy};

use super::{Backend, Story, config, ms, retry};
use crate::driver::{Driver, Printer};

fn written_at(story: &Story) -> Vec<u64> {
    story.times(|action| matches!(action, Action::WriteDeadLetters { .. }))
}

#[test]
fn as_the_very_first_event() {
    let mut driver = Driver::new(config());
    driver.shutdown(2_000);
    assert!(driver.rules.exited, "nothing is held, nobody is connected");
}

#[test]
fn as_the_first_event_with_a_function_that_has_been_at_work() {
    let mut story = Story { driver: Driver::new(config()), next_item: 1, next_link: 1 };
    story.function();
    story.spans(10).shutdown(2_000).run(2_000);
    assert_eq!(story.ledger().exported, 10);
    story.accounted();
}

#[test]
fn while_parked() {
    let mut story = Story::with_function(FlushConfig { strategy: Strategy::Shutdown, ..config() });
    story.invocation("r1", 5, 10).eof(0).shutdown(2_000).run(2_000);
    assert_eq!(story.exited_at(), Some(5 + 20), "one round trip after SHUTDOWN");
    story.accounted();
}

#[test]
fn while_invoking_settling_and_shutting_down() {
    let mut story = Story::usual();
    story.invoke("r1").started("r1").spans(5).shutdown(2_000).run(5).shutdown(9_000).run(100);
    story.accounted();
    let mut story = Story::usual();
    story.invocation("r1", 5, 5).shutdown(2_000).run(100);
    assert_eq!(story.exports().len(), 1, "the export in flight goes on");
    story.accounted();
}

#[test]
fn a_second_shutdown_does_not_move_the_deadline() {
    let mut story = Story::usual();
    story.driver.backend = Backend::Hangs;
    story.spans(5).shutdown(2_000).run(10).shutdown(60_000).run(2_000);
    story.accounted();
}

#[test]
fn a_quiet_link_is_drained_after_ten_milliseconds() {
    let mut story = Story::usual();
    story.shutdown(2_000).run(9);
    assert!(!story.driver.rules.exited);
    story.run(1);
    assert!(story.driver.rules.exited);
}

#[test]
fn eof_ends_the_wait_at_once() {
    let mut story = Story::usual();
    story.shutdown(2_000).run(3).eof(0);
    assert_eq!(story.exited_at(), Some(3));
}

#[test]
fn late_data_is_taken_while_draining() {
    let mut story = Story::usual();
    story.spans(5).shutdown(2_000);
    for _ in 0..8 {
        story.run(8).spans(3);
    }
    story.eof(0).run(2_000);
    assert_eq!(story.ledger().exported, 5 + 24);
    story.accounted();
}

#[test]
fn data_that_comes_while_exports_run_goes_out_too() {
    let mut story = Story::usual();
    story.backend(600, Outcome::Exported);
    story.spans(5).shutdown(2_000).run(500).spans(5).run(1_500);
    assert_eq!(story.ledger().exported, 10);
    story.accounted();
}

#[test]
fn a_hanging_backend_ends_in_dead_letters_before_the_deadline() {
    let mut story = Story::usual();
    story.driver.backend = Backend::Hangs;
    story.invocation("r1", 5, 100).run(100).shutdown(2_000).run(2_000);
    story.accounted();
    assert_eq!(story.ledger().dead_lettered, 100);
    assert_eq!(written_at(&story).len(), 1);
    let spare = 105 + 2_000 - written_at(&story)[0];
    assert!((100..300).contains(&spare), "R is {spare} ms");
}

#[test]
fn the_reserve_grows_with_what_is_held_on_a_slow_core() {
    let spare = |rate: u64, prepares: Option<Duration>| {
        let mut story = Story::with_function(FlushConfig { dead_letter_rate: rate, ..config() });
        story.driver.backend = Backend::Hangs;
        story.driver.prepares = prepares;
        story.spans_of(0, 1_000, 400).shutdown(2_000).run(2_000);
        story.accounted();
        2_000 - written_at(&story)[0]
    };
    assert!((100..150).contains(&spare(20 << 20, None)), "{}", spare(20 << 20, None));
    let slow = spare(1 << 20, None);
    assert!((450..650).contains(&slow), "asked for is not finished: {slow}");
    let prepared = spare(1 << 20, Some(ms(300)));
    assert!((100..170).contains(&prepared), "finished lines only have to be printed: {prepared}");
    let hopeless = spare(1 << 10, None);
    assert!((1_190..1_210).contains(&hopeless), "exports get their part of the time: {hopeless}");
}

#[test]
fn dead_letters_are_prepared_one_at_a_time() {
    let mut story = Story::usual();
    story.driver.backend = Backend::Hangs;
    story.driver.prepares = Some(ms(100));
    story.spans_of(0, 4_000, 400).shutdown(2_000).run(2_000);
    let at = story.times(|action| matches!(action, Action::PrepareDeadLetter(_)));
    assert_eq!(at, [400, 500, 600, 700], "from a fifth of the time on, with the loop free in between");
    story.accounted();
}

#[test]
fn a_retry_heals_during_shutdown() {
    let mut story = Story::usual();
    story.backend(5, retry(false));
    story.spans(10).shutdown(2_000).run(400);
    assert!(story.exports().len() > 2, "it goes on trying");
    story.backend(5, Outcome::Exported);
    story.run(1_600);
    assert_eq!(story.ledger().exported, 10);
    assert!(written_at(&story).is_empty());
    let forgotten = story.times(|action| matches!(action, Action::ForgetDeadLetter(_)));
    assert_eq!(forgotten.len(), 1, "its prepared lines are forgotten");
    story.accounted();
}

#[test]
fn backoff_from_before_does_not_count_at_shutdown() {
    let mut story = Story::usual();
    story.backend(1, Outcome::Retry { after: Some(ms(300_000)), maybe_sent: false, message: "429".into() });
    story.invocation("r1", 5, 2).run(100);
    story.backend(1, Outcome::Exported);
    story.shutdown(2_000).run(50);
    assert_eq!(story.ledger().exported, 2);
}

#[test]
fn without_dead_letters_the_rest_is_dropped_with_a_reason() {
    let mut story = Story::with_function(FlushConfig { dead_letter: false, ..config() });
    story.driver.backend = Backend::Hangs;
    story.spans(10).shutdown(2_000).run(2_000);
    assert_eq!(story.ledger().dropped.get(&DropReason::NoDeadLetter), Some(&10));
    assert!(written_at(&story).is_empty());
    story.accounted();
    let at = story.exited_at().unwrap();
    assert!((1_900..2_000).contains(&at), "the time is used for the export: {at}");
}

#[test]
fn without_a_backend_everything_is_printed() {
    let mut story = Story::with_function(FlushConfig { export: false, ..config() });
    story.invocation("r1", 500, 10);
    assert!(story.parked(), "nothing to wait for");
    story.eof(0).shutdown(2_000).run(2_000);
    assert_eq!(story.ledger().dead_lettered, 10);
    assert!(story.exited_at().unwrap() <= 500 + 20, "{:?}", story.exited_at());
    assert!(story.exports().is_empty());
    story.accounted();
}

#[test]
fn without_backend_and_dead_letters_it_still_counts() {
    let mut story = Story::with_function(FlushConfig { export: false, dead_letter: false, ..config() });
    story.spans(10).shutdown(2_000).run(2_000);
    assert_eq!(story.ledger().dropped.get(&DropReason::NoDeadLetter), Some(&10));
    story.accounted();
}

#[test]
fn a_printer_that_fails_is_counted() {
    let mut story = Story::usual();
    story.driver.backend = Backend::Hangs;
    story.driver.printer = Printer::Fails;
    story.spans(10).shutdown(2_000).run(2_000);
    assert_eq!(story.ledger().dropped.get(&DropReason::DeadLetterFailed), Some(&10));
    story.accounted();
}

#[test]
fn a_printer_that_forgets_a_batch_does_not_make_it_loop() {
    let mut story = Story::usual();
    story.driver.backend = Backend::Hangs;
    story.driver.printer = Printer::Hangs;
    story.spans(10).shutdown(2_000);
    while written_at(&story).is_empty() {
        story.run(1);
    }
    story.driver.handle(Event::DeadLettersWritten { written: Vec::new(), failed: Vec::new() });
    assert_eq!(written_at(&story).len(), 1, "what was not reported as written counts as failed");
    assert_eq!(story.ledger().dropped.get(&DropReason::DeadLetterFailed), Some(&10));
    assert!(story.driver.rules.exited);
}

#[test]
fn a_printer_that_hangs_does_not_keep_the_process_alive() {
    let mut story = Story::usual();
    story.driver.backend = Backend::Hangs;
    story.driver.printer = Printer::Hangs;
    story.spans(10).shutdown(2_000).run(2_000);
    assert_eq!(story.ledger().dropped.get(&DropReason::DeadLetterFailed), Some(&10));
    story.accounted();
}

#[test]
fn many_small_batches_are_few_requests_at_shutdown() {
    let mut story = Story::usual();
    story.backend(200, Outcome::Exported);
    for n in 0..200 {
        story.invocation(&format!("r{n}"), 5, 10).run(200);
    }
    let before = story.exports().len();
    story.eof(0).shutdown(1_400).run(1_400);
    assert_eq!(story.ledger().exported, 2_000, "a healthy backend gets all of it: {:?}", story.ledger());
    assert!(story.exports().len() - before <= 3, "the one that was cut, and the rest");
    story.accounted();
}

#[test]
fn the_most_valuable_goes_first() {
    let mut story = Story::with_function(FlushConfig { strategy: Strategy::Shutdown, ..config() });
    story.logs(3).spans(3).shutdown(2_000);
    let signals: Vec<_> = story
        .driver
        .log
        .iter()
        .filter_map(|(_, action)| match action {
            Action::Export { signal, .. } => Some(signal.name()),
            _ => None,
        })
        .collect();
    assert_eq!(signals, ["traces", "logs"]);
    story.run(2_000);
    story.accounted();
}
