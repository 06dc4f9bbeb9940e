//! SHUTDOWN with somebody who does not stop, a deadline that is near or past, a clock that is set.

use std::time::Duration;

use lambda_flush_extension::core::{Action, Event, FlushConfig, Outcome};

use super::{Backend, Story, config, ms};

/// A function that is still alive and writes without end.
fn writes_on(mut story: Story) -> Story {
    story.spans(5).shutdown(2_000);
    for _ in 0..2_100 {
        if story.driver.rules.exited {
            break;
        }
        story.run(1).spans(1);
    }
    assert!(story.exited_at().is_some_and(|at| at < 2_000), "{:?}", story.exited_at());
    let ledger = story.ledger();
    assert_eq!(ledger.taken(), ledger.settled());
    story
}

#[test]
fn a_function_that_never_stops_does_not_keep_the_process_alive() {
    let mut story = Story::usual();
    story.driver.backend = Backend::Hangs;
    let story = writes_on(story);
    assert!(story.ledger().dead_lettered > 1_500);
    assert!(story.driver.core.processes()[0].unknown_tail, "what it wrote after D - R is not known");
    assert_eq!(story.times(|action| matches!(action, Action::CloseLink(_))).len(), 1);
}

#[test]
fn nor_without_a_backend_or_with_a_healthy_one() {
    writes_on(Story::with_function(FlushConfig { export: false, ..config() }));
    writes_on(Story::with_function(FlushConfig { export: false, dead_letter: false, ..config() }));
    writes_on(Story::usual());
}

#[test]
fn a_slow_printer_and_a_function_that_never_stops() {
    let mut story = Story::usual();
    story.driver.backend = Backend::Hangs;
    story.driver.printer = crate::driver::Printer::Prints(ms(15));
    writes_on(story);
}

#[test]
fn a_child_that_holds_the_link_open_costs_the_quiet_time_only() {
    let mut story = Story::usual();
    let child = story.function();
    story.invocation("r1", 5, 3).run(100).eof(0).shutdown(2_000).run(15);
    assert!(story.driver.rules.exited, "the child is silent for 10 ms");
    assert!(story.driver.functions[child].open());
    assert!(!story.driver.core.processes()[1].unknown_tail, "it never wrote anything");
}

#[test]
fn a_link_that_is_alive_at_exit_without_final_counters_is_an_unknown_tail() {
    let mut story = Story::usual();
    story.spans(3).shutdown(2_000).run(200);
    story.accounted();
    assert!(story.driver.core.processes()[0].unknown_tail);
    let mut story = Story::usual();
    story.invocation("r1", 5, 3).run(100).shutdown(2_000).run(200);
    assert!(!story.driver.core.processes()[0].unknown_tail, "InvocationDone told everything");
}

#[test]
fn any_budget_down_to_nothing() {
    for budget in [0, 1, 2, 5, 10, 20, 49, 50, 51, 75, 100, 200, 500, 2_000, 60_000] {
        for spans in [0, 1, 3_000] {
            let mut story = Story::usual();
            story.driver.backend = Backend::Hangs;
            story.driver.printer = crate::driver::Printer::Prints(ms(budget / 20));
            story.spans(spans).shutdown(budget).run(budget);
            // P3 itself is checked by the rules as time passes.
            story.run(10);
            story.accounted();
        }
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_move_the_end() {
    let mut story = Story::usual();
    story.driver.backend = Backend::Hangs;
    story.spans(5).shutdown(2_000).run(200);
    story.driver.step_clock(true, ms(3_600_000));
    story.spans(5).run(1_800);
    story.accounted();
}

#[test]
fn a_clock_that_is_set_forward_ends_it_early() {
    let mut story = Story::usual();
    story.driver.backend = Backend::Hangs;
    story.spans(5).shutdown(2_000).run(200);
    story.driver.step_clock(false, ms(3_600_000));
    story.spans(5).run(100);
    story.accounted();
    assert_eq!(story.ledger().dead_lettered, 10);
}

#[test]
fn outcomes_and_messages_after_the_end_change_nothing() {
    let mut story = Story::usual();
    story.spans(5).shutdown(2_000).run(200);
    let ledger = story.ledger().clone();
    story.driver.reads_at_once = false;
    let link = lambda_flush_extension::core::LinkId(77);
    for event in [Event::Registered, Event::LinkOpened(link), Event::Wake] {
        story.driver.handle(event);
    }
    assert_eq!(*story.ledger(), ledger);
}

#[test]
fn torn_frames_and_goodbyes() {
    let mut story = Story::usual();
    story.spans(3);
    story.driver.functions[0].goodbye();
    story.eof(0);
    assert!(!story.driver.core.processes()[0].unknown_tail);
    let torn = story.function();
    story.driver.functions[torn].goodbye();
    story.driver.functions[torn].write(&[9, 0, 0, 0, 1]);
    story.eof(torn);
    assert!(story.driver.core.processes()[1].unknown_tail, "killed in the middle of a frame");
}

#[test]
fn goodbye_is_final_in_the_middle_of_an_invocation_too() {
    let mut story = Story::usual();
    story.invoke("r1").started("r1").spans(3);
    story.driver.functions[0].goodbye();
    story.eof(0);
    assert!(!story.driver.core.processes()[0].unknown_tail, "its counters cover everything");
}

#[test]
fn an_old_link_may_be_read_after_the_new_one() {
    let mut story = Story::usual();
    story.driver.reads_at_once = false;
    let first = lambda_flush_extension::core::LinkId(1);
    for id in 1..=3 {
        story.driver.functions[0].item(id, lambda_flush_proto::Signal::Traces, 100);
    }
    let second = story.connect(0);
    story.driver.read(0, second, usize::MAX);
    for id in 4..=6 {
        story.driver.functions[0].item(id, lambda_flush_proto::Signal::Traces, 100);
    }
    story.driver.read(0, second, usize::MAX);
    story.driver.read(0, first, usize::MAX);
    assert_eq!(story.ledger().accepted, 6, "six were handed off: {:?}", story.ledger());
    story.driver.reads_at_once = true;
    story.backend(5, Outcome::Exported);
    story.shutdown(2_000).run(Duration::from_secs(1).as_millis().try_into().unwrap());
    story.accounted();
}

#[test]
fn what_the_last_counters_called_buffered_may_come_after_them() {
    let mut story = Story::usual();
    story.invoke("r1").started("r1").spans(3);
    // Two items did not fit: the counters say so, and then they come all the same.
    story.driver.functions[0].done_with("r1", "1", 2);
    story.driver.read_all();
    story.run(200).spans(2).eof(0);
    assert!(!story.driver.core.processes()[0].unknown_tail, "all five are here");
    let mut story = Story::usual();
    story.invoke("r1").started("r1").spans(3);
    story.driver.functions[0].done_with("r1", "1", 2);
    story.driver.read_all();
    story.run(200).spans(1).eof(0);
    assert!(story.driver.core.processes()[0].unknown_tail, "one is missing");
}
