//! The rings of links: memory that functions write to without waking anybody, read before anything else is judged.

use bytes::BytesMut;
use lambda_flush_proto::ring::memory::SharedMemory;
use lambda_flush_proto::ring::{Reader, RingError};
use lambda_flush_proto::{Counters, Received};

use crate::core::LinkId;
use crate::limits::LINK_READ_BYTES;
use crate::receive::link::{Offer, SharedLink};

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Rings {
    /// Until the core has answered the `Hello` that came with it.
    offered: Vec<(LinkId, Offer)>,
    rings: Vec<Ring>,
    /// Frames on their way from a ring to the core. They are taken out before the next are read.
    frames: BytesMut,
}

#[derive(Debug)]
struct Ring {
    id: LinkId,
    reader: Result<Reader<SharedMemory>, RingError>,
    link: SharedLink,
    ring_bytes: u64,
    /// What may still be read before something else has its turn.
    lap_bytes: u64,
}

/// What was read at once from a ring.
#[derive(Debug)]
pub(super) struct Lot {
    pub(super) link: LinkId,
    pub(super) messages: Vec<Received>,
    /// Nothing more can be read: the function broke the ring or the protocol.
    pub(super) fault: Option<String>,
}

impl Rings {
    pub(super) fn offer(&mut self, link: LinkId, offer: Offer) {
        self.offered.push((link, offer));
    }

    /// The core has answered a `Hello`. Memory that is not used is unmapped.
    pub(super) fn welcome(&mut self, link: LinkId, ring_bytes: u64) {
        if let Some(offer) = self.take_offer(link)
            && ring_bytes > 0
        {
            let reader = Reader::new(offer.memory, ring_bytes);
            self.rings.push(Ring { id: link, reader, link: offer.link, ring_bytes, lap_bytes: 0 });
        }
    }

    fn take_offer(&mut self, link: LinkId) -> Option<Offer> {
        let position = self.offered.iter().position(|(of, _)| *of == link)?;
        Some(self.offered.swap_remove(position).1)
    }

    /// The link has ended. Returns what its function said of its items to the last.
    pub(super) fn remove(&mut self, link: LinkId) -> Option<Counters> {
        drop(self.take_offer(link));
        let position = self.rings.iter().position(|ring| ring.id == link)?;
        let reader = self.rings.swap_remove(position).reader.ok()?;
        Some(reader.counters().to_wire())
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// From here on [`Self::next`] reads each ring once around at the most: whoever writes as fast as it is read must
    /// not keep everything else waiting.
    pub(super) fn begin(&mut self) {
        for ring in &mut self.rings {
            ring.lap_bytes = ring.ring_bytes;
        }
    }

    /// The next frames. `None`: each ring was empty once, or its lap is over.
    pub(super) fn next(&mut self) -> Option<Lot> {
        let Self { rings, frames, .. } = self;
        rings.iter_mut().find_map(|ring| ring.next(frames))
    }

    /// Whether a lap ended before its ring did.
    pub(super) fn unread(&self) -> bool {
        let unread = |ring: &Ring| ring.reader.as_ref().is_ok_and(|reader| !reader.is_empty());
        self.rings.iter().any(|ring| ring.lap_bytes == 0 && unread(ring))
    }

    /// Links whose function waits for room, of which there is some after reading.
    pub(super) fn waiting(&self) -> impl Iterator<Item = LinkId> {
        let waits = |ring: &Ring| ring.reader.as_ref().is_ok_and(Reader::writer_waits);
        self.rings.iter().filter(move |ring| waits(ring)).map(|ring| ring.id)
    }
}

impl Ring {
    fn next(&mut self, frames: &mut BytesMut) -> Option<Lot> {
        if self.lap_bytes == 0 {
            return None;
        }
        let mut messages = Vec::new();
        let fault = match self.read(frames) {
            Ok(0) => return None,
            Ok(_) => self.link.lock().poll_ring(frames, &mut messages).err().map(|fault| fault.to_string()),
            Err(fault) => Some(fault.to_string()),
        };
        if fault.is_some() {
            frames.clear();
            self.lap_bytes = 0;
        }
        Some(Lot { link: self.id, messages, fault })
    }

    fn read(&mut self, frames: &mut BytesMut) -> Result<usize, RingError> {
        let reader = self.reader.as_mut().map_err(|error| *error)?;
        frames.reserve(LINK_READ_BYTES);
        let bytes = reader.read(frames, LINK_READ_BYTES)?;
        self.lap_bytes = self.lap_bytes.saturating_sub(bytes as u64);
        Ok(bytes)
    }
}
