//! What a request carries: a whole body with its length, or pieces of unknown number and trailers.

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::header::HeaderMap;
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

#[derive(Clone, Default)]
pub struct Body {
    pieces: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    /// Chunked over HTTP/1.1.
    length_unknown: bool,
}

impl Body {
    pub fn whole(bytes: impl Into<Bytes>) -> Body {
        let bytes = bytes.into();
        Body {
            pieces: Some(bytes)
                .into_iter()
                .filter(|bytes| !bytes.is_empty())
                .collect(),
            ..Body::default()
        }
    }

    /// The trailers may be empty.
    pub fn pieces(pieces: impl IntoIterator<Item = Bytes>, trailers: HeaderMap) -> Body {
        Body {
            pieces: pieces.into_iter().collect(),
            trailers: Some(trailers).filter(|trailers| !trailers.is_empty()),
            length_unknown: true,
        }
    }

    /// In bytes.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// As [`digest`] of all pieces.
    pub fn digest(&self) -> String {
        digest(&self.pieces.iter().flatten().copied().collect::<Vec<u8>>())
    }
}

/// A checksum that shows whether bytes arrived as they were sent.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front().map(Frame::data);
        let frame = piece.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.length_unknown {
            true => SizeHint::default(),
            false => SizeHint::with_exact(self.len() as u64),
        }
    }
}
