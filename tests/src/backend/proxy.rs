//! An HTTP proxy that remembers what it was asked for, and brings everything to one backend.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::engine::Engine;

/// A longer head is none.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// A running proxy, whatever name it is asked for. It serves until it is dropped.
#[derive(Debug)]
pub struct HttpProxy {
    _engine: Engine,
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl HttpProxy {
    /// Starts one on a free port of 127.0.0.1, in front of `backend`. `answer` is what a CONNECT gets, such as
    /// `200 OK`; anything else than 200 ends the connection.
    ///
    /// # Errors
    /// The operating system refuses a socket or a thread.
    pub fn start(backend: SocketAddr, answer: &'static str) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let heads = Arc::new(Mutex::new(Vec::new()));
        let engine = Engine::start("testkit-proxy", async {})?;
        let of_server = Arc::clone(&heads);
        drop(engine.spawn(async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((client, _)) = listener.accept().await {
                let heads = Arc::clone(&of_server);
                tokio::spawn(async move {
                    // A connection that breaks is the client's or the backend's doing.
                    carry(client, backend, answer, &heads).await.ok();
                });
            }
        }));
        Ok(Self { _engine: engine, address, heads })
    }

    /// For `HTTP_PROXY` and `HTTPS_PROXY`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of the first requests of all connections so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn carry(
    mut client: TcpStream,
    backend: SocketAddr,
    answer: &str,
    heads: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let tunnel = text.starts_with("CONNECT ");
    heads.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    if tunnel {
        client.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await?;
        if !answer.starts_with("200") {
            return Ok(());
        }
    }
    let mut backend = TcpStream::connect(backend).await?;
    if !tunnel {
        backend.write_all(&head).await?;
    }
    tokio::io::copy_bidirectional(&mut client, &mut backend).await?;
    Ok(())
}
