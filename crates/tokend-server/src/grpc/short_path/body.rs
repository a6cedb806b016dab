//! The bodies of calls: a request's, as far as it was read here, and an answer's.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tonic::{Status, body::Body};

use crate::grpc::layers::outcome::GRPC_STATUS;

/// Bodies up to this size are put together from their pieces here: batches of a few hundred questions.
const MOST_READ: usize = 64 * 1024;

/// What was read of a body.
#[derive(Default)]
pub(super) struct Read {
    pub(super) message: Bytes,
    error: Option<hyper::Error>,
}

impl Read {
    /// Reads what has arrived, if it is little. Returns whether that is the whole body.
    pub(super) fn all(&mut self, body: &mut Incoming, cx: &mut Context<'_>) -> bool {
        while self.message.len() <= MOST_READ {
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return false,
                Poll::Ready(None) => return true,
                Poll::Ready(Some(Err(error))) => {
                    self.error = Some(error);
                    return false;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if self.message.is_empty() => self.message = data,
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => self.message = [mem::take(&mut self.message), data].concat().into(),
                    // Trailers are ignored, as the layers do.
                    Err(_) => {}
                },
            }
        }
        false
    }
}

/// A body of which something was read already.
pub(super) struct Begun {
    pub(super) read: Read,
    pub(super) body: Incoming,
}

impl HttpBody for Begun {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { read, body } = self.get_mut();
        if !read.message.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut read.message)))));
        }
        match read.error.take() {
            Some(error) => Poll::Ready(Some(Err(error))),
            None => Pin::new(body).poll_frame(cx),
        }
    }
}

/// The body of an answer: of the short path, or of the layers.
pub(crate) enum AnswerBody {
    Short(OneMessage),
    Layers(Body),
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Short(message) => Pin::new(message).poll_frame(cx),
            Self::Layers(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Short(message) => message.is_end_stream(),
            Self::Layers(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Short(message) => message.size_hint(),
            Self::Layers(body) => body.size_hint(),
        }
    }
}

/// A body of one message and the trailers of a call that succeeded.
pub(crate) enum OneMessage {
    Message(Bytes),
    Trailers,
    End,
}

impl HttpBody for OneMessage {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = match mem::replace(this, Self::End) {
            Self::Message(message) => {
                *this = Self::Trailers;
                Some(Ok(Frame::data(message)))
            }
            Self::Trailers => {
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
                Some(Ok(Frame::trailers(trailers)))
            }
            Self::End => None,
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::End)
    }
}
