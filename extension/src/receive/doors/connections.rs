//! Which connections stand at the doors, and which one goes when there is no place for another.
//!
//! Idle connections are never closed by a timer: clocks go on while the sandbox is frozen, and after the thaw the
//! function's next request would meet our hanging up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::limits::DOOR_CONNECTIONS_MAX;

/// See the module's description.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
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
    requests: u32,
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
    connections: Connections,
}

impl Connections {
    /// A place for a new connection, and when to give it up again. Waits while every connection is busy: requests
    /// have deadlines.
    pub(crate) async fn enter(&self) -> (Connection, oneshot::Receiver<()>) {
        loop {
            let changed = self.state.changed.notified();
            if let Some(entered) = self.try_enter() {
                return entered;
            }
            changed.await;
        }
    }

    fn try_enter(&self) -> Option<(Connection, oneshot::Receiver<()>)> {
        let mut table = self.table();
        if table.places.len() >= DOOR_CONNECTIONS_MAX {
            let idle =
                table.places.iter_mut().filter(|(_, place)| place.requests == 0 && place.close.is_some());
            if let Some((_, place)) = idle.min_by_key(|(_, place)| place.idle_since) {
                // It leaves as soon as it gets a turn, and says so.
                drop(place.close.take());
            }
            return None;
        }
        let (close, closed) = oneshot::channel();
        table.next_id += 1;
        table.turn += 1;
        let (id, idle_since) = (table.next_id, table.turn);
        table.places.insert(id, Place { requests: 0, idle_since, close: Some(close) });
        Some((Connection { id, connections: self.clone() }, closed))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.state.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// A request begins.
    pub(crate) fn busy(&self) -> Busy {
        if let Some(place) = self.connections.table().places.get_mut(&self.id) {
            place.requests += 1;
        }
        Busy { id: self.id, connections: self.connections.clone() }
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
            place.requests -= 1;
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
}
