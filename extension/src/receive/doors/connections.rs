//! Which connections stand at the doors, and which one goes when there is no place for another.
//!
//! Idle connections are never closed by a timer: clocks go on while the sandbox is frozen, and after the thaw the
//! function's next request would meet our hanging up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::limits::{DOOR_BUSY_MAX, DOOR_CONNECTIONS_MAX};

/// See the module's description.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// A place with an older request is given up.
    busy_max: Duration,
    table: Mutex<Table>,
    /// A connection ended or became idle.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    next_id: u64,
    /// Counts events; the smallest number is the longest idle.
    turn: u64,
    places: BTreeMap<u64, Place>,
}

#[derive(Debug)]
struct Place {
    /// Requests in progress, in the order in which they began.
    requests: BTreeMap<u64, Instant>,
    idle_since: u64,
    close: Option<oneshot::Sender<()>>,
}

/// One connection's place; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    connections: Connections,
}

/// A request in progress on a connection.
#[derive(Debug)]
pub(crate) struct Busy {
    id: u64,
    request: u64,
    connections: Connections,
}

impl Default for Connections {
    fn default() -> Self {
        Self::new(DOOR_BUSY_MAX)
    }
}

impl Connections {
    /// Nobody stands there. A request that goes on for longer than `busy_max` keeps no place.
    pub(crate) fn new(busy_max: Duration) -> Self {
        Self { state: Arc::new(State { busy_max, table: Mutex::default(), changed: Notify::new() }) }
    }

    /// A place for a new connection, and when to give it up again. Waits while every connection is busy: requests
    /// have deadlines, but for a client that does not take its answer.
    pub(crate) async fn enter(&self) -> (Connection, oneshot::Receiver<()>) {
        loop {
            let changed = self.state.changed.notified();
            if let Some(entered) = self.try_enter() {
                return entered;
            }
            // Whoever is busy for too long does not say so.
            let _later = tokio::time::timeout(self.state.busy_max / 8, changed).await;
        }
    }

    fn try_enter(&self) -> Option<(Connection, oneshot::Receiver<()>)> {
        let mut table = self.table();
        if table.places.len() >= DOOR_CONNECTIONS_MAX {
            let busy_max = self.state.busy_max;
            let leaves = |place: &Place| {
                let oldest = place.requests.values().next();
                oldest.is_none_or(|began| began.elapsed() > busy_max) && place.close.is_some()
            };
            let leaving = table.places.values_mut().filter(|place| leaves(place));
            if let Some(place) = leaving.min_by_key(|place| (!place.requests.is_empty(), place.idle_since)) {
                // It leaves as soon as it gets a turn, and says so.
                drop(place.close.take());
            }
            return None;
        }
        let (close, closed) = oneshot::channel();
        table.next_id += 1;
        table.turn += 1;
        let (id, idle_since) = (table.next_id, table.turn);
        table.places.insert(id, Place { requests: BTreeMap::new(), idle_since, close: Some(close) });
        Some((Connection { id, connections: self.clone() }, closed))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.state.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// A request begins.
    pub(crate) fn busy(&self) -> Busy {
        let mut table = self.connections.table();
        table.turn += 1;
        let request = table.turn;
        if let Some(place) = table.places.get_mut(&self.id) {
            place.requests.insert(request, Instant::now());
        }
        drop(table);
        Busy { id: self.id, request, connections: self.connections.clone() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.table().places.remove(&self.id);
        self.connections.state.changed.notify_waiters();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut table = self.connections.table();
        table.turn += 1;
        let turn = table.turn;
        if let Some(place) = table.places.get_mut(&self.id) {
            place.requests.remove(&self.request);
            place.idle_since = turn;
        }
        drop(table);
        self.connections.state.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_idle_connection_makes_place_and_a_busy_one_never() {
        let connections = Connections::default();
        let mut entered = Vec::new();
        for _ in 0..DOOR_CONNECTIONS_MAX {
            entered.push(connections.enter().await);
        }
        let busy: Vec<_> = entered.iter().map(|(connection, _)| connection.busy()).collect();
        assert!(connections.try_enter().is_none());
        assert!(
            entered.iter_mut().all(|(_, close)| close.try_recv() == Err(oneshot::error::TryRecvError::Empty))
        );
        let mut busy = busy.into_iter();
        drop(busy.next_back());
        drop(busy.next());
        assert!(connections.try_enter().is_none());
        let told: Vec<_> = (0..entered.len())
            .filter(|at| entered[*at].1.try_recv() == Err(oneshot::error::TryRecvError::Closed))
            .collect();
        assert_eq!(told, [DOOR_CONNECTIONS_MAX - 1], "idle for longer than the first one");
        let waiting = tokio::spawn({
            let connections = connections.clone();
            async move { connections.enter().await }
        });
        tokio::task::yield_now().await;
        entered.pop();
        let (connection, _close) = waiting.await.unwrap();
        drop(connection);
        drop(busy);
    }

    #[tokio::test]
    async fn a_request_that_never_ends_keeps_no_place() {
        let busy_max = Duration::from_millis(400);
        let connections = Connections::new(busy_max);
        let mut entered = Vec::new();
        for _ in 0..DOOR_CONNECTIONS_MAX {
            entered.push(connections.enter().await);
        }
        let stuck = entered[3].0.busy();
        tokio::time::sleep(busy_max + Duration::from_millis(10)).await;
        let busy: Vec<_> = entered.iter().map(|(connection, _)| connection.busy()).collect();
        assert!(connections.try_enter().is_none());
        let told: Vec<_> = (0..entered.len())
            .filter(|at| entered[*at].1.try_recv() == Err(oneshot::error::TryRecvError::Closed))
            .collect();
        assert_eq!(told, [3]);
        let waiting = tokio::spawn({
            let connections = connections.clone();
            async move { connections.enter().await }
        });
        // Its task would see it, and end.
        drop(entered.remove(3));
        waiting.await.unwrap();
        drop((stuck, busy));
    }
}
