//! One hand-off connection: bytes to messages, answers to bytes. It never waits for the function to read.

use std::io::ErrorKind;

use bytes::BytesMut;
use lambda_flush_proto::{ExtensionLink, Received, WireError};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::WriteHalf;
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

struct Connection<'a> {
    writer: WriteHalf<'a>,
    link: ExtensionLink,
    replies: Vec<u8>,
}

/// Runs a link to its end. The driver hangs up by dropping the sender of replies.
pub async fn run(id: LinkId, mut stream: UnixStream, input: mpsc::Sender<LinkInput>) {
    // Unbounded, but the core gives one answer for a frame at the most and credit bounds the frames.
    let (reply, mut replies) = mpsc::unbounded_channel();
    if input.send(LinkInput::Opened(id, reply)).await.is_err() {
        return;
    }
    let (mut reader, writer) = stream.split();
    let mut connection = Connection { writer, link: ExtensionLink::default(), replies: Vec::new() };
    let fault = loop {
        let Connection { writer, link, replies: waiting } = &mut connection;
        tokio::select! {
            read = reader.read_buf(with_room(link.inbound())) => match read {
                Ok(0) | Err(_) => break None,
                Ok(_) => {
                    let (messages, fault) = messages(link);
                    if input.send(LinkInput::Received(id, messages)).await.is_err() {
                        return;
                    }
                    if fault.is_some() {
                        break fault;
                    }
                    // The core takes the items out first: then the next read finds the same memory, free and cached.
                    tokio::task::yield_now().await;
                }
            },
            reply = replies.recv() => match reply {
                Some(reply) => connection.queue(reply),
                None => return,
            },
            () = writable(writer, waiting) => {}
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

/// Room for one read. It is that of the read before if nobody holds frames of it any more.
fn with_room(inbound: &mut BytesMut) -> &mut BytesMut {
    // What is left of the memory is used up first, as long as that makes few reads of many.
    if inbound.capacity() - inbound.len() < LINK_READ_BYTES / 2 {
        inbound.reserve(LINK_READ_BYTES);
    }
    inbound
}

fn messages(link: &mut ExtensionLink) -> (Vec<Received>, Option<WireError>) {
    let mut messages = Vec::new();
    let fault = link.poll_all(&mut messages).err();
    (messages, fault)
}

/// Ready only when there is something to write.
async fn writable(writer: &WriteHalf<'_>, replies: &[u8]) {
    if replies.is_empty() || writer.writable().await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl Connection<'_> {
    fn queue(&mut self, reply: Reply) {
        let frame = match reply {
            Reply::Welcome { credit_bytes } => self.link.welcome(credit_bytes),
            Reply::Grant { more_bytes } => self.link.grant(more_bytes),
            Reply::Accepted { seq } => self.link.accepted(seq),
        };
        self.replies.extend_from_slice(&frame);
    }

    fn write(&mut self) -> std::io::Result<()> {
        while !self.replies.is_empty() {
            match self.writer.try_write(&self.replies) {
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
            let _unread = self.writer.try_write(&refusal);
        }
    }
}
