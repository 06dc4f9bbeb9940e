//! What the API handlers and the lifecycle share: one state under one lock, and a wake-up for every change of it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tempfile::TempDir;
use tokio::sync::watch;

use super::builder::Config;
use super::fault::Faults;
use super::output::Output;
use super::state::State;
use crate::party::{Party, Signal};

/// The directories of one environment; they go with it.
#[derive(Debug)]
pub(crate) struct Directories {
    pub(crate) tmp: PathBuf,
    pub(crate) task: PathBuf,
    /// The name of the log stream, which in Lambda names the environment.
    pub(crate) log_stream: String,
    _root: TempDir,
}

/// One environment, as its tasks see it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) address: SocketAddr,
    pub(crate) directories: Directories,
    pub(crate) output: Output,
    /// Held by whoever moves the lifecycle: an init, an invocation, a shutdown.
    pub(crate) turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Shared {
    pub(crate) fn new(config: Config, faults: Faults, address: SocketAddr) -> io::Result<Self> {
        let root = tempfile::Builder::new().prefix("lambda-testkit-").tempdir()?;
        let directories = Directories {
            tmp: root.path().join("tmp"),
            task: root.path().join("task"),
            log_stream: format!("2026/01/01/[$LATEST]{:032x}", fastrand::u128(..)),
            _root: root,
        };
        std::fs::create_dir(&directories.tmp)?;
        std::fs::create_dir(&directories.task)?;
        let telemetry = config.telemetry;
        Ok(Self {
            output: Output::new(config.echo),
            config,
            address,
            directories,
            turn: tokio::sync::Mutex::new(()),
            state: Mutex::new(State::new(faults, telemetry)),
            changed: watch::Sender::new(()),
        })
    }

    /// Reads or changes the state, and wakes everyone who waits for a change.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
        result
    }

    /// Waits until `condition` gives a value, or until the deadline.
    pub(crate) async fn until<T>(
        &self,
        deadline: Instant,
        mut condition: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let mut changes = self.changed.subscribe();
        loop {
            if let Some(value) = condition(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner)) {
                return Some(value);
            }
            let change = tokio::time::timeout_at(deadline.into(), changes.changed()).await;
            if !matches!(change, Ok(Ok(()))) {
                return condition(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Sends a signal to the process group of a running party. False if it does not run.
    pub(crate) fn signal(&self, party: &Party, signal: Signal) -> bool {
        self.update(|state| state.running(party).is_some_and(|process| process.signal(signal)))
    }
}
