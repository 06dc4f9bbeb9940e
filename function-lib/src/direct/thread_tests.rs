//! The export thread when it panics.

use bytes::Bytes;
use lambda_flush_proto::Signal;

use super::super::held::Held;
use super::super::settings;
use super::*;
use crate::waits::Goal;

fn shared() -> Arc<Shared> {
    let source = std::collections::BTreeMap::from([(
        "LAMBDA_FLUSH_OTLP_ENDPOINT".to_owned(),
        "http://127.0.0.1:9".to_owned(),
    )]);
    let settings = settings::read(&source).0.unwrap();
    let held = Held::new(Bytes::new(), String::new(), settings.held_bytes_max);
    Arc::new(Shared {
        settings: Arc::new(settings),
        buffered: Arc::default(),
        local: false,
        every: None,
        state: Mutex::new(State::new(held)),
        changed: Condvar::new(),
    })
}

#[test]
fn a_panic_puts_back_what_was_under_way_and_makes_room_for_another_thread() {
    let shared = shared();
    let (mut waiting, mut batch) = (None, None);
    shared.guarded(0, || {
        let mut state = shared.lock();
        state.thread = Thread::Running;
        state.held.push_request(Signal::Logs, 3, b"a request");
        state.in_flight = state.held.take();
        batch.clone_from(&state.in_flight);
        state.held.push_request(Signal::Traces, 1, b"a later one");
        state.rounds_asked = 1;
        state.asked = Some(Instant::now());
        waiting = Some(state.waits.add(Goal::Accepted, 1, Instant::now() + Duration::from_secs(3600)));
        panic!("in the middle of a request, and with the lock");
    });
    let mut state = shared.lock();
    assert_eq!((state.thread, state.asked, state.generation), (Thread::None, None, 1));
    assert!(state.waits.is_empty() && !state.is_busy() && !state.healthy);
    assert_eq!((state.held.buffered(), shared.buffered.load(Ordering::Acquire)), (4, 4));
    assert!(batch.is_some() && state.held.take() == batch, "it goes first");
    // The next need.
    shared.ensure_thread(&mut state);
    assert_eq!(state.thread, Thread::Running);
    state.ending = true;
    drop(state);
    shared.changed.notify_all();
}

#[test]
fn a_thread_that_was_given_up_may_panic_as_it_likes() {
    let shared = shared();
    shared.lock().generation = 7;
    shared.lock().thread = Thread::Running;
    shared.guarded(6, || panic!("too late to matter"));
    let state = shared.lock();
    assert_eq!((state.thread, state.generation), (Thread::Running, 7));
}
