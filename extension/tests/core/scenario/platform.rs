//! The Telemetry API as a source of an invocation's end: what it is believed, and what that may cost.

use lambda_flush_extension::core::{Action, Outcome, Platform, RequestId, Strategy};

use super::{FlushConfig, Story, config, ms, runtime_done};

fn last_call(story: &Story) -> u64 {
    story.times(|action| *action == Action::CallNext).last().copied().expect("called")
}

/// Subscribed, with a function that has no library.
fn stock() -> Story {
    let mut story = Story::new(config());
    story.platform(Platform::Subscribed);
    story
}

/// The platform tells the end of an invocation that takes `took` after so much more.
fn told(story: &mut Story, id: &str, took: u64, late: u64) {
    story.invoke(id).run(25).start(id).run(took + late - 25).runtime_done(id, took);
}

#[test]
fn a_report_releases_and_what_came_meanwhile_is_exported() {
    let mut story = stock();
    story.invoke("r1").run(25).start("r1");
    story.request(3, 300);
    story.run(15).runtime_done("r1", 15);
    assert_eq!(story.phase(), "Settling");
    story.run(100);
    assert_eq!((last_call(&story), story.ledger().exported), (60, 3));
}

#[test]
fn not_subscribed_means_not_waited_for_and_not_listened_to() {
    let mut story = Story::new(config());
    story.invoke("r1");
    assert!(story.parked());
    story.start("r1").runtime_done("r1", 1).start("r2").invoke("r2");
    assert!(story.parked());
}

#[test]
fn a_silent_source_costs_one_wait() {
    let mut story = stock();
    story.invoke("r1").run(1_000);
    assert_eq!(last_call(&story), 100);
    for n in 2..10 {
        story.invoke(&format!("r{n}"));
        assert!(story.parked(), "not waited for again");
        story.run(1_000);
    }
}

#[test]
fn a_start_in_time_brings_the_trust_back_even_while_parked() {
    let mut story = stock();
    story.invoke("r1").run(1_000).invoke("r2");
    assert!(story.parked());
    story.run(30).start("r2").run(1_000).invoke("r3");
    assert!(!story.parked(), "the function was still running, and so were we");
    story.run(1_000).invoke("r4").run(400).start("r4").invoke("r5");
    assert!(story.parked(), "400 ms is late");
}

#[test]
fn a_long_invocation_is_not_held_before_it_is_proven_that_its_end_is_reported() {
    let mut story = stock();
    story.invoke("r1").run(25).start("r1").run(2_000);
    assert_eq!(last_call(&story), 100);
    // Frozen when the function ended; the record comes with the next thaw.
    story.driver.freeze(ms(60_000));
    story.invoke("r2").run(20).runtime_done("r1", 1_980).start("r2").run(1_000);
    assert!(!story.parked(), "now it is");
    story.request(2, 300);
    story.run(900).runtime_done("r2", 1_900).run(100);
    assert_eq!((last_call(&story), story.ledger().exported), (2_025 + 1_920 + 20, 2));
}

#[test]
fn a_report_that_never_comes_costs_no_more_than_is_known_to_be_usual() {
    let mut story = stock();
    told(&mut story, "r1", 50, 20);
    story.run(1_000);
    let began = story.clock();
    story.invoke("r2").run(25).start("r2").run(30_000);
    assert_eq!(last_call(&story) - began, 50 + 100, "the longest recent invocation and the cap");
    let began = story.clock();
    story.invoke("r3").run(25).start("r3").run(3_000);
    assert_eq!(last_call(&story) - began, 100, "not proven any more");
}

#[test]
fn starts_without_ends_are_not_held_for_for_ever() {
    let mut story = stock();
    for n in 0..10 {
        let began = story.clock();
        story.invoke(&format!("r{n}")).run(25).start(&format!("r{n}")).run(1_000);
        let wanted = if n < 3 { 100 } else { 25 };
        assert_eq!(last_call(&story) - began, wanted, "invocation {n}");
    }
}

#[test]
fn a_late_report_is_told_from_a_long_invocation() {
    let mut story = stock();
    told(&mut story, "r1", 2_000, 20); // Released after 100 ms, reported 1.9 s later: nothing against it.
    story.run(100);
    told(&mut story, "r2", 10, 3_000); // Held for 2.1 s, which it was not worth.
    story.run(100);
    assert!(story.parked());
    let calls = |story: &Story| story.times(|action| *action == Action::CallNext).len();
    for n in 3..6 {
        let (id, began) = (format!("r{n}"), story.clock());
        let before = calls(&story);
        story.invoke(&id).run(25).start(&id).run(2_000);
        assert_eq!((last_call(&story) - began, calls(&story) - before), (100, 1));
        story.runtime_done(&id, 2_000).run(100);
    }
    told(&mut story, "r7", 40, 20);
    assert_eq!(story.phase(), "Parked", "nothing is held any more: it was not right too often");
}

#[test]
fn a_source_without_durations_is_never_held_for_beyond_the_cap() {
    let mut story = stock();
    for n in 0..5 {
        let (id, began) = (format!("r{n}"), story.clock());
        story.invoke(&id).run(25).start(&id).run(30).platform(runtime_done(&id, None)).run(200);
        assert_eq!(last_call(&story) - began, 55);
        let (id, began) = (format!("s{n}"), story.clock());
        story.invoke(&id).run(25).start(&id).run(500);
        assert_eq!(last_call(&story) - began, 100);
        story.platform(runtime_done(&id, None));
    }
}

#[test]
fn a_report_may_come_before_invoke_and_a_late_one_ends_nothing_else() {
    let mut story = stock();
    told(&mut story, "r1", 30, 20);
    story.run(200).start("r2").runtime_done("r2", 3).invoke("r2");
    assert!(story.parked(), "remembered");
    story.run(100).invoke("r3").run(25).start("r3").run(1_000); // Given up.
    assert!(story.parked());
    story.invoke("r3").run(10).runtime_done("r3", 990); // A retry, and the report of its first attempt.
    assert!(!story.parked(), "the retry is only beginning");
    story.start("r3").run(30).runtime_done("r3", 35);
    assert!(story.parked());
    story.invoke("r4").runtime_done("r1", 30).runtime_done("r3", 35);
    assert!(!story.parked(), "a report that comes twice ends nothing");
}

#[test]
fn a_repeated_report_does_not_end_the_retry_of_its_invocation() {
    let mut story = stock();
    told(&mut story, "r1", 30, 20);
    story.run(200).runtime_done("r1", 30).run(10); // The platform did not see our answer, and says it again.
    let began = story.clock();
    story.invoke("r1").runtime_done("r1", 30);
    assert!(!story.parked(), "the retry is only beginning");
    story.run(25).start("r1").run(15).runtime_done("r1", 38);
    assert_eq!(last_call(&story) - began, 40);
    story.run(100).runtime_done("r1", 38).start("r1").runtime_done("r1", 5).invoke("r1");
    assert!(story.parked(), "after a start it is news");
}

#[test]
fn nobody_is_believed_to_have_run_for_longer_than_since_invoke() {
    let mut story = stock();
    story.invoke("r1").run(25).start("r1").run(15).runtime_done("r1", 800_000).run(100);
    let began = story.clock();
    story.invoke("r2").run(25).start("r2").run(5_000);
    assert_eq!(last_call(&story) - began, 100 + 40, "the cap, and what r1 can have taken");
}

#[test]
fn the_report_of_a_retry_that_was_announced_is_its_own() {
    let mut story = stock();
    story.invoke("r1").run(1_000).invoke("r1").run(20).start("r1").run(20).runtime_done("r1", 35);
    assert!(story.parked(), "the first attempt's is lost, and does not take the second one's place");
    assert_eq!(last_call(&story), 1_000, "which was not waited for after a start that did not come");
    let mut story = stock();
    told(&mut story, "r1", 30, 20);
    story.run(200).invoke("r2").run(25).start("r2").run(2_000); // Its report is lost.
    let began = story.clock();
    story.invoke("r2").run(25).start("r2").run(15).runtime_done("r2", 38);
    assert_eq!(last_call(&story) - began, 40);
}

#[test]
fn with_a_library_the_first_word_counts() {
    let with_library = || {
        let mut story = Story::usual();
        story.platform(Platform::Subscribed);
        story
    };
    let mut story = with_library();
    story.invoke("r1").started("r1").run(25).start("r1").run(25).spans(2).done("r1").run(100);
    assert_eq!(last_call(&story), 70, "the library's");
    story.runtime_done("r1", 50).invoke("r1").run(1).started("r1");
    assert!(!story.parked(), "the platform's word of the first attempt ended no retry");
    story.run(20).start("r1").run(10).runtime_done("r1", 30);
    assert!(story.parked(), "the platform's");
    story.done("r1").invoke("r1").run(1).started("r1");
    assert!(!story.parked(), "and the library's late one ended no retry");
    story.run(10).eof(0);
    assert!(story.parked(), "EOF");
    let mut story = with_library();
    story.invoke("r2").started("r2").run(25).start("r2").run(10_000);
    assert_eq!(last_call(&story), 2_900, "the deadline");
}

#[test]
fn held_items_go_out_at_invoke_when_nobody_tells_the_end() {
    let mut story = Story::new(config());
    story.request(3, 300);
    story.run(500);
    assert!(story.exports().is_empty(), "parked");
    story.invoke("r1");
    assert_eq!(story.exports(), [500]);
    story.run(100);
    assert_eq!(last_call(&story), 520, "as soon as it is delivered");
    story.invoke("r2");
    assert_eq!(last_call(&story), 600, "nothing is held, nothing to wait for");
    story.request(2, 300);
    story.run(100);
    assert_eq!(story.ledger().exported, 3);
}

#[test]
fn at_invoke_only_what_fits_and_was_not_sent_before() {
    let mut story = Story::new(config());
    story.driver.backend = super::Backend::Hangs;
    story.request(3, 300);
    story.invoke("r1").run(1_000);
    assert_eq!((last_call(&story), story.exports().len()), (100, 1), "cut by the cap");
    for n in 2..6 {
        story.request(1, 300);
        story.run(70_000).invoke(&format!("r{n}")).run(1_000);
    }
    assert_eq!(story.driver.rules.longest_hold, ms(100));
    let mut sent_twice = story.driver.seen.sent.values().filter(|times| **times > 1);
    assert!(sent_twice.next().is_none(), "what may have arrived is not sent again in billed time");
    story.backend(5, Outcome::Exported);
    story.shutdown(2_000).run(2_000);
    story.accounted();
    let mut story = Story::new(FlushConfig { strategy: Strategy::Shutdown, ..config() });
    story.request(3, 300);
    story.invoke("r1");
    assert!(story.parked() && story.exports().is_empty(), "the strategy says at SHUTDOWN");
}

#[test]
fn the_last_invocation_that_failed_is_the_cause() {
    let mut story = stock();
    let failed = |id: &str| Platform::InvocationDone {
        request_id: RequestId(id.to_owned()),
        status: "timeout".to_owned(),
        error_type: Some("Sandbox.Timedout".to_owned()),
        took: None,
    };
    assert_eq!(story.driver.core.cause(), None);
    story.platform(failed("r1")).platform(runtime_done("r2", None));
    assert_eq!(story.driver.core.cause(), None, "the environment lived on");
    story.platform(failed("r3")).shutdown(2_000).run(100);
    let line = lambda_flush_extension::summary::line(&story.driver.core, "timeout", 7);
    let cause = r#""cause":{"request_id":"r3","status":"timeout","error_type":"Sandbox.Timedout"}"#;
    assert!(line.contains(cause), "{line}");
    assert!(line.contains(r#""doors":{"accepted":0,"refused":0}"#), "{line}");
    assert!(!lambda_flush_extension::summary::line(&stock().driver.core, "spindown", 7).contains("cause"));
}
