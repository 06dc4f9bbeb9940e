//! Memory that two processes share: a sealed memfd, mapped. The protocol's only edge to the kernel, and its only
//! `unsafe`.
#![expect(unsafe_code, reason = "a mapping is made a slice of atomics")]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};

use super::{Words, padded};
use crate::limits::{RING_BYTES_MAX, RING_HEADER_BYTES};

/// Its size is fixed: pages that are mapped never go away, so no access can fault.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// See the module's description.
#[derive(Debug)]
pub struct SharedMemory(MmapRaw);

impl SharedMemory {
    /// New memory with room for a ring of `ring_bytes`, all zeros, and the descriptor that shares it. It takes no
    /// pages before they are written to.
    ///
    /// # Errors
    /// The kernel refuses: no memfd here, no descriptor left, no room in the address space. Over
    /// [`RING_BYTES_MAX`].
    pub fn create(ring_bytes: u64) -> io::Result<(Self, OwnedFd)> {
        let bytes = whole(ring_bytes)?;
        let file = memfd_create(c"lambda-flush", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, bytes)?;
        fcntl_add_seals(&file, SEALS)?;
        Ok((Self::map(&file, bytes)?, file))
    }

    /// The memory behind a descriptor that came from the other process.
    ///
    /// # Errors
    /// As [`Self::create`]; and it is no memfd, has another size, or could be made smaller.
    pub fn open(file: &OwnedFd, ring_bytes: u64) -> io::Result<Self> {
        let bytes = whole(ring_bytes)?;
        if !fcntl_get_seals(file)?.contains(SealFlags::SHRINK) {
            return Err(io::Error::other("the shared memory is not sealed against shrinking"));
        }
        if u64::try_from(fstat(file)?.st_size) != Ok(bytes) {
            return Err(io::Error::other("the shared memory has another size than was said"));
        }
        Self::map(file, bytes)
    }

    fn map(file: &impl AsFd, bytes: u64) -> io::Result<Self> {
        let len = usize::try_from(bytes).map_err(io::Error::other)?;
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&file.as_fd());
        MmapOptions::new().len(len).map_raw(descriptor).map(Self)
    }
}

/// With the header.
fn whole(ring_bytes: u64) -> io::Result<u64> {
    if ring_bytes > RING_BYTES_MAX {
        return Err(io::Error::other("a ring over RING_BYTES_MAX"));
    }
    Ok(padded(ring_bytes) + RING_HEADER_BYTES as u64)
}

impl Words for SharedMemory {
    type Word = AtomicU64;

    fn words(&self) -> &[AtomicU64] {
        let words = self.0.len() / size_of::<AtomicU64>();
        // SAFETY: The mapping is `words` words long or longer, starts at a page and so is aligned, and stays until
        // `self` is dropped, which the returned lifetime forbids. Its file is sealed against shrinking (`create`
        // seals it, `open` checks it), so every page of it can be accessed; it was zeroed by the kernel, and any
        // bytes are a valid `AtomicU64`. Nothing else in this process refers to the mapping. The other process may
        // write to it at any time: atomics allow that, and all access here is by shared reference to atomics.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast::<AtomicU64>(), words) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::SeqCst;

    #[test]
    fn both_ends_see_the_same_words() {
        let (ours, file) = SharedMemory::create(4096).unwrap();
        let theirs = SharedMemory::open(&file, 4096).unwrap();
        assert_eq!(ours.words().len(), (4096 + RING_HEADER_BYTES) / 8);
        ours.words()[3].store(7, SeqCst);
        theirs.words()[4].store(8, SeqCst);
        assert_eq!((theirs.words()[3].load(SeqCst), ours.words()[4].load(SeqCst)), (7, 8));
        // It can't be taken away under us.
        assert!(ftruncate(&file, 0).is_err() && ftruncate(&file, 1 << 20).is_err());
        drop(ours);
        assert_eq!(theirs.words()[3].load(SeqCst), 7);
    }

    #[test]
    fn what_could_shrink_is_no_memfd_or_has_another_size_is_refused() {
        let (_, file) = SharedMemory::create(4096).unwrap();
        for ring_bytes in [0, 4088, 8192, RING_BYTES_MAX + 1, u64::MAX] {
            assert!(SharedMemory::open(&file, ring_bytes).is_err(), "{ring_bytes}");
        }
        let unsealed = memfd_create(c"test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&unsealed, 4096 + RING_HEADER_BYTES as u64).unwrap();
        assert!(SharedMemory::open(&unsealed, 4096).unwrap_err().to_string().contains("sealed"));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(SharedMemory::open(&file.into(), 4096).is_err());
    }
}
