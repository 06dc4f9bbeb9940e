//! One hand-off connection: bytes to messages, answers to bytes. It never waits for the function to read.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use lambda_flush_proto::frame::BELL;
use lambda_flush_proto::ring::memory::SharedMemory;
use lambda_flush_proto::{ExtensionLink, Received, WireError};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::offer::Descriptors;
use crate::core::{LinkId, Reply};
use crate::limits::{LINK_READ_BYTES, REPLY_BYTES_MAX};

/// From a link to the driver.
#[derive(Debug)]
pub enum LinkInput {
    /// A function connected; answers to it go here.
    Opened(LinkId, mpsc::UnboundedSender<Answer>),
    /// It offers memory for a ring in the `Hello` that comes next; or what it offers is of no use.
    Offered(LinkId, io::Result<Offer>),
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

/// From the driver to a link.
#[derive(Debug)]
pub enum Answer {
    /// The core's.
    Reply(Reply),
    /// There is room in the ring again.
    Bell,
}

/// Memory that frames will come through, and what they have to keep to.
#[derive(Debug)]
pub struct Offer {
    /// As large as the `Hello` says.
    pub memory: SharedMemory,
    /// Of the link.
    pub link: SharedLink,
}

/// What is agreed with the function: its version, its credit. Frames of both carriers go by it.
#[derive(Debug, Clone, Default)]
pub struct SharedLink(Arc<Mutex<ExtensionLink>>);

impl SharedLink {
    /// Not to be kept.
    pub fn lock(&self) -> MutexGuard<'_, ExtensionLink> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Connection<'a> {
    reader: ReadHalf<'a>,
    writer: WriteHalf<'a>,
    link: SharedLink,
    inbound: BytesMut,
    /// Until the `Hello`.
    descriptors: Option<Descriptors>,
    replies: Vec<u8>,
}

/// Runs a link to its end. The driver hangs up by dropping the sender of replies.
pub async fn run(id: LinkId, mut stream: UnixStream, input: mpsc::Sender<LinkInput>) {
    // Unbounded, but the core gives one answer for a frame at the most and credit bounds the frames.
    let (reply, mut replies) = mpsc::unbounded_channel();
    if input.send(LinkInput::Opened(id, reply)).await.is_err() {
        return;
    }
    let mut connection = Connection::new(&mut stream);
    let fault = loop {
        let Connection { reader, writer, inbound, descriptors, replies: waiting, .. } = &mut connection;
        tokio::select! {
            read = read(reader, inbound, descriptors.as_mut()) => match read {
                Ok(0) | Err(_) => break None,
                Ok(_) => {
                    let (mut messages, fault) = connection.messages();
                    if let Some(offer) = connection.offer(&mut messages)
                        && input.send(LinkInput::Offered(id, offer)).await.is_err()
                    {
                        return;
                    }
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
                Some(reply) => {
                    connection.queue(&reply);
                    while connection.replies.len() <= REPLY_BYTES_MAX
                        && let Ok(reply) = replies.try_recv()
                    {
                        connection.queue(&reply);
                    }
                }
                None => return,
            },
            () = writable(writer, waiting) => {}
        }
        if connection.write().is_err() || connection.replies.len() > REPLY_BYTES_MAX {
            break None;
        }
    };
    connection.refuse(fault.as_ref());
    let closed = LinkInput::Closed { link: id, torn: !connection.inbound.is_empty(), fault };
    // The driver is gone only when the process ends.
    let _ended = input.send(closed).await;
}

async fn read(
    reader: &mut ReadHalf<'_>,
    inbound: &mut BytesMut,
    descriptors: Option<&mut Descriptors>,
) -> io::Result<usize> {
    match descriptors {
        Some(descriptors) => descriptors.read(reader.as_ref(), inbound).await,
        None => reader.read_buf(with_room(inbound)).await,
    }
}

/// Room for one read. It is that of the read before if nobody holds frames of it any more.
fn with_room(inbound: &mut BytesMut) -> &mut BytesMut {
    // What is left of the memory is used up first, as long as that makes few reads of many.
    if inbound.capacity() - inbound.len() < LINK_READ_BYTES / 2 {
        inbound.reserve(LINK_READ_BYTES);
    }
    inbound
}

/// Ready only when there is something to write.
async fn writable(writer: &WriteHalf<'_>, replies: &[u8]) {
    if replies.is_empty() || writer.writable().await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl<'a> Connection<'a> {
    fn new(stream: &'a mut UnixStream) -> Self {
        let (reader, writer) = stream.split();
        let (link, inbound) = (SharedLink::default(), BytesMut::new());
        Self { reader, writer, link, inbound, descriptors: Some(Descriptors::default()), replies: Vec::new() }
    }

    fn messages(&mut self) -> (Vec<Received>, Option<WireError>) {
        let mut messages = Vec::new();
        let mut link = self.link.lock();
        // Frames of the ring are read in between, and never stand in the same buffer.
        std::mem::swap(link.inbound(), &mut self.inbound);
        let fault = link.poll_all(&mut messages).err();
        std::mem::swap(link.inbound(), &mut self.inbound);
        (messages, fault)
    }

    /// What the first `Hello` offers, if it is among `messages`. What can't be used is struck out of it.
    fn offer(&mut self, messages: &mut [Received]) -> Option<io::Result<Offer>> {
        self.descriptors.as_ref()?;
        let hello = messages.iter_mut().find_map(|message| match message {
            Received::Hello(hello) => Some(hello),
            _ => None,
        })?;
        let descriptors = self.descriptors.take()?;
        if hello.ring_bytes == 0 {
            return None;
        }
        let memory = descriptors.open(hello.ring_bytes);
        if memory.is_err() {
            hello.ring_bytes = 0;
        }
        Some(memory.map(|memory| Offer { memory, link: self.link.clone() }))
    }

    fn queue(&mut self, answer: &Answer) {
        let mut link = self.link.lock();
        match *answer {
            Answer::Reply(Reply::Welcome { credit_bytes, ring_bytes }) => {
                self.replies.extend_from_slice(&link.welcome_to_ring(credit_bytes, ring_bytes));
            }
            Answer::Reply(Reply::Grant { more_bytes }) => {
                self.replies.extend_from_slice(&link.grant(more_bytes));
            }
            Answer::Reply(Reply::Accepted { seq }) => self.replies.extend_from_slice(&link.accepted(seq)),
            Answer::Bell => self.replies.extend_from_slice(&BELL),
        }
    }

    fn write(&mut self) -> io::Result<()> {
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
            let refusal = self.link.lock().refusal();
            // A library that does not read it finds the link closed and degrades all the same.
            let _unread = self.writer.try_write(&refusal);
        }
    }
}
