//! A request's body: read piece by piece into claimed memory, expanded as it comes.

use std::io::Write;
use std::time::Duration;

use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::refusal::Refusal;
use super::room::Buffer;
use super::work::Effort;
use crate::limits::{
    DOOR_ANNOUNCED_BYTES_MAX, DOOR_BODY_BYTES_MAX, DOOR_DISCARD_BYTES_MAX, DOOR_GZIP_BYTES,
    DOOR_INLINE_BYTES, DOOR_INLINE_WIRE_BYTES,
};

/// What takes the pieces of a body.
pub(crate) trait Sink: Send + 'static {
    /// So many bytes may be taken where everything else waits. `None`: it has become large.
    fn step(&self) -> Option<usize>;
    /// Takes one.
    fn take(&mut self, piece: &[u8]) -> Result<(), Refusal>;
    /// There is no more.
    fn finish(self) -> Result<Buffer, Refusal>;
}

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
}

/// Undoes an [`Encoding`].
#[derive(Debug)]
pub(crate) enum Decoder {
    Identity(Buffer),
    /// Of gzip nothing came yet. Nothing at all is no request, though it is no gzip either.
    Awaited(Option<Buffer>),
    Gzip {
        decoder: Box<MultiGzDecoder<Buffer>>,
        wire_bytes: usize,
    },
}

impl Encoding {
    /// Of a `content-encoding` or `grpc-encoding`.
    pub(crate) fn named(name: &[u8]) -> Result<Self, Refusal> {
        let is = |known: &str| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes());
        if is("") || is("identity") {
            Ok(Self::Identity)
        } else if is("gzip") || is("x-gzip") {
            Ok(Self::Gzip)
        } else {
            Err(Refusal::Encoding)
        }
    }

    /// A decoder into `buffer`.
    pub(crate) fn decoder(self, buffer: Buffer) -> Decoder {
        match self {
            Self::Identity => Decoder::Identity(buffer),
            Self::Gzip => Decoder::Awaited(Some(buffer)),
        }
    }
}

impl Sink for Decoder {
    fn step(&self) -> Option<usize> {
        match self {
            Self::Identity(_) => Some(usize::MAX),
            Self::Awaited(_) => Some(DOOR_INLINE_WIRE_BYTES),
            Self::Gzip { decoder, .. } => {
                (decoder.get_ref().len() <= DOOR_INLINE_BYTES).then_some(DOOR_INLINE_WIRE_BYTES)
            }
        }
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        if piece.is_empty() {
            return Ok(());
        }
        if let Self::Awaited(awaited) = self
            && let Some(mut buffer) = awaited.take()
        {
            buffer.claim().grow(DOOR_GZIP_BYTES)?;
            *self = Self::Gzip { decoder: Box::new(MultiGzDecoder::new(buffer)), wire_bytes: 0 };
        }
        match self {
            Self::Identity(buffer) => buffer.put(piece),
            Self::Awaited(_) => Err(not_whole_gzip()), // It was refused before.
            Self::Gzip { decoder, wire_bytes } => {
                *wire_bytes += piece.len();
                if *wire_bytes > DOOR_BODY_BYTES_MAX {
                    return Err(Refusal::TooLarge);
                }
                decoder.write_all(piece).map_err(|_| not_gzip(decoder.get_ref()))
            }
        }
    }

    fn finish(self) -> Result<Buffer, Refusal> {
        match self {
            Self::Identity(buffer) | Self::Awaited(Some(buffer)) => Ok(buffer),
            Self::Awaited(None) => Err(not_whole_gzip()),
            Self::Gzip { mut decoder, .. } => {
                decoder.try_finish().map_err(|_| not_gzip(decoder.get_ref()))?;
                decoder.finish().map_err(|_| not_whole_gzip())
            }
        }
    }
}

/// The decoder fails when its data is bad, and when there is no room for what comes out.
fn not_gzip(buffer: &Buffer) -> Refusal {
    buffer.refused().unwrap_or_else(not_whole_gzip)
}

fn not_whole_gzip() -> Refusal {
    Refusal::Malformed("the body is not whole gzip".to_owned())
}

/// Reads a body to its end, within `wait`. A refused one is read on and thrown away for a while: a sender in the middle of writing
/// would see a broken connection rather than the answer.
pub(crate) async fn read(
    mut body: Incoming,
    sink: impl Sink,
    wait: Duration,
    effort: &mut Effort,
) -> Result<Buffer, Refusal> {
    let announced = body.size_hint().lower();
    if announced > DOOR_BODY_BYTES_MAX as u64 {
        return refused(body, Refusal::TooLarge, wait).await;
    }
    match tokio::time::timeout(wait, fill(&mut body, sink, effort)).await {
        Ok(Ok(sink)) => sink.finish(),
        Ok(Err(refusal)) => refused(body, refusal, wait).await,
        Err(_) => Err(Refusal::Slow),
    }
}

/// How much memory to begin with.
pub(crate) fn announced(body: &Incoming) -> usize {
    usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(DOOR_ANNOUNCED_BYTES_MAX)
}

async fn fill<S: Sink>(body: &mut Incoming, mut sink: S, effort: &mut Effort) -> Result<S, Refusal> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Malformed("the body ended too early".to_owned()))?;
        let Ok(mut piece) = frame.into_data() else { continue };
        while let Some(step) = sink.step().filter(|_| !piece.is_empty()) {
            sink.take(&piece.split_to(step.min(piece.len())))?;
        }
        if !piece.is_empty() {
            let taken;
            (sink, taken) = effort
                .beside(move || {
                    let taken = sink.take(&piece);
                    (sink, taken)
                })
                .await?;
            taken?;
        }
    }
    Ok(sink)
}

/// Reads on, within bounds, and gives the refusal back.
pub(crate) async fn refused<T>(mut body: Incoming, refusal: Refusal, wait: Duration) -> Result<T, Refusal> {
    let discard = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
            if bytes > DOOR_DISCARD_BYTES_MAX {
                break;
            }
        }
    };
    // In time or not, the answer is the same.
    let _late = tokio::time::timeout(wait, discard).await;
    Err(refusal)
}
