//! The edge to the kernel: one Unix stream socket that never blocks, and the two ways to wait for it.

use std::fmt;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_send_buffer_size, socket_peercred};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix,
    SocketFlags, SocketType, connect, recv, send, sendmsg, shutdown, socket_with,
};
use rustix::process::getuid;

/// What `sockaddr_un` can hold, less the leading zero of an abstract name.
pub(crate) const ADDRESS_BYTES_MAX: usize = 107;

/// Asked for, so that the kernel grants the most it allows (`net.core.wmem_max`).
const SEND_BUFFER_BYTES_WANTED: usize = 8 << 20;

const RECEIVE_BYTES_MAX: usize = 4 << 10;

/// Where the extension listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A name in the abstract namespace, without the leading zero.
    Abstract(Vec<u8>),
    /// A path.
    Path(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectError {
    /// The kernel said no. Nobody listens, most of the time.
    Kernel(Errno),
    /// The listener is neither this user's nor root's.
    ForeignUser(u32),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(errno) => write!(f, "{errno}"),
            Self::ForeignUser(uid) => write!(f, "the listener belongs to user {uid}"),
        }
    }
}

impl From<Errno> for ConnectError {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

/// What a write or read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// So many bytes.
    Bytes(usize),
    /// The kernel's buffer is full, or empty.
    WouldBlock,
    /// The other end is gone.
    Closed,
}

/// A connection to the extension.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// One attempt, which never waits: with a full backlog it fails.
    pub(crate) fn connect(address: &Address) -> Result<Self, ConnectError> {
        let to = match address {
            Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name)?,
            Address::Path(path) => SocketAddrUnix::new(path)?,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &to)?;
        let peer = socket_peercred(&socket)?.uid;
        if peer != getuid() && !peer.is_root() {
            return Err(ConnectError::ForeignUser(peer.as_raw()));
        }
        // A smaller buffer is a smaller carrier, not an error.
        best_effort(set_socket_send_buffer_size(&socket, SEND_BUFFER_BYTES_WANTED));
        Ok(Self(socket))
    }

    /// Writes what fits.
    pub(crate) fn send(&self, bytes: &[u8]) -> Progress {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            match send(&self.0, bytes, flags) {
                Ok(written) => return Progress::Bytes(written),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => return Progress::WouldBlock,
                Err(_) => return Progress::Closed,
            }
        }
    }

    /// As [`Self::send`], with a file descriptor that comes along with the first byte.
    pub(crate) fn send_with(&self, bytes: &[u8], file: &OwnedFd) -> Progress {
        let files = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&files)) {
            return Progress::WouldBlock;
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(&self.0, &[IoSlice::new(bytes)], &mut ancillary, flags) {
            Ok(written) => Progress::Bytes(written),
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => Progress::WouldBlock,
            Err(_) => Progress::Closed,
        }
    }

    /// Reads what is there into `into`.
    pub(crate) fn receive(&self, into: &mut Vec<u8>) -> Progress {
        let mut buffer = [0; RECEIVE_BYTES_MAX];
        loop {
            match recv(&self.0, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Progress::Closed,
                Ok((_, len)) => {
                    into.extend_from_slice(buffer.get(..len).unwrap_or_default());
                    return Progress::Bytes(len);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Progress::WouldBlock,
                Err(_) => return Progress::Closed,
            }
        }
    }

    /// Ends the connection for whoever still waits on it.
    pub(crate) fn close(&self) {
        best_effort(shutdown(&self.0, Shutdown::Both));
    }
}

/// For calls whose failure shows in what the next one says, as their callers explain.
fn best_effort<T>(_result: Result<T, Errno>) {}

/// Wakes the thread that waits in [`wait`].
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> Result<Self, Errno> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(Self)
    }

    /// The next, or the current, [`wait`] returns at once.
    pub(crate) fn ring(&self) {
        // A full counter means that it has been rung already.
        best_effort(rustix::io::write(&self.0, &1u64.to_ne_bytes()));
    }

    fn silence(&self) {
        best_effort(rustix::io::read(&self.0, &mut [0; 8]));
    }
}

/// Waits until `socket` is readable (or writable too, if `for_room`), `bell` rings, or `timeout` has passed.
/// `None` waits for the other two only.
pub(crate) fn wait(bell: Option<&Bell>, socket: Option<&Socket>, for_room: bool, timeout: Option<Duration>) {
    wait_all(bell, socket, None, for_room, timeout);
}

/// As [`wait`], and until `signal` is readable.
pub(crate) fn wait_all(
    bell: Option<&Bell>,
    socket: Option<&Socket>,
    signal: Option<BorrowedFd<'_>>,
    for_room: bool,
    timeout: Option<Duration>,
) {
    let room = if for_room { PollFlags::OUT } else { PollFlags::empty() };
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let mut fds = Vec::with_capacity(3);
    fds.extend(bell.map(|bell| PollFd::from_borrowed_fd(bell.0.as_fd(), PollFlags::IN)));
    fds.extend(socket.map(|socket| PollFd::from_borrowed_fd(socket.0.as_fd(), PollFlags::IN | room)));
    fds.extend(signal.map(|signal| PollFd::from_borrowed_fd(signal, PollFlags::IN)));
    // EINTR and the like end the wait early, and every caller looks again what there is to do.
    best_effort(poll(&mut fds, timeout.as_ref()));
    if let Some(bell) = bell {
        bell.silence();
    }
}
