//! One hand-off connection: bytes to messages, answers to bytes. It never waits for the function to read.

use std::io::ErrorKind;

use lambda_flush_proto::{ExtensionLink, Received, WireError};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::core::{LinkId, Reply};
use crate::limits::{LINK_READ_BYTES, REPLY_BYTES_MAX};

/// From a link to the driver.
#[derive(Debug)]
pub enum LinkInput {
    /// A function connected; answers to it go here.
    Opened(LinkId, mpsc::UnboundedSender<Reply>),
    /// What it sent.
    Received(LinkId, Vec<Received>),
    /// It ended; `fault` if it broke the protocol.
    Closed {
        /// Which.
        link: LinkId,
        /// In the middle of a frame.
        torn: bool,
        /// Why we hung up.
        fault: Option<WireError>,
    },
}

struct Connection {
    stream: UnixStream,
    link: ExtensionLink,
    replies: Vec<u8>,
}

/// Runs a link to its end. The driver hangs up by dropping the sender of replies.
pub async fn run(id: LinkId, stream: UnixStream, input: mpsc::Sender<LinkInput>) {
    // Unbounded, but the core gives one answer for a frame at the most and credit bounds the frames.
    let (reply, mut replies) = mpsc::unbounded_channel();
    if input.send(LinkInput::Opened(id, reply)).await.is_err() {
        return;
    }
    let mut connection = Connection { stream, link: ExtensionLink::default(), replies: Vec::new() };
    let mut buffer = vec![0; LINK_READ_BYTES];
    let fault = loop {
        tokio::select! {
            read = connection.read(&mut buffer) => match read {
                Ok(0) => break None,
                Ok(read) => {
                    let (messages, fault) = connection.messages(buffer.get(..read).unwrap_or_default());
                    if input.send(LinkInput::Received(id, messages)).await.is_err() {
                        return;
                    }
                    if fault.is_some() {
                        break fault;
                    }
                }
                Err(_) => break None,
            },
            reply = replies.recv() => match reply {
                Some(reply) => connection.queue(reply),
                None => return,
            },
            () = connection.writable() => {}
        }
        if connection.write().is_err() || connection.replies.len() > REPLY_BYTES_MAX {
            break None;
        }
    };
    connection.refuse(fault.as_ref());
    let closed = LinkInput::Closed { link: id, torn: connection.link.torn(), fault };
    // The driver is gone only when the process ends.
    let _ended = input.send(closed).await;
}

impl Connection {
    async fn read(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            self.stream.readable().await?;
            match self.stream.try_read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }

    fn messages(&mut self, bytes: &[u8]) -> (Vec<Received>, Option<WireError>) {
        self.link.receive(bytes);
        let mut messages = Vec::new();
        loop {
            match self.link.poll() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, None),
                Err(fault) => return (messages, Some(fault)),
            }
        }
    }

    fn queue(&mut self, reply: Reply) {
        let frame = match reply {
            Reply::Welcome { credit_bytes } => self.link.welcome(credit_bytes),
            Reply::Grant { more_bytes } => self.link.grant(more_bytes),
            Reply::Accepted { seq } => self.link.accepted(seq),
        };
        self.replies.extend_from_slice(&frame);
    }

    /// Ready only when there is something to write.
    async fn writable(&self) {
        if self.replies.is_empty() || self.stream.writable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn write(&mut self) -> std::io::Result<()> {
        while !self.replies.is_empty() {
            match self.stream.try_write(&self.replies) {
                Ok(written) => drop(self.replies.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells a library of another version what is spoken here.
    fn refuse(&mut self, fault: Option<&WireError>) {
        if let Some(WireError::Version { .. }) = fault {
            let refusal = self.link.refusal();
            // A library that does not read it finds the link closed and degrades all the same.
            let _unread = self.stream.try_write(&refusal);
        }
    }
}
