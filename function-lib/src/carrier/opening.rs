//! How a connection is made: greeted with what is offered, and taken into use when `Welcome` has come.

use std::time::{Duration, Instant};

use lambda_flush_proto::LinkState;
use lambda_flush_proto::limits::RING_BYTES_MAX;

use super::Carrier;
use crate::connection::{self, Connection};
use crate::socket::{self, ConnectError};

impl Carrier {
    /// One attempt to connect and to greet; a second one where the kernel would not send a ring along.
    pub(crate) fn connect(&mut self) -> Result<(), ConnectError> {
        let Some(target) = &self.target else { return Ok(()) };
        let link = &mut self.link;
        // The resource has been kept under the only limit that can fail here.
        let mut hello =
            |ring_bytes| link.connect_offering(&target.resource, &target.resource_schema_url, ring_bytes);
        // First the socket: the last descriptor that may be opened is its.
        let connection = Connection::open(&target.address)?;
        let (connection, greeting) = match connection::offer(target.wanted) {
            Some(offer) => match connection.offering(&hello(RING_BYTES_MAX), offer) {
                Some(connection) => (connection, None),
                None => (Connection::open(&target.address)?, Some(hello(0))),
            },
            None => (connection, Some(hello(0))),
        };
        self.connection = Some(connection);
        self.scopes.forget_names();
        self.outbox.disconnected();
        if let Some(hello) = greeting {
            self.control(hello);
        }
        self.name_scopes();
        self.pump();
        self.publish();
        Ok(())
    }

    /// At most one attempt to get a lost connection back, at the start of an invocation.
    pub(crate) fn reconnect(&mut self) {
        if self.shut.is_none() && self.connection.is_none() {
            // Where that fails, items wait in the outbox, which is bounded and counts.
            self.connect().ok();
        }
    }

    /// Waits for the extension's `Welcome`, for `timeout` at the most.
    pub(crate) fn await_welcome(&mut self, timeout: Duration) {
        let until = Instant::now() + timeout;
        while self.link.state() == LinkState::Greeting {
            let left = until.saturating_duration_since(Instant::now());
            let Some(connection) = self.connection.as_ref().filter(|_| !left.is_zero()) else { return };
            socket::wait(None, Some(connection.socket()), false, Some(left));
            self.receive();
        }
        self.pump();
    }

    /// If `Welcome` was among what came, it is known now which way frames go.
    pub(super) fn welcomed(&mut self) {
        let waits = self.connection.as_ref().is_some_and(Connection::is_waiting);
        if !waits || self.link.state() != LinkState::Open {
            return;
        }
        self.connection =
            self.connection.take().and_then(|connection| connection.welcomed(self.link.ring_bytes()));
        match self.connection {
            Some(_) => self.publish(),
            None => self.disconnect(),
        }
    }
}
