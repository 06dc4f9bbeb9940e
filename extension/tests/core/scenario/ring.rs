//! Functions with a ring: what is known of them when they die, and what their memory takes of the budget.

use lambda_flush_extension::core::links::{FUNCTION_DIED, Process};
use lambda_flush_extension::core::{Action, Event, FlushConfig, LinkId, Outcome, Reply};
use lambda_flush_proto::Counters;
use lambda_flush_proto::limits::RING_BYTES_MAX;

use super::{Backend, Function, Story, config};

fn story(config: FlushConfig) -> Story {
    let mut story = Story::new(config);
    function(&mut story);
    story
}

/// Another one that offers all it may.
fn function(story: &mut Story) -> usize {
    let index = story.driver.functions.len();
    story.driver.functions.push(Function { offers: RING_BYTES_MAX, ..Function::new(100 + index as u64) });
    story.connect(index);
    story.driver.read_all();
    index
}

fn rings(story: &Story) -> Vec<u64> {
    let ring = |(_, action): &'_ (u64, Action)| match action {
        Action::Reply(_, Reply::Welcome { ring_bytes, .. }) => Some(*ring_bytes),
        _ => None,
    };
    story.driver.log.iter().filter_map(ring).collect()
}

fn process(story: &Story) -> &Process {
    story.driver.core.processes().first().expect("it said hello")
}

/// The first link's: its window of credit, less the least grant.
const RING: u64 = (4 << 20) - (16 << 10);

#[test]
fn what_a_killed_function_had_not_handed_over_is_counted_to_the_item() {
    let mut story = story(config());
    story.driver.backend = Backend::Hangs;
    story.invoke("r1").started("r1").spans_of(0, 600, 30_000);
    let (written, buffered) =
        (story.driver.functions[0].written, story.driver.functions[0].buffered.len() as u64);
    assert!(written > 100 && buffered > 100, "{written} and {buffered}");
    story.eof(0);
    let process = process(&story);
    assert_eq!((process.accepted, process.counters.ended, process.unknown_tail), (written, 600, false));
    assert_eq!(process.counters.dropped.get(FUNCTION_DIED), Some(&buffered));
    assert_eq!(process.counters.buffered, 0);
    story.driver.functions[0].buffered.clear();
    story.shutdown(2_000).run(2_000);
    story.accounted();
}

#[test]
fn the_last_word_of_a_function_is_believed_beside_what_its_ring_says() {
    let mut story = story(config());
    story.driver.backend = Backend::Hangs;
    story.spans_of(0, 600, 30_000);
    let function = &mut story.driver.functions[0];
    let (ended, written) = (function.ended, function.written);
    let given_up = ended - written;
    assert!(given_up > 100);
    let counters = Counters {
        ended,
        written,
        buffered: 0,
        dropped: [("shut_down".to_owned(), given_up)].into_iter().collect(),
    };
    let frame = function.link.goodbye(counters.clone()).unwrap();
    function.write(&frame);
    // The harness makes the header's counters from what is buffered, as one that was killed has it.
    story.eof(0);
    assert_eq!((&process(&story).counters, process(&story).unknown_tail), (&counters, false));
}

#[test]
fn a_function_without_one_is_as_it_was() {
    let mut story = Story::usual();
    story.invoke("r1").started("r1").spans(10).eof(0);
    assert_eq!(rings(&story), [0]);
    assert!(process(&story).unknown_tail);
    assert!(process(&story).counters.dropped.is_empty());
}

#[test]
fn one_that_lives_and_comes_back_has_lost_nothing() {
    let mut story = story(config());
    story.driver.backend = Backend::Silent;
    story.spans_of(0, 600, 30_000).eof(0);
    assert!(process(&story).counters.dropped[FUNCTION_DIED] > 0);
    story.backend(1, Outcome::Exported);
    story.connect(0);
    story.driver.read_all();
    for round in 0..5 {
        let id = format!("r{round}");
        story.invoke(&id).started(&id).done(&id).run(500);
    }
    story.driver.functions[0].goodbye();
    story.eof(0);
    assert_eq!((process(&story).accepted, process(&story).unknown_tail), (600, false));
    assert!(process(&story).counters.dropped.is_empty());
}

#[test]
fn rings_are_about_as_large_as_the_credit_and_later_ones_smaller() {
    let mut story = story(config());
    for _ in 0..4 {
        function(&mut story);
    }
    assert_eq!(rings(&story), [RING, 2_102_608, 0, 0, 0]);
    let last = story.driver.functions.len() - 1;
    story.spans_of(last, 10, 300);
    assert!(story.driver.functions[last].buffered.is_empty(), "and there is credit for all");
    // Their memory is free again when they end.
    for index in 0..5 {
        story.eof(index);
    }
    function(&mut story);
    assert_eq!(rings(&story).last(), Some(&RING));
}

#[test]
fn a_small_budget_has_none() {
    for (buffer_bytes_max, expected) in [(4 << 20, 0), ((8 << 20) - 1, 0), (8 << 20, (2 << 20) - (16 << 10))]
    {
        let story = story(FlushConfig { buffer_bytes_max, ..config() });
        let [ring] = rings(&story)[..] else { panic!("one Welcome") };
        assert!(ring >= expected && ring <= expected + 8, "{ring} of {buffer_bytes_max}");
    }
}

#[test]
fn a_second_hello_keeps_the_ring_and_brings_none() {
    let mut story = story(config());
    story.driver.functions[0].hello();
    story.driver.read_all();
    story.function();
    let without = story.driver.functions.len() - 1;
    story.driver.functions[without].offers = RING_BYTES_MAX;
    story.driver.functions[without].hello();
    story.driver.read_all();
    assert_eq!(rings(&story), [RING, RING, 0, 0]);
}

#[test]
fn counters_that_cannot_be_true_do_no_harm() {
    let dropped =
        |items: &[u64]| items.iter().enumerate().map(|(n, items)| (n.to_string(), *items)).collect();
    for (ended, gone) in
        [(0, vec![]), (u64::MAX, vec![]), (7, vec![u64::MAX, u64::MAX]), (u64::MAX, vec![1, 2])]
    {
        let mut story = story(config());
        story.spans(10);
        let counters = Counters { ended, dropped: dropped(&gone), ..Counters::default() };
        let closed = Event::LinkClosed { link: LinkId(1), torn: false, counters: Some(counters) };
        story.driver.handle(closed);
        assert!(process(&story).counters.ended >= 10 && process(&story).counters.written == 10);
        assert!(!process(&story).unknown_tail);
    }
}
