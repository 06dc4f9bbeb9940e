//! The hand-off socket: bound before `register`, so that a function can connect once and never has to poll.

use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream};
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::link::{self, LinkInput};
use crate::config::SocketAddress;
use crate::core::LinkId;
use crate::limits::{ACCEPT_PAUSE, LINKS_MAX};

/// Binds the socket; connections wait for [`serve`].
///
/// # Errors
/// The address is taken or can't be made.
pub fn bind(address: &SocketAddress) -> io::Result<StdListener> {
    match address {
        SocketAddress::Abstract(name) => {
            StdListener::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes())?)
        }
        SocketAddress::Path(path) => bind_path(path),
    }
}

/// `/tmp` survives a reset of the sandbox, so a socket file may be left over. It is removed only when nobody
/// listens on it any more.
fn bind_path(path: &Path) -> io::Result<StdListener> {
    let listener = match StdListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => match StdStream::connect(path) {
            // A file that is no socket refuses connections too, and is somebody's.
            Err(stale) if stale.kind() == ErrorKind::ConnectionRefused && is_socket(path) => {
                std::fs::remove_file(path)?;
                StdListener::bind(path)?
            }
            _ => return Err(error),
        },
        bound => bound?,
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// Accepts links for ever and runs each in a task of its own.
pub async fn serve(listener: UnixListener, input: mpsc::Sender<LinkInput>) {
    let mut links = tokio::task::JoinSet::new();
    let mut next = 0;
    loop {
        while links.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) if links.len() < LINKS_MAX && is_ours(&stream) => {
                next += 1;
                links.spawn(link::run(LinkId(next), stream, input.clone()));
            }
            Ok(_) => {}
            // Out of file descriptors, most likely. Whoever holds them has to let go first.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// The function and the extension run as the same user; root may do anything anyway.
fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}
