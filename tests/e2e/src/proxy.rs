//! A socket between the function and the extension that can be cut, as often as a test likes.
//!
//! A cut loses nothing that the function could write: what is in the socket is carried over before both ends close.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module's description. Its threads end with their connections, and the last one with the process.
#[derive(Debug)]
pub struct Proxy {
    connections: Arc<Mutex<Vec<UnixStream>>>,
}

impl Proxy {
    /// Listens at the abstract address `name`, and connects each time to the abstract address `target`.
    ///
    /// # Errors
    /// The address is taken, or there is no thread.
    pub fn start(name: &str, target: String) -> io::Result<Self> {
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
        let connections = Arc::new(Mutex::new(Vec::new()));
        let opened = Arc::clone(&connections);
        std::thread::Builder::new().name("proxy".to_owned()).spawn(move || {
            for function in listener.incoming().map_while(Result::ok) {
                // An extension that is gone is a connection that closes.
                carry(&function, &target).ok();
                opened.lock().unwrap_or_else(PoisonError::into_inner).push(function);
            }
        })?;
        Ok(Self { connections })
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Cuts all connections there are: the function can write no more.
    pub fn cut(&self) {
        for function in self.connections.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // One that is closed already is cut.
            function.shutdown(Shutdown::Read).ok();
        }
    }
}

fn carry(function: &UnixStream, target: &str) -> io::Result<()> {
    let extension = UnixStream::connect_addr(&SocketAddr::from_abstract_name(target)?)?;
    let pairs = [(function.try_clone()?, extension.try_clone()?), (extension, function.try_clone()?)];
    for (from, to) in pairs {
        std::thread::Builder::new().name("proxy".to_owned()).spawn(move || copy(from, to))?;
    }
    Ok(())
}

/// Until one side ends; then both do.
fn copy(mut from: UnixStream, mut to: UnixStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..read) else { break };
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    // Closed already is closed.
    to.shutdown(Shutdown::Both).ok();
    from.shutdown(Shutdown::Both).ok();
}
