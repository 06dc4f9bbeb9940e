//! The library's one thread: it drains the buffer, has metrics collected while invocations run, and waits for SIGTERM.
//!
//! It sleeps in `poll` until the socket has room or news, somebody rings, SIGTERM comes, or a time is up. With nothing
//! to wait for it sleeps without limit, so a frozen environment finds it asleep. A freeze in mid-`poll` only makes
//! that return late or early, and it always looks again what there is to do.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use crate::errand::Errand;
use crate::shared::Shared;
use crate::sigterm::{self, News, Sigterm};
use crate::socket::{self, Bell};

/// Starts the thread. Ringing the bell makes it look at what there is to do.
pub(crate) fn spawn(shared: &Arc<Shared>) -> io::Result<Arc<Bell>> {
    let bell = Arc::new(Bell::new()?);
    let (theirs, shared) = (bell.clone(), shared.clone());
    let thread = std::thread::Builder::new().name("lambda-flush".to_owned());
    thread.spawn(move || run(&shared, &theirs))?;
    Ok(bell)
}

fn run(shared: &Arc<Shared>, bell: &Arc<Bell>) {
    let mut sigterm: Option<Sigterm> = None;
    let mut collecting: Option<Errand> = None;
    loop {
        // A collection that takes longer than a second is not joined by another.
        if shared.take_checkpoint() && collecting.as_ref().is_none_or(Errand::is_done) {
            let shared = shared.clone();
            collecting = Some(Errand::start(move || shared.collect_with_room()));
        }
        let Some(watch) = shared.next_watch() else { return };
        // Whoever has put it there has rung the bell, or rings it.
        sigterm = sigterm.or_else(|| shared.take_sigterm());
        let timeout = watch.until.map(|until| until.saturating_duration_since(Instant::now()));
        let signal = sigterm.as_ref().map(AsFd::as_fd);
        socket::wait_all(Some(bell), watch.socket.as_deref(), signal, watch.for_room, timeout);
        match sigterm.as_ref().map(Sigterm::news) {
            Some(News::Came) => sigterm::end(shared, bell),
            Some(News::Never) => sigterm = None,
            Some(News::None) | None => {}
        }
    }
}
