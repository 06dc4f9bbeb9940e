//! The pinches do what they say: the kernel refuses exactly what a ring needs, and gives it again afterwards.
#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use lambda_flush_e2e::pinch::Pinch;
use lambda_flush_proto::limits::RING_BYTES_MAX;
use lambda_flush_proto::ring::memory::SharedMemory;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg};

fn passes(stream: &UnixStream, file: &OwnedFd) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let files = [file.as_fd()];
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&files)));
    sendmsg(stream, &[IoSlice::new(b"x")], &mut ancillary, SendFlags::empty())
}

fn ring() -> io::Result<OwnedFd> {
    SharedMemory::create(RING_BYTES_MAX).map(|(_, file)| file)
}

/// One test: limits are the whole process's.
#[test]
fn a_pinch_refuses_what_a_ring_needs_and_nothing_else() {
    let file = ring().expect("a ring without a pinch");
    let (here, _there) = UnixStream::pair().expect("a pair");

    let refused = Pinch::FunctionDescriptors.around(|| {
        // The hand-off socket's.
        let one = file.try_clone().map_err(|fault| fault.kind());
        let ring = ring().map_err(|fault| Errno::from_io_error(&fault));
        (one.is_ok(), ring.err())
    });
    assert_eq!(refused.expect("a pinch"), (true, Some(Some(Errno::MFILE))));

    let refused = Pinch::FunctionMemory.around(|| {
        let thread = std::thread::spawn(|| 7).join().expect("a thread");
        (thread, ring().map_err(|fault| fault.kind()).err())
    });
    assert_eq!(refused.expect("a pinch"), (7, Some(ErrorKind::OutOfMemory)));

    let refused = Pinch::FunctionRights
        .around(|| (passes(&here, &file).err(), send(&here, b"x", SendFlags::empty()), ring().is_ok()));
    assert_eq!(refused.expect("a pinch"), (Some(Errno::TOOMANYREFS), Ok(1), true));

    assert!(ring().is_ok() && passes(&here, &file) == Ok(1), "not all was given back");
}
