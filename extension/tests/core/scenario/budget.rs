//! Memory: what was granted is never refused, and all that is held and granted fits the budget.

use lambda_flush_extension::core::{FlushConfig, Outcome, Strategy};

use super::{Backend, Story, config, ms};

#[test]
fn three_hundred_thousand_items_against_a_hanging_backend() {
    let mut story = Story::usual();
    story.driver.backend = Backend::Hangs;
    let mut n = 0;
    for round in 0..300 {
        let id = format!("r{round}");
        story.invoke(&id).started(&id);
        for _ in 0..10 {
            // The rules check the budget after every step, the links that nothing is refused.
            story.spans_of(0, 100, 350);
            n += 100;
            // A full library drops; what it did not write was never ours.
            let full = story.driver.functions[0].buffered.len().saturating_sub(2_000);
            story.driver.functions[0].buffered.drain(..full);
        }
        story.run(3).done(&id).run(200);
        assert!(story.parked());
    }
    assert_eq!(n, 300_000);
    story.driver.functions[0].buffered.clear();
    story.eof(0).shutdown(2_000).run(2_000);
    story.accounted();
    assert!(story.ledger().dead_lettered > 30_000, "a full buffer is dead-lettered: {:?}", story.ledger());
}

#[test]
fn credit_comes_back_when_the_backend_takes_what_is_held() {
    let mut story = Story::with_function(FlushConfig { buffer_bytes_max: 4 << 20, ..config() });
    story.backend(10, Outcome::Exported);
    for round in 0..40 {
        let id = format!("r{round}");
        story.invoke(&id).started(&id).spans_of(0, 1_000, 350).done(&id).run(100);
    }
    assert!(story.driver.functions[0].buffered.is_empty(), "nothing waits for room");
    assert_eq!(story.ledger().exported, 40_000);
}

/// Fills the budget, then lets a few invocations pass: they have to relieve it.
fn relieved(mut story: Story, source: bool) {
    story.backend(10, Outcome::Exported);
    if !source {
        story.invoke("r").run(200); // The link misses its cue.
    }
    while story.driver.functions[0].buffered.is_empty() {
        story.spans_of(0, 10, 30_000);
    }
    for n in 0..3 {
        let id = format!("r{n}");
        story.invoke(&id);
        if source {
            story.run(1).started(&id).done(&id);
        }
        story.run(300);
        assert!(story.parked());
    }
    assert!(story.ledger().exported > 0, "nothing relieves the memory");
    assert!(story.driver.functions[0].buffered.is_empty(), "and the function may write again");
}

#[test]
fn memory_pressure_is_relieved_at_the_next_invoke() {
    relieved(Story::usual(), true);
    relieved(Story::with_function(FlushConfig { strategy: Strategy::Shutdown, ..config() }), true);
}

#[test]
fn memory_pressure_is_relieved_also_if_nobody_tells_when_an_invocation_ends() {
    relieved(Story::usual(), false);
    relieved(Story::with_function(FlushConfig { strategy: Strategy::Shutdown, ..config() }), false);
}

#[test]
fn idle_links_do_not_starve_a_busy_one() {
    let mut story = Story::usual();
    for _ in 0..6 {
        story.function();
    }
    story.backend(10, Outcome::Exported);
    let busy = story.driver.functions.len() - 1;
    assert!(story.driver.functions[busy].open());
    story.spans_of(busy, 50, 300);
    assert!(story.driver.functions[busy].buffered.is_empty(), "the seventh link has some credit");
    for n in 0..60 {
        let id = format!("r{n}");
        story.invoke(&id).started(&id).spans_of(busy, 100, 1_000).done(&id).run(100);
    }
    assert!(story.driver.functions[busy].buffered.is_empty(), "and gets more of it");
}

#[test]
fn links_that_reserve_the_budget_bring_the_pressure_forward() {
    let mut story = Story::with_function(FlushConfig { strategy: Strategy::Shutdown, ..config() });
    for _ in 0..3 {
        story.function();
    }
    story.backend(10, Outcome::Exported);
    story.spans_of(0, 300, 30_000);
    story.invoke("r1").started("r1").run(1_000).done("r1").run(100);
    assert!(story.driver.functions[0].buffered.is_empty(), "credit is short: what is held has to go out");
}

#[test]
fn dead_letters_in_hand_count_as_memory() {
    let mut story = Story::usual();
    story.driver.backend = Backend::Hangs;
    story.spans_of(0, 100, 30_000).shutdown(2_000).run(500);
    let outstanding_before = story.driver.functions[0].written;
    story.spans_of(0, 2_000, 30_000).run(1);
    assert!(story.driver.functions[0].written >= outstanding_before);
    assert!(!story.driver.functions[0].buffered.is_empty(), "the budget is full");
    story.driver.functions[0].buffered.clear();
    story.eof(0).run(2_000);
    story.accounted();
    assert!(story.exited_at().unwrap() < 2_000);
    assert!(story.driver.rules.longest_hold <= ms(100));
}
