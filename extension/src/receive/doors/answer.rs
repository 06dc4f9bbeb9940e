//! The body of an answer at a door: at most one piece of data, and gRPC's trailers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};

use super::connections::Busy;

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
    /// The connection counts as busy until this is written.
    _busy: Option<Busy>,
}

impl Answer {
    /// Data alone.
    pub(crate) fn data(data: impl Into<Bytes>) -> Self {
        Self { data: Some(data.into()).filter(|data| !data.is_empty()), ..Self::default() }
    }

    /// Data and what follows it.
    pub(crate) fn with_trailers(data: impl Into<Bytes>, trailers: HeaderMap) -> Self {
        Self { trailers: Some(trailers), ..Self::data(data) }
    }

    /// Keeps the connection from being taken for an idle one.
    pub(crate) fn keeping(self, busy: Busy) -> Self {
        Self { _busy: Some(busy), ..self }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}
