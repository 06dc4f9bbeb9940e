//! Shared memory that a function offers: its descriptor comes along with the first byte of its `Hello`.

use std::io::{self, ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::task::{Poll, ready};

use bytes::BytesMut;
use lambda_flush_proto::ring::memory::SharedMemory;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::limits::LINK_FIRST_READ_BYTES;

/// What came along with the first bytes of a link. Later reads take no descriptors, and the kernel closes what comes.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    one: Option<OwnedFd>,
    /// Further ones, closed at once.
    more: usize,
    /// Some did not come through.
    cut: bool,
}

impl Descriptors {
    /// Reads bytes, and keeps the descriptor that comes with them. Dropped while it waits, it has taken nothing.
    pub(super) async fn read(&mut self, stream: &UnixStream, inbound: &mut BytesMut) -> io::Result<usize> {
        std::future::poll_fn(|cx| {
            loop {
                ready!(stream.poll_read_ready(cx))?;
                match stream.try_io(Interest::READABLE, || self.receive(stream, inbound)) {
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                    read => return Poll::Ready(read),
                }
            }
        })
        .await
    }

    fn receive(&mut self, stream: &UnixStream, inbound: &mut BytesMut) -> io::Result<usize> {
        let mut bytes = [0; LINK_FIRST_READ_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(stream, into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                for descriptor in descriptors {
                    self.more += usize::from(self.one.is_some());
                    self.one.get_or_insert(descriptor);
                }
            }
        }
        self.cut |= received.flags.contains(ReturnFlags::CTRUNC);
        inbound.extend_from_slice(bytes.get(..received.bytes).unwrap_or_default());
        Ok(received.bytes)
    }

    /// The memory of a ring of `ring_bytes`. Its descriptor is closed: the mapping does not need it.
    pub(super) fn open(self, ring_bytes: u64) -> io::Result<SharedMemory> {
        match self {
            Self { one: Some(descriptor), more: 0, cut: false } => {
                SharedMemory::open(&descriptor, ring_bytes)
            }
            Self { one: None, cut: false, .. } => Err(io::Error::other("no descriptor came with it")),
            Self { one: None, .. } => Err(io::Error::other("its descriptor could not be received")),
            _ => Err(io::Error::other("more descriptors than one came with it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::fd::AsFd;

    use rustix::io::{FdFlags, fcntl_getfd};
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    #[tokio::test]
    async fn a_descriptor_is_not_inherited_and_bytes_come_with_it() {
        let (stream, theirs) = UnixStream::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let descriptors = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(&theirs, &[IoSlice::new(b"hello")], &mut control, SendFlags::empty()).unwrap();
        let (mut came, mut inbound) = (Descriptors::default(), BytesMut::new());
        assert_eq!(came.read(&stream, &mut inbound).await.unwrap(), 5);
        assert_eq!((&inbound[..], came.more, came.cut), (&b"hello"[..], 0, false));
        assert!(fcntl_getfd(came.one.as_ref().unwrap()).unwrap().contains(FdFlags::CLOEXEC));
        drop(theirs);
        assert_eq!(came.read(&stream, &mut inbound).await.unwrap(), 0);
    }
}
