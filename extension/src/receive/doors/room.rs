//! Memory for the bodies at the doors: claimed before it is taken, given back when the request is answered.
//!
//! Nobody waits for room: a request that finds none is refused, and its sender still has it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::refusal::Refusal;
use crate::limits::{DOOR_BODIES_BYTES_MAX, DOOR_BODY_BYTES_MAX, DOOR_RETRY_AFTER};

/// What all doors share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room {
    taken: Arc<AtomicUsize>,
}

/// A part of the room, given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    room: Room,
    bytes: usize,
    /// What the same request has claimed elsewhere.
    beside: usize,
}

/// Bytes within a claim.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    claim: Claim,
    refused: Option<Refusal>,
}

impl Room {
    /// A claim of `bytes`.
    pub(crate) fn claim(&self, bytes: usize) -> Result<Claim, Refusal> {
        let mut claim = Claim { room: self.clone(), bytes: 0, beside: 0 };
        claim.grow(bytes)?;
        Ok(claim)
    }

    /// All that is claimed.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Claim {
    /// Claims more. A request that would not fit alone is too large, whoever else is there.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let whole = self.bytes.saturating_add(bytes);
        if whole.saturating_add(self.beside) > DOOR_BODIES_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        let within = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= DOOR_BODIES_BYTES_MAX);
        match self.room.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within) {
            Ok(_) => self.bytes = whole,
            Err(_) => return Err(Refusal::Busy { retry_after: DOOR_RETRY_AFTER }),
        }
        Ok(())
    }

    /// Another claim for the same request.
    fn beside(&self, bytes: usize) -> Result<Self, Refusal> {
        let mut claim = Self { room: self.room.clone(), bytes: 0, beside: self.bytes };
        claim.grow(bytes)?;
        Ok(claim)
    }

    /// Gives back what is above `bytes`.
    fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        self.room.taken.fetch_sub(less, Ordering::Relaxed);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Buffer {
    /// An empty one, whose memory comes out of `claim`.
    pub(crate) fn new(claim: Claim) -> Self {
        Self { bytes: Vec::new(), claim, refused: None }
    }

    /// Another one for the same request, out of the same room.
    pub(crate) fn beside(&self, bytes: usize) -> Result<Self, Refusal> {
        Ok(Self::new(self.claim.beside(bytes)?))
    }

    /// What is in it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What is in it, to be changed in place.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// How much that is.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The claim, for what belongs to the same request.
    pub(crate) fn claim(&mut self) -> &mut Claim {
        &mut self.claim
    }

    /// Adds bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.reserve(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Adds zeros, for [`Self::bytes_mut`].
    pub(crate) fn put_zeros(&mut self, count: usize) -> Result<(), Refusal> {
        self.reserve(count)?;
        self.bytes.resize(self.bytes.len() + count, 0);
        Ok(())
    }

    /// Drops what is beyond `length`.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    /// Makes room for `more` bytes; the memory grows by halves as far as there is room.
    pub(crate) fn reserve(&mut self, more: usize) -> Result<(), Refusal> {
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        let needed = length.saturating_add(more);
        if needed <= capacity {
            return Ok(());
        }
        if needed > DOOR_BODY_BYTES_MAX {
            return Err(self.refuse(Refusal::TooLarge));
        }
        let wished = needed.max((capacity + capacity / 2).min(DOOR_BODY_BYTES_MAX));
        let target = match self.claim.grow(wished - capacity) {
            Ok(()) => wished,
            Err(_) => match self.claim.grow(needed - capacity) {
                Ok(()) => needed,
                Err(refusal) => return Err(self.refuse(refusal)),
            },
        };
        self.bytes.reserve_exact(target - length);
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal) -> Refusal {
        self.refused = Some(refusal.clone());
        refusal
    }

    /// Why it took no more, if that is so.
    pub(crate) fn refused(&self) -> Option<Refusal> {
        self.refused.clone()
    }

    /// The bytes, without memory that is not used, and the claim on them.
    pub(crate) fn into_parts(mut self) -> (Vec<u8>, Claim) {
        if self.bytes.capacity() - self.bytes.len() > self.bytes.len() / 16 {
            let before = self.bytes.capacity();
            self.bytes.shrink_to_fit();
            self.claim.shrink_to(self.claim.bytes - (before - self.bytes.capacity()));
        }
        (self.bytes, self.claim)
    }
}

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.put(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_is_bounded_and_comes_back() {
        let room = Room::default();
        let mut first = Buffer::new(room.claim(100).unwrap());
        first.put_zeros(DOOR_BODY_BYTES_MAX).unwrap();
        assert_eq!(first.put(&[0]), Err(Refusal::TooLarge));
        assert_eq!(room.taken(), DOOR_BODY_BYTES_MAX + 100);
        let mut second = Buffer::new(room.claim(0).unwrap());
        let left = DOOR_BODIES_BYTES_MAX - DOOR_BODY_BYTES_MAX - 100;
        for _ in 0..left / 1_000 {
            second.put(&[0; 1_000]).unwrap();
        }
        assert!(matches!(second.put(&[0; 1_000]), Err(Refusal::Busy { .. })));
        assert!(room.taken() <= DOOR_BODIES_BYTES_MAX);
        drop(first);
        second.put(&[0; 1_000]).unwrap();
        let (bytes, claim) = second.into_parts();
        assert!(bytes.capacity() <= bytes.len() + bytes.len() / 16);
        assert_eq!(room.taken(), bytes.capacity());
        drop(claim);
        assert_eq!(room.taken(), 0);
    }

    #[test]
    fn what_could_never_fit_is_too_large_and_not_asked_to_come_back() {
        let room = Room::default();
        assert_eq!(room.claim(DOOR_BODIES_BYTES_MAX + 1).err(), Some(Refusal::TooLarge));
        let _other = room.claim(10).unwrap();
        assert!(matches!(room.claim(DOOR_BODIES_BYTES_MAX), Err(Refusal::Busy { .. })));
        let first = Buffer::new(room.claim(DOOR_BODIES_BYTES_MAX / 2).unwrap());
        assert_eq!(first.beside(DOOR_BODIES_BYTES_MAX / 2 + 1).err(), Some(Refusal::TooLarge));
    }
}
