//! One thread with its own tokio runtime, so that the testkit keeps time whatever the test's executor does.
//!
//! The thread is also what the child processes hang on: the kernel kills them when it ends (see
//! `sandbox/process.rs`), so a test that panics or is killed leaves nothing behind.

use std::future::Future;
use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Runs tasks until it is dropped.
#[derive(Debug)]
pub(crate) struct Engine {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread. `on_stop` runs to its end when the engine is dropped; it must bound its own waits.
    ///
    /// # Errors
    /// The operating system refuses a thread or an epoll instance.
    pub(crate) fn start(name: &str, on_stop: impl Future<Output = ()> + Send + 'static) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                stopped.await.ok();
                on_stop.await;
            });
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Starts a task; its end can be awaited on any executor.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.handle.spawn(task)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
