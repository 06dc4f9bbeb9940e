//! A wire between the extension and a backend that can die without a word, as one through a gateway that has forgotten
//! it: no FIN, no RST, no answer.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module's description. Its threads end with their connections, and the last one with the process.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    dead: Arc<Mutex<Vec<Arc<AtomicBool>>>>,
}

impl Wire {
    /// Listens on a free port of 127.0.0.1, and connects each time to `backend`.
    ///
    /// # Errors
    /// There is no port, or no thread.
    pub fn start(backend: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let wire = Self { address: listener.local_addr()?, dead: Arc::default() };
        let all = Arc::clone(&wire.dead);
        std::thread::Builder::new().name("wire".to_owned()).spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let dead = Arc::<AtomicBool>::default();
                all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&dead));
                // A backend that is gone is a connection that closes.
                carry(&client, backend, &dead).ok();
            }
        })?;
        Ok(wire)
    }

    /// The base for `LAMBDA_FLUSH_OTLP_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The connections there are carry nothing from now on, and stay open; new ones are not concerned. Returns how many
    /// there have been so far.
    pub fn die(&self) -> usize {
        let all = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().for_each(|dead| dead.store(true, Ordering::Release));
        all.len()
    }
}

fn carry(client: &TcpStream, backend: SocketAddr, dead: &Arc<AtomicBool>) -> io::Result<()> {
    let backend = TcpStream::connect(backend)?;
    let pairs = [(client.try_clone()?, backend.try_clone()?), (backend, client.try_clone()?)];
    for (from, to) in pairs {
        from.set_nodelay(true)?;
        let dead = Arc::clone(dead);
        std::thread::Builder::new().name("wire".to_owned()).spawn(move || copy(from, to, &dead))?;
    }
    Ok(())
}

/// Until one side ends; then both do, unless the wire is dead.
fn copy(mut from: TcpStream, mut to: TcpStream, dead: &AtomicBool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..read) else { break };
        if !dead.load(Ordering::Acquire) && to.write_all(bytes).is_err() {
            break;
        }
    }
    if !dead.load(Ordering::Acquire) {
        // Closed already is closed.
        to.shutdown(Shutdown::Both).ok();
        from.shutdown(Shutdown::Both).ok();
    }
}
