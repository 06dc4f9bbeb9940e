//! Connections that end with their last user.
//!
//! hyper drives a connection in tasks of their own, which wait for the peer to read what was begun: with a backend that
//! does not, the socket and the request's body would stay for ever, long after the export's deadline.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tokio::sync::watch;

/// A sender and the life of its connection's tasks.
#[derive(Debug, Clone)]
pub(super) struct Kept<S> {
    sender: S,
    _life: Arc<watch::Sender<()>>,
}

impl<S> Deref for Kept<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.sender
    }
}

impl<S> DerefMut for Kept<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.sender
    }
}

/// Made before the connection, for HTTP/2 has tasks from its handshake on.
pub(super) struct Life {
    begun: watch::Sender<()>,
    tasks: Tasks,
}

impl Life {
    pub(super) fn new() -> Self {
        let (begun, ended) = watch::channel(());
        Self { begun, tasks: Tasks(ended) }
    }

    pub(super) fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }

    /// The tasks end when the last clone of what this returns is dropped.
    pub(super) fn keep<S>(self, sender: S) -> Kept<S> {
        Kept { sender, _life: Arc::new(self.begun) }
    }
}

/// Runs a connection's tasks for as long as its [`Life`].
#[derive(Debug, Clone)]
pub(super) struct Tasks(watch::Receiver<()>);

impl Tasks {
    pub(super) fn spawn(&self, task: impl Future<Output: Send> + Send + 'static) {
        let mut ended = self.0.clone();
        drop(tokio::spawn(async move {
            tokio::select! {
                // Its end, good or bad, is told to the sender's user.
                _ = task => {}
                // Nothing is ever sent: this is the end of the other side.
                _ = ended.changed() => {}
            }
        }));
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}
