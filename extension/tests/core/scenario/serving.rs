//! Managed instances: no INVOKE, no freeze, several invocations at a time.

use lambda_flush_extension::core::{Action, Event, FlushConfig, Outcome, Strategy};

use super::{Backend, Story, config, ms, retry};

fn managed() -> FlushConfig {
    FlushConfig { managed: true, ..config() }
}

#[test]
fn next_is_asked_for_once_and_only_shutdown_answers_it() {
    let mut story = Story::with_function(managed());
    assert_eq!(story.phase(), "Serving");
    story.driver.handle(Event::Registered);
    story.spans(5).run(10_000).shutdown(2_000).run(100);
    assert_eq!(story.times(|action| *action == Action::CallNext), [0]);
    story.accounted();
}

#[test]
fn what_was_gathered_for_a_second_goes_out() {
    let mut story = Story::with_function(managed());
    story.run(5_000).spans(3).run(600).spans(3).run(399);
    assert!(story.exports().is_empty(), "it is gathered");
    story.run(1);
    assert_eq!(story.exports(), [6_000], "a second after the first");
    story.run(10_000);
    assert_eq!(story.ledger().exported, 6);
    assert_eq!(story.exports().len(), 1, "and nothing goes out when nothing came");
    story.spans(1).run(1_000);
    assert_eq!(story.exports(), [6_000, 17_000]);
}

#[test]
fn a_full_batch_does_not_wait() {
    let mut story = Story::with_function(managed());
    story.spans_of(0, 20, 30_000);
    assert_eq!(story.exports(), [0], "the first half MiB");
    story.run(1_100);
    assert_eq!(story.ledger().exported, 20);
}

#[test]
fn failed_exports_are_repeated_and_none_is_cut() {
    let mut story = Story::with_function(managed());
    story.backend(300, retry(true));
    story.spans(5).run(5_000);
    assert!(story.exports().len() > 3, "by backoff");
    story.backend(300, Outcome::Exported);
    story.run(10_000);
    assert_eq!(story.ledger().exported, 5);
    assert_eq!(story.times(|action| matches!(action, Action::Cancel(_))).len(), 0);
    assert_eq!(story.ledger().possible_duplicates, 5);
}

#[test]
fn refused_batches_wait_for_shutdown() {
    let mut story = Story::with_function(managed());
    story.backend(1, Outcome::Refused { message: "401".into() });
    story.spans(5).run(60_000);
    assert_eq!(story.exports().len(), 1);
    story.eof(0).shutdown(2_000).run(2_000);
    assert_eq!(story.ledger().dead_lettered, 5);
    story.accounted();
}

#[test]
fn the_shutdown_strategy_exports_only_when_memory_is_short() {
    let mut story = Story::with_function(FlushConfig {
        strategy: Strategy::Shutdown,
        buffer_bytes_max: 4 << 20,
        ..managed()
    });
    story.spans(50).run(60_000);
    assert!(story.exports().is_empty());
    story.spans_of(0, 100, 30_000).run(1_000);
    assert!(!story.exports().is_empty());
    story.shutdown(2_000).run(2_000);
    story.accounted();
}

#[test]
fn an_invoke_that_can_not_be_is_passed_on() {
    for registered in [true, false] {
        let mut story = Story::with_function(managed());
        if !registered {
            story = Story { driver: crate::driver::Driver::new(managed()), next_item: 1, next_link: 1 };
            story.function();
            let (request_id, deadline) =
                (lambda_flush_extension::core::RequestId("r1".into()), story.driver.now().wall + ms(3_000));
            story.driver.rules = crate::rules::Rules::new(&managed());
            story.driver.handle(Event::Invoke { request_id, deadline });
        } else {
            story.invoke("r1");
        }
        assert!(story.parked(), "/next is asked for again");
        assert_eq!(story.phase(), "Serving");
        story.spans(1).run(2_000);
        assert_eq!(story.ledger().exported, 1);
    }
}

#[test]
fn eight_invocations_at_a_time_and_a_death_in_the_middle() {
    let mut story = Story::with_function(managed());
    for n in 0..8 {
        story.started(&format!("r{n}"));
    }
    story.spans(8);
    for n in 0..8 {
        story.done(&format!("r{n}"));
    }
    story.eof(0);
    assert!(!story.driver.core.processes()[0].unknown_tail, "all of them ended");
    let second = story.function();
    for n in 0..8 {
        story.driver.functions[second].started(&format!("r{n}"), "1");
    }
    for n in 1..8 {
        story.driver.functions[second].done(&format!("r{n}"), "1");
    }
    story.driver.read_all();
    story.eof(second);
    assert!(story.driver.core.processes()[1].unknown_tail, "one was still running");
    story.run(2_000).shutdown(2_000).run(100);
    story.accounted();
}

#[test]
fn concurrent_retries_of_one_request_are_told_apart() {
    let mut story = Story::with_function(managed());
    story.driver.functions[0].started("r1", "1");
    story.driver.functions[0].started("r1", "2");
    story.driver.functions[0].done("r1", "1");
    story.driver.read_all();
    story.eof(0);
    assert!(story.driver.core.processes()[0].unknown_tail, "the second attempt was still running");
}

#[test]
fn a_hanging_backend_and_many_requests() {
    let mut story = Story::new(FlushConfig { buffer_bytes_max: 4 << 20, ..managed() });
    story.driver.backend = Backend::Hangs;
    for _ in 0..600 {
        story.request(100, 350);
        story.run(100);
    }
    let (accepted, refused) = story.driver.core.door_items();
    assert!(accepted > 5_000 && refused > 10_000, "{accepted} taken, {refused} refused");
    story.shutdown(2_000).run(2_000);
    story.accounted();
}

#[test]
fn a_clock_that_is_set_back_neither_stops_the_timer_nor_cuts_shutdown_short() {
    let mut story = Story::with_function(managed());
    story.spans(1).run(500).driver.step_clock(true, ms(3_600_000));
    story.run(500);
    assert_eq!(story.exports(), [1_000]);
    story.driver.backend = Backend::Hangs;
    story.run(60_000).spans(1).shutdown(2_000).run(1_900);
    assert!(!story.driver.rules.exited, "the time is used");
    story.run(100);
    story.accounted();
}

#[test]
fn when_memory_is_short_nothing_is_gathered() {
    let mut story = Story::new(FlushConfig { buffer_bytes_max: 4 << 20, ..managed() });
    for _ in 0..16 {
        story.function();
    }
    story.spans(1);
    assert_eq!(story.exports(), [0], "the links have reserved what there is");
}
