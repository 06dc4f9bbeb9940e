//! A backend that takes everything and does nothing but keep it: what was exported is what the floor compresses.

use std::io::{self, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::http1;

/// One export request.
#[derive(Clone)]
pub(crate) struct Exported {
    /// `Content-Encoding`, or nothing.
    pub(crate) encoding: String,
    /// As it was sent.
    pub(crate) body: Vec<u8>,
}

/// See the module's description.
pub(crate) struct Backend {
    /// For `LAMBDA_FLUSH_OTLP_ENDPOINT`.
    pub(crate) endpoint: String,
    taken: Arc<Mutex<Vec<Exported>>>,
}

impl Backend {
    /// Listens on a free port of the loopback interface, until the bench ends.
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let taken: Arc<Mutex<Vec<Exported>>> = Arc::default();
        let keep = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let keep = Arc::clone(&keep);
                // The extension closes its connections as it likes.
                thread::spawn(move || serve(stream, &keep));
            }
        });
        Ok(Self { endpoint, taken })
    }

    /// Everything taken so far.
    pub(crate) fn taken(&self) -> Vec<Exported> {
        std::mem::take(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(stream: TcpStream, keep: &Mutex<Vec<Exported>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = BufReader::with_capacity(256 << 10, stream);
    while let Some(request) = http1::read(&mut connection)? {
        let exported = Exported { encoding: request.encoding, body: request.body };
        keep.lock().unwrap_or_else(PoisonError::into_inner).push(exported);
        http1::answer(&mut connection, 200, "Content-Type: application/x-protobuf\r\n", b"")?;
    }
    Ok(())
}
