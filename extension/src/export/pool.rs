//! Connections that are idle, and those that are shared.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::connect::{Connection, Target};
use super::failure::Failure;
use super::{H1, H2};
use crate::core::Wall;
use crate::limits::CONNECTIONS_IDLE_MAX;

/// See the module's description. A connection is used again within one active window only: the wall clock counts, for
/// the monotonic one may stop in a freeze.
pub(super) struct Pool {
    idle_max: Duration,
    idle: Mutex<Idle>,
    /// By target: several requests at once make one HTTP/2 connection, not several.
    connecting: [tokio::sync::Mutex<()>; 3],
}

#[derive(Default)]
struct Idle {
    h1: Vec<(usize, H1, Wall)>,
    h2: Vec<(usize, H2, Wall)>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) fn new(idle_max: Duration) -> Self {
        Self { idle_max, idle: Mutex::default(), connecting: Default::default() }
    }

    /// A connection to the target with that number, and whether it has been used before.
    pub(super) async fn take(
        &self,
        number: usize,
        target: &Target,
        now: Wall,
        fresh: bool,
    ) -> Result<(Connection, bool), Failure> {
        // The connections' own tasks get to see first what the backend has closed.
        tokio::task::yield_now().await;
        if !fresh && let Some(connection) = self.reuse(number, now) {
            return Ok((connection, true));
        }
        let connecting = match target.protocol() {
            crate::config::Protocol::Grpc => self.connecting.get(number),
            crate::config::Protocol::HttpProtobuf => None,
        };
        let _turn = match connecting {
            Some(connecting) => Some(connecting.lock().await),
            None => None,
        };
        if !fresh && let Some(connection) = self.reuse(number, now) {
            return Ok((connection, true));
        }
        let connection = target.connect().await?;
        if let Connection::H2(sender) = &connection {
            self.lock().h2.push((number, sender.clone(), now));
        }
        Ok((connection, false))
    }

    /// An HTTP/1.1 connection whose answer was read to its end.
    pub(super) fn give_back(&self, number: usize, sender: H1, now: Wall) {
        let mut idle = self.lock();
        if idle.h1.len() < CONNECTIONS_IDLE_MAX && !self.idle_max.is_zero() {
            idle.h1.push((number, sender, now));
        }
    }

    /// The shared connection is not to be used again.
    pub(super) fn forget_shared(&self, number: usize) {
        self.lock().h2.retain(|(of, ..)| *of != number);
    }

    fn reuse(&self, number: usize, now: Wall) -> Option<Connection> {
        let mut idle = self.lock();
        let young = |since: Wall| now.saturating_sub(since) <= self.idle_max;
        idle.h1.retain(|(_, sender, since)| young(*since) && sender.is_ready());
        idle.h2.retain(|(_, sender, since)| young(*since) && !sender.is_closed());
        if let Some(place) = idle.h1.iter().rposition(|(of, ..)| *of == number) {
            let (_, sender, _) = idle.h1.remove(place);
            return Some(Connection::H1(sender));
        }
        let (_, sender, since) = idle.h2.iter_mut().find(|(of, ..)| *of == number)?;
        *since = now;
        Some(Connection::H2(sender.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
