//! One connection to the extension: the socket, and the ring in shared memory if both ends have it.
//!
//! The memory is offered along with `Hello`. From then on nothing is written until `Welcome` says which way frames go:
//! two ways at once would have no order. With a ring the socket only rings the extension: at the end of an invocation,
//! when somebody waits for its word, at the goodbye, when half of the ring is taken, and when we are stuck.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use lambda_flush_proto::WireError;
use lambda_flush_proto::frame;
use lambda_flush_proto::limits::RING_BYTES_MAX;
use lambda_flush_proto::ring::Writer;
use lambda_flush_proto::ring::memory::SharedMemory;

use crate::counters::Counters;
use crate::socket::{Address, ConnectError, Progress, Socket};

/// `LAMBDA_FLUSH_CARRIER`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Wanted {
    /// The ring where it can be had.
    #[default]
    Auto,
    /// The same, and the reader is told where it can't.
    Ring,
    /// The socket.
    Socket,
}

/// Whom to connect to, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) resource: Bytes,
    pub(crate) resource_schema_url: String,
    pub(crate) wanted: Wanted,
}

/// Memory that can be offered, and what shares it.
pub(crate) type Offer = (SharedMemory, OwnedFd);

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Arc<Socket>,
    way: Way,
    /// Drops the ring's header knows of.
    dropped: u64,
}

/// Which way frames go.
#[derive(Debug)]
enum Way {
    Socket,
    /// Not known before `Welcome` has come. The header has the counters already.
    Offered(Writer<SharedMemory>),
    Ring(Writer<SharedMemory>),
}

/// Memory to offer; none where the kernel refuses it.
pub(crate) fn offer(wanted: Wanted) -> Option<Offer> {
    if wanted == Wanted::Socket {
        return None;
    }
    SharedMemory::create(RING_BYTES_MAX).ok()
}

impl Connection {
    /// One attempt, without a ring.
    pub(crate) fn open(address: &Address) -> Result<Self, ConnectError> {
        Ok(Self { socket: Arc::new(Socket::connect(address)?), way: Way::Socket, dropped: 0 })
    }

    /// Sends `hello` with what is offered. `None`: the kernel would not, and what was sent is void.
    pub(crate) fn offering(self, hello: &Result<Vec<u8>, WireError>, (memory, file): Offer) -> Option<Self> {
        let (hello, ring) = (hello.as_ref().ok()?, Writer::new(memory, RING_BYTES_MAX).ok()?);
        let whole = self.socket.send_with(hello, &file) == Progress::Bytes(hello.len());
        whole.then(|| Self { way: Way::Offered(ring), ..self })
    }

    /// `Welcome` has come: frames go through a ring of `ring_bytes`, or there is none. `None`: there should be one,
    /// and can't.
    pub(crate) fn welcomed(self, ring_bytes: u64) -> Option<Self> {
        let way = match self.way {
            Way::Offered(_) if ring_bytes == 0 => Way::Socket,
            Way::Offered(ring) => Way::Ring(ring.restarted(ring_bytes).ok()?),
            way => way,
        };
        Some(Self { way, ..self })
    }

    /// Whether nothing may be written before `Welcome` has come.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.way, Way::Offered(_))
    }

    #[inline]
    pub(crate) fn has_ring(&self) -> bool {
        matches!(self.way, Way::Ring(_))
    }

    /// For room, the socket has to be writable; with a ring, the extension rings.
    pub(crate) fn room_is_writable(&self) -> bool {
        matches!(self.way, Way::Socket)
    }

    /// Writes what there is room for: of a ring, a whole frame or nothing.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Progress {
        match &mut self.way {
            Way::Socket => self.socket.send(bytes),
            Way::Offered(_) => Progress::WouldBlock,
            Way::Ring(ring) => match ring.write(bytes) {
                Ok(true) => Progress::Bytes(bytes.len()),
                Ok(false) => Progress::WouldBlock,
                Err(_) => Progress::Closed,
            },
        }
    }

    /// Rings the extension if it has to look: `now`; because the ring is half full; or because we are `stuck` for room
    /// or credit, while it has something to read. Whether it is still there.
    pub(crate) fn ring(&mut self, now: bool, stuck: bool) -> bool {
        let Way::Ring(ring) = &mut self.way else { return true };
        match if stuck { ring.bell_due_stuck() } else { ring.bell_due() } {
            // Bells that nobody has heard yet are in the way of this one: it will be looked.
            Ok(due) if now || due => !matches!(self.socket.send(&frame::BELL), Progress::Closed),
            Ok(_) => true,
            Err(_) => false,
        }
    }

    /// Writes the counters down where they outlive this process.
    #[inline]
    pub(crate) fn publish(&mut self, counters: &Counters) {
        let (Way::Ring(ring) | Way::Offered(ring)) = &self.way else { return };
        ring.publish(counters.ended, counters.written);
        if counters.dropped_in_all() != self.dropped {
            self.dropped = counters.dropped_in_all();
            ring.publish_dropped(counters.slots());
        }
    }

    pub(crate) fn receive(&self, into: &mut Vec<u8>) -> Progress {
        self.socket.receive(into)
    }

    pub(crate) fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }
}
