//! The library's one thread so far: it exists once something could not be written at once.
//!
//! It sleeps in `poll` until the socket has room or news, somebody rings, or a wait runs out. With nothing to
//! wait for it sleeps without limit, so a frozen environment finds it asleep. A freeze in mid-`poll` only makes
//! that return late or early, and it always looks again what there is to do.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::handoff::Shared;
use crate::socket::{self, Bell};

/// Starts the thread. Ringing the bell makes it look at what there is to do.
pub(crate) fn spawn(shared: &Arc<Shared>) -> io::Result<Arc<Bell>> {
    let bell = Arc::new(Bell::new()?);
    let (theirs, shared) = (bell.clone(), shared.clone());
    std::thread::Builder::new().name("lambda-flush".to_owned()).spawn(move || run(&shared, &theirs))?;
    Ok(bell)
}

fn run(shared: &Arc<Shared>, bell: &Bell) {
    while let Some(watch) = shared.next_watch() {
        let timeout = watch.until.map(|until| until.saturating_duration_since(Instant::now()));
        socket::wait(Some(bell), watch.socket.as_deref(), watch.for_room, timeout);
    }
}
