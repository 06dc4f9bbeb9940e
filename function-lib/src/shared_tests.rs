//! How the library's thread comes by SIGTERM.

use super::*;

#[test]
fn a_thread_that_is_there_already_gets_sigterm() {
    let shared = Arc::new(Shared::new(Carrier::new(1, None)));
    shared.lock().start_thread(&shared).unwrap();
    // By then it sleeps.
    std::thread::park_timeout(Duration::from_millis(50));
    let (sigterm, _uncaught) = Sigterm::pair().unwrap();
    shared.lock().give_sigterm(&shared, sigterm).unwrap();
    let patience = Instant::now() + Duration::from_secs(20);
    while shared.lock().sigterm.is_some() {
        assert!(Instant::now() < patience, "it never took it");
        std::thread::yield_now();
    }
    shared.end();
}
